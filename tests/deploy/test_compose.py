"""deploy/compose.yaml: Docker Compose takes it, what it names exists, its commands are the Procfile's."""

import json
import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from opentelemetry.sdk import environment_variables

import worker
from tests.api.routes import NOTHING
from tests.deploy.containers import tool
from tests.embedded_servers import RunningServer
from tests.fleet import wait_until
from tests.ports import free_port
from tests.procfile import lines
from worker.api.app import create_app
from worker.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
FILE = DEPLOY / "compose.yaml"
GUIDE = DEPLOY / "guides" / "containers.md"
#: Services of our image that are no line of the Procfile.
_ASIDE = {"migrate": "siem db upgrade", "flower": "siem flower"}


@cache
def compose() -> dict[str, Any]:
    """Read the file; its anchors are resolved, its variables are not."""
    read: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return read


def services() -> dict[str, dict[str, Any]]:
    """Return its services."""
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def ours() -> dict[str, dict[str, Any]]:
    """Return the services of our image."""
    return {name: one for name, one in services().items() if one["image"].startswith("siem-worker:")}


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of secrets that the script makes."""
    folder = tmp_path_factory.mktemp("compose") / "secrets"
    make_secrets("--host", "siem.example.com", str(folder))
    return folder


def make_secrets(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the script."""
    return subprocess.run(
        [DEPLOY / "compose-secrets", *arguments], capture_output=True, text=True, check=True, timeout=180
    )


def test_docker_compose_takes_it(secrets: Path) -> None:
    """The real program checks it against the schema of the compose specification, with all profiles."""
    command = [
        tool("tools/bin/docker-compose"),
        "--file",
        str(FILE),
        "--profile",
        "*",
        "config",
        "--format",
        "json",
    ]
    done = subprocess.run(
        command, env={"SIEM_SECRETS": str(secrets)}, capture_output=True, text=True, check=False, timeout=180
    )
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.lower()
    assert set(json.loads(done.stdout)["services"]) == set(services())


def test_it_runs_every_line_of_the_procfile() -> None:
    """Each process of the Procfile is a service of that name, with the Procfile's command."""
    assert {name: one["command"] for name, one in ours().items()} == lines() | _ASIDE


def test_its_version_is_that_of_the_release() -> None:
    """Without SIEM_VERSION it is this release that runs."""
    assert {one["image"] for one in ours().values()} == {
        f"siem-worker:${{SIEM_VERSION:-{worker.__version__}}}"
    }


def test_every_setting_exists_and_every_secret_comes_from_a_file() -> None:
    """A misspelt setting would be ignored; a secret in the environment would be shown by `docker inspect`."""
    fields = Settings.model_fields
    secret = {f"SIEM_{name.upper()}" for name, field in fields.items() if "Secret" in str(field.annotation)}
    known = {f"SIEM_{name.upper()}" for name in fields} - secret | {f"{name}_FILE" for name in secret}
    used = {name for one in ours().values() for name in one.get("environment", {})}
    standard = {name for name in vars(environment_variables) if name.startswith("OTEL_")}
    assert used - known - standard == set()
    for name, one in services().items():
        for variable, value in one.get("environment", {}).items():
            if variable.endswith("_FILE"):
                assert Path(value).name in _secrets_of(one), (
                    f"{name}: {variable} names a secret it does not have"
                )


def _secrets_of(service: dict[str, Any]) -> set[str]:
    return {one if isinstance(one, str) else one["source"] for one in service.get("secrets", ())}


def test_every_secret_is_made_and_used(secrets: Path) -> None:
    """The script makes each file that a service mounts, and a service uses each that is declared."""
    declared = compose()["secrets"]
    assert set().union(*map(_secrets_of, services().values())) == set(declared)
    for one in declared.values():
        path = Path(one["file"].replace("${SIEM_SECRETS:-/etc/siem/secrets}", str(secrets)))
        assert path.read_text().strip(), path
        assert path.stat().st_mode & 0o777 == 0o444, "each container reads it as another user"
    assert secrets.stat().st_mode & 0o777 == 0o700, "others of this machine may not"


def test_every_file_that_is_mounted_exists() -> None:
    """Docker would make a folder in place of a file that is missing."""
    mounts = [one for service in services().values() for one in service.get("volumes", ())]
    sources = [source for source, _, _ in (mount.partition(":") for mount in mounts)]
    assert [one for one in sources if one.startswith(".") and not (DEPLOY / one).exists()] == []
    assert {one for one in sources if not one.startswith(".")} == set(compose()["volumes"])


def test_every_image_has_an_exact_tag() -> None:
    """What is deployed changes when this file does, and not before."""
    others = {one["image"] for name, one in services().items() if name not in ours()}
    assert [one for one in others if not re.fullmatch(r"[a-z/]+:v?\d+\.\d+(\.\d+)?(-[a-z]+)?", one)] == []


def test_another_version_touches_our_processes_alone() -> None:
    """Docker Compose makes anew what has changed: an upgrade leaves the stores running."""
    with_version = {name for name, one in services().items() if "SIEM_VERSION" in json.dumps(one)}
    assert with_version == set(ours())


def test_every_service_is_confined() -> None:
    """No service may write to its image, gain a right, fill the disk with logs, or take the whole machine."""
    for name, one in services().items():
        assert one["read_only"] is True, name
        assert one["cap_drop"] == ["ALL"], name
        assert one["security_opt"] == ["no-new-privileges:true"], name
        assert one["logging"]["options"]["max-size"], name
        assert set(one["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}, name
        assert not one.get("privileged"), name
    for name in lines():
        assert services()[name]["stop_grace_period"] == "90s", "longer than a batch may take"


def test_those_who_make_spans_reach_a_collector() -> None:
    """It may be anywhere, or join this network: the stores' own leads nowhere."""
    makers = [name for name in lines() if name != "recorder"]

    assert [name for name in makers if "egress" not in services()[name]["networks"]] == []


def test_the_stores_are_reached_from_inside_alone() -> None:
    """Redis and PostgreSQL publish no port, and are in a network that leads nowhere else."""
    assert compose()["networks"]["backend"] == {"internal": True}
    for name in ("redis", "postgres"):
        assert services()[name]["networks"] == ["backend"]
        assert "ports" not in services()[name]


def test_running_the_script_again_keeps_each_secret(secrets: Path) -> None:
    """A second run must not lock a running fleet out of its stores."""
    before = {path.name: path.read_bytes() for path in secrets.iterdir()}
    make_secrets(str(secrets))
    assert {path.name: path.read_bytes() for path in secrets.iterdir()} == before


def test_the_script_says_what_is_wrong() -> None:
    """Bad input ends in an error that says what would be right."""
    for arguments, words in (
        (("--hots",), "there is no option --hots"),
        (("--host",), "--host needs a name"),
        (("--host", "a b"), "is no host name"),
        (("one", "two"), "one DIRECTORY is expected"),
    ):
        with pytest.raises(subprocess.CalledProcessError) as refused:
            make_secrets(*arguments)
        assert refused.value.returncode == 2
        assert words in refused.value.stderr
    assert shlex.split(make_secrets("--help").stdout)[:2] == ["Usage:", "deploy/compose-secrets"]


def test_each_service_has_a_check_that_can_pass() -> None:
    """The image's check asks the probe port of a role: any other command would be unhealthy for ever."""
    without = [name for name, one in ours().items() if name not in lines() and "healthcheck" not in one]
    assert without == [], "`up --wait` would fail for them"
    assert all("healthcheck" not in services()[name] for name in lines()), "the image's own"


def test_nginx_is_started_before_the_api_answers() -> None:
    """An API that is slow, or waits for a store, would else keep `up` from ever starting it."""
    assert services()["nginx"]["depends_on"] == {
        "api": {"condition": "service_started"},
        "flower": {"condition": "service_started"},
    }


@pytest.mark.slow
def test_the_check_of_flower_passes_when_it_answers(tmp_path: Path, server: RunningServer) -> None:
    """It is run as the container runs it, against a Flower with the settings of the service."""
    flower = services()["flower"]
    port = str(free_port())
    login = tmp_path / "login"
    login.write_text("operator:secret")
    own = {
        "SIEM_REDIS_URL": server.url,
        "SIEM_FLOWER_BASIC_AUTH_FILE": str(login),
        "SIEM_FLOWER_HOST": "127.0.0.1",
        "SIEM_FLOWER_PORT": port,
    }
    given = {name: value for name, value in flower["environment"].items() if name != "SIEM_REDIS_URL_FILE"}
    kind, program, *check = flower["healthcheck"]["test"]
    asking = [sys.executable, *(one.replace(given["SIEM_FLOWER_PORT"], port) for one in check)]

    def passes() -> bool:
        return subprocess.run(asking, capture_output=True, check=False, timeout=180).returncode == 0

    process = subprocess.Popen(
        [Path(sys.executable).with_name("siem"), "flower"],
        env=os.environ | given | own,
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(passes, "the check passes")
    finally:
        process.terminate()
        process.wait(120)
    assert not passes(), "nothing answers any more"
    assert (kind, program) == ("CMD", "python")


def test_the_guide_asks_for_paths_that_there_are() -> None:
    """Each address in its commands is a route of the API."""
    asked = set(re.findall(r"https://siem\.example\.com(/api/v1\S*)", GUIDE.read_text()))
    assert asked
    assert asked <= set(create_app(NOTHING).openapi()["paths"])
