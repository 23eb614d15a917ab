"""Each process of the chart starts with the environment and the secrets of its pod, and with no others."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.deploy.charts import HELM, Document, pods, rendered
from tests.embedded_servers import VALKEY, start_server
from tests.fleet import wait_until
from tests.ports import free_port
from worker.vault.vault import new_key

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(700),
    pytest.mark.skipif(not HELM.exists(), reason="helm is not here: .ci/helm brings it"),
]

_PROGRAMS = Path(sys.executable).parent
_MOUNT = "/run/secrets/siem"


def command(pod: Document) -> list[str]:
    """Return program and arguments of a pod, as its image would find them."""
    program, *arguments = pod["containers"][0]["args"]
    return [str(_PROGRAMS / program), *arguments]


def environment(pod: Document, folder: Path, secrets: Mapping[str, str], **changes: str) -> dict[str, str]:
    """Return the environment of a pod, with the files that are mounted there in a folder of its own."""
    folder.mkdir(parents=True)
    volume = next(one for one in pod["volumes"] if one["name"] == "secrets")
    for source in volume["projected"]["sources"]:
        for item in source["secret"]["items"]:
            (folder / item["path"]).write_text(f"{secrets[item['key']]}\n")
    given = {one["name"]: one["value"].replace(_MOUNT, str(folder)) for one in pod["containers"][0]["env"]}
    # The image sets the data directory, in a file system that is read-only; addresses are those of this test.
    own = {"PATH": os.environ["PATH"], "SIEM_DATA_DIR": str(folder / "absent")}
    return given | own | changes


@contextmanager
def running(pod: Document, folder: Path, secrets: Mapping[str, str]) -> Iterator[str]:
    """Start the process of a pod; give the address of its probes."""
    port = free_port()
    loopback = {"SIEM_PROBE_HOST": "127.0.0.1", "SIEM_PROBE_PORT": str(port)}
    name = pod["containers"][0]["name"]
    if name == "flower":
        loopback = {"SIEM_FLOWER_HOST": "127.0.0.1", "SIEM_FLOWER_PORT": str(port)}
    elif name == "api":
        loopback |= {"SIEM_API_HOST": "127.0.0.1", "SIEM_API_PORT": str(free_port())}
    env = environment(pod, folder, secrets, **loopback)
    with subprocess.Popen(command(pod), env=env, cwd="/") as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            assert process.wait(120) == 0
    assert not (folder / "absent").exists()


def is_answered(address: str, path: str) -> bool:
    """Return whether a probe passes."""
    try:
        return httpx.get(address + path, timeout=10).status_code == 200
    except httpx.TransportError:
        return False


def test_every_process_is_ready_with_what_its_pod_has(tmp_path: Path, postgres_url: str) -> None:
    """The migration makes the tables; then each role says that it lives and is ready, and ends on TERM."""
    # One worker stands for the others, whose pods differ by their queue.
    values = {"flower": {"enabled": True}, "workers": {"splunk_hec": None, "syslog_cef": None}}
    found = {document["metadata"]["name"]: pod for document, pod in pods(rendered(values))}
    with start_server(VALKEY, tmp_path / "redis") as server, ExitStack() as fleet:
        secrets = {
            "redis_url": server.url,
            "database_url": postgres_url,
            "database_owner_url": postgres_url,
            "secret_keys": new_key(),
            "metrics_token": "token",
            "flower_redis_url": server.url,
            "flower_basic_auth": "ops:password",
        }
        migration = found.pop("siem-migration")
        env = environment(migration, tmp_path / "siem-migration", secrets)
        subprocess.run(command(migration), env=env, cwd="/", check=True)
        checks = found.pop("siem-test")
        addresses = {
            name: fleet.enter_context(running(pod, tmp_path / name, secrets)) for name, pod in found.items()
        }
        for name, address in addresses.items():
            path = "/healthcheck" if name == "siem-flower" else "/readyz"
            wait_until(partial(is_answered, address, path), f"{name} is ready")
        env = environment(checks, tmp_path / "siem-test", secrets)
        checked = subprocess.run(
            command(checks), env=env, cwd="/", check=False, capture_output=True, text=True
        )

    assert len(addresses) == 5
    assert checked.returncode == 0, checked.stdout
