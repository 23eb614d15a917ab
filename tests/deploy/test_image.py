"""deploy/Dockerfile, built without any registry of images, and every role of the Procfile run from it.

The base is made from Debian's packages and has the name that the Dockerfile gives (`.ci/image`); every step
of the Dockerfile is the real one.
"""

import json
import signal
import subprocess
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.containers import (
    IMAGE,
    LONG,
    STRICT,
    ContainerFleet,
    inspected,
    is_running,
    podman,
    states,
    tool,
)
from tests.fleet import wait_until
from tests.procfile import lines
from tests.receivers.hec import HecReceiver
from tests.receivers.scripts import Action, Request, Script
from tests.receivers.syslog import SyslogReceiver
from tests.receivers.webhook import WebhookReceiver
from tests.system.conftest import denial
from worker.broker import keys

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

TOP = Path(__file__).parents[2]
ROLES = tuple(lines())


@pytest.fixture
def fleet(tmp_path: Path, postgres_url: str) -> Iterator[ContainerFleet]:
    """Give a fleet of containers, none of which runs yet."""
    tool("podman")
    with ContainerFleet(tmp_path, postgres_url) as made:
        yield made


def test_the_dockerfile_has_no_finding_of_hadolint() -> None:
    """The known mistakes of Dockerfiles are found by a tool; an ignored rule has its reason beside it."""
    done = subprocess.run(
        [tool("tools/bin/hadolint"), TOP / "deploy" / "Dockerfile"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("", 0)


def test_every_role_delivers_and_ends_by_either_signal(fleet: ContainerFleet) -> None:
    """Every line of the Procfile runs as another user without rights, writes nothing, and ends in good order.

    Each end comes while a webhook is being answered: its worker waits for it, settles, and ends.
    """
    answer = threading.Event()
    with HecReceiver() as splunk, SyslogReceiver() as syslog, WebhookReceiver(_once(answer)) as endpoint:
        fleet.integrate(splunk.url, "splunk_hec")
        fleet.integrate(syslog.url, "syslog_cef")
        fleet.integrate(endpoint.url, "webhook", type="webhook", timeout_seconds=25)
        for by in (signal.SIGTERM, signal.SIGINT):
            answer.clear()
            fleet.start(*ROLES)
            fleet.await_health()
            (event,) = fleet.publish([denial(f"evt_{by.name}")])
            fleet.await_delivery(event, "splunk_hec", "syslog_cef")
            _await_request(endpoint, event)

            fleet.signal("worker-webhook", by)
            answer.set()
            ended = {"worker-webhook": fleet.ended("worker-webhook")}
            fleet.await_delivery(event, "webhook")
            for role in (one for one in ROLES if one != "worker-webhook"):
                fleet.signal(role, by)
                ended[role] = fleet.ended(role)

            assert ended == {role: _status(role, by) for role in ROLES}, {
                role: fleet.log(role)[-1000:] for role in ROLES
            }
            assert endpoint.ids[event] == 1
            assert not fleet.client.xlen(keys.OUTCOMES), "an outcome was not recorded"


def _status(role: str, by: signal.Signals) -> int:
    """Return the exit status of a good end. Celery ends with 1 after an INT, however good its end was."""
    return int(by is signal.SIGINT and role.startswith("worker-"))


def _await_request(endpoint: WebhookReceiver, event: str) -> None:
    wait_until(lambda: event in endpoint.ids, "a webhook is under way", LONG)


def _once(told: threading.Event) -> Script:
    """Take a webhook once told."""

    def script(request: Request) -> Action:
        assert told.wait(LONG)
        return Action(200, b"", request.events)

    return script


def test_process_1_passes_signals_on_and_leaves_no_zombies() -> None:
    """The kernel drops a TERM to a process 1 that has no handler yet, and only process 1 reaps orphans."""
    name = f"siem-{uuid.uuid4().hex[:8]}"
    command = [tool("podman"), "run", "--rm", f"--name={name}", *STRICT, IMAGE, "sleep", "600"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as container:
        try:
            wait_until(lambda: is_running(name), "the container runs")
            podman("exec", name, "sh", "-c", "sleep 0.1 & exec true")
            wait_until(lambda: len(states(name)) == 2, "the orphan is gone: tini and its command are left")
            podman("kill", "--signal=TERM", name)
            assert container.wait(timeout=LONG) == 128 + signal.SIGTERM
        finally:
            podman("rm", "--force", "--time=0", "--ignore", name, check=False)


def test_the_image_says_what_it_is_and_holds_no_more() -> None:
    """Its user is a number other than 0; nothing can be written; no secret of the build got into it."""
    shown = inspected(IMAGE)
    assert shown["Config"]["User"] == "10001:10001"
    assert shown["Config"]["Entrypoint"] == ["/usr/bin/tini", "--"]
    assert shown["Config"]["Cmd"] == ["siem", "--help"]
    assert shown["Config"]["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert {entry.partition("=")[0] for entry in shown["Config"]["Env"]} == {
        *("PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "SIEM_DATA_DIR", "SIEM_PROBE_PORT")
    }
    found = podman("run", "--rm", *STRICT, IMAGE, "python", "-c", _LOOK_AROUND).stdout
    assert json.loads(found) == {
        "writable": ["/var/lib/siem"],
        "secrets of the build": [],
        "tests": [],
        "zone": "Europe/Berlin",
        "authorities": True,
    }


#: Looks for what is not to be in the image, from inside, as its user.
_LOOK_AROUND = """
import json, os, ssl, zoneinfo
from pathlib import Path
owned = [
    folder for top in ("/opt", "/etc", "/usr", "/var", "/home", "/root") for folder, _, _ in os.walk(top)
    if os.stat(folder).st_uid == os.getuid() or os.stat(folder).st_mode & 0o1002 == 0o2
]
print(json.dumps({
    "writable": owned,
    "secrets of the build": [str(one) for one in Path("/etc").glob("pip*") if one.stat().st_size],
    "tests": [str(one) for one in Path("/opt/siem").glob("**/site-packages/tests")],
    "zone": zoneinfo.ZoneInfo("Europe/Berlin").key,
    "authorities": ssl.create_default_context().cert_store_stats()["x509_ca"] > 0,
}))
"""


def test_without_a_command_it_explains_itself() -> None:
    """Who starts it to see what it is gets the help."""
    assert "Usage: siem" in podman("run", "--rm", *STRICT, IMAGE).stdout
