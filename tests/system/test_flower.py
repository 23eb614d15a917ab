"""Flower beside a fleet: an operator sees how each batch fared, and neither an event nor a secret."""

import ast
import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.fleet import Fleet, wait_until
from tests.ports import free_port
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.system.conftest import denial
from worker.integrations import destination_types

TOKEN = "hec-token-of-splunk"
REDIS_PASSWORD = "password-of-redis"
CONTENT = "content-of-an-event"
LOGIN = "operator:password-of-flower"
#: An integration that does not exist.
NOBODY = "int_nobody"


#: What the page of tasks asks for.
_TABLE = (
    "/tasks/datatable?draw=1&start=0&length=100&search[value]=&order[0][column]=0&order[0][dir]=desc"
    "&columns[0][data]=received"
)


class Flower:
    """A running Flower, and everything it has answered so far."""

    def __init__(self, port: int) -> None:
        """Take its port on loopback."""
        self._base = f"http://127.0.0.1:{port}/ops/flower"
        self.answers: list[str] = []

    def is_up(self) -> bool:
        """Whether it answers."""
        with suppress(OSError):
            return bool(self.ask("/healthcheck"))
        return False

    def ask(self, path: str, login: str = LOGIN) -> str:
        """Get a page. Raises OSError."""
        request = urllib.request.Request(self._base + path)  # noqa: S310 - our own Flower
        if login:
            request.add_header("Authorization", f"Basic {b64encode(login.encode()).decode()}")
        with urllib.request.urlopen(request, timeout=10) as reply:  # noqa: S310 - the same
            answer: str = reply.read().decode()
        self.answers.append(answer)
        return answer

    def refusals(self, *paths: str) -> list[int]:
        """Return the status of each page for those who have no login."""
        found = []
        for path in paths:
            try:
                self.ask(path, "")
            except urllib.error.HTTPError as error:
                found.append(error.code)
                error.close()
        return found

    def tasks(self) -> list[dict[str, Any]]:
        """Return the tasks that it knows of."""
        return list(json.loads(self.ask("/api/tasks")).values())

    def workers(self) -> list[str]:
        """Return the names of the workers, asked anew for all they tell of themselves."""
        return list(json.loads(self.ask("/api/workers?refresh=1")))


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet whose processes speak to Redis with a password."""
    with Fleet(tmp_path) as fleet:
        fleet.client.acl_setuser(
            "fleet",
            enabled=True,
            passwords=[f"+{REDIS_PASSWORD}"],
            commands=["+@all"],
            keys=["*"],
            channels=["*"],
        )
        address = fleet.server.url.partition("@")[2] or fleet.server.url.partition("//")[2]
        fleet.environment["SIEM_REDIS_URL"] = f"redis://fleet:{REDIS_PASSWORD}@{address}"
        yield fleet


@contextmanager
def flower_beside(fleet: Fleet) -> Iterator[Flower]:
    """Run Flower until the block ends; when it begins, Flower has switched the worker's events on."""
    port = free_port()
    command = [str(Path(sys.executable).parent / "siem"), "flower"]
    password = fleet.directory / "login"
    password.write_text(LOGIN + "\n")
    environment = fleet.environment | {
        "SIEM_FLOWER_PORT": str(port),
        "SIEM_FLOWER_URL_PREFIX": "/ops/flower",
        "SIEM_FLOWER_BASIC_AUTH_FILE": str(password),
    }
    with (fleet.directory / "flower.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=environment, cwd=fleet.directory, stdout=log, stderr=log, start_new_session=True
        )
    try:
        flower = Flower(port)
        wait_until(flower.is_up, "Flower answers")
        wait_until(lambda: _sees_tasks(fleet, flower), "the worker sends task events")
        yield flower
    finally:
        process.terminate()
        assert process.wait(120) == 0


def _sees_tasks(fleet: Fleet, flower: Flower) -> bool:
    """Issue an order that comes to nothing; whether Flower has seen any."""
    order = json.dumps({"integration": NOBODY, "slot": 0, "epoch": 0})
    fleet.celery("call", "deliver_splunk_hec", "--kwargs", order, "--queue", "splunk_hec")
    return any(_kwargs(task)["integration"] == NOBODY for task in _known(flower))


def _known(flower: Flower) -> list[dict[str, Any]]:
    """Return the tasks whose beginning Flower has seen: of others it does not know what they are."""
    return [task for task in flower.tasks() if task["kwargs"] is not None]


@pytest.mark.slow
def test_flower_shows_how_every_batch_fared(own: Fleet) -> None:
    """Batches are listed by task name: done, retried, failed, held, each with what happened; no content."""
    with (
        HecReceiver() as well,
        HecReceiver(scripts.first(1, scripts.busy())) as flaky,
        HecReceiver(scripts.busy()) as ill,
        HecReceiver(scripts.reject_token()) as refusing,
        HecReceiver(scripts.throttled(120)) as throttling,
    ):
        receivers = {"well": well, "flaky": flaky, "ill": ill, "refusing": refusing, "throttling": throttling}
        for name, splunk in receivers.items():
            own.integrate(splunk.url, name, tenant_id=name, token=TOKEN, max_retries=1)
        own.start()
        with flower_beside(own) as flower:
            for name in receivers:
                own.publish_at_once([denial(f"{CONTENT}-{name}", tenant_id=name, reason=CONTENT)])
            wait_until(lambda: len(_ended(flower)) == 5, "Flower has seen five batches end")
            ended = _ended(flower)
            _read_everything(flower)
            pages = flower.ask(_TABLE)
            refused = flower.refusals("/", "/tasks", "/broker", "/metrics", "/api/tasks", _TABLE)
            own.kill("worker")
            queues = flower.ask("/broker")

        assert {name: task["state"] for name, task in ended.items()} == {
            "int_well": "SUCCESS",
            "int_flaky": "SUCCESS",
            "int_ill": "FAILURE",
            "int_refusing": "FAILURE",
            "int_throttling": "RETRY",
        }
        assert {task["name"] for task in ended.values()} == {"deliver_splunk_hec"}
        assert {name: task["retries"] for name, task in ended.items()} == {
            "int_well": 0,
            "int_flaky": 1,
            "int_ill": 1,
            "int_refusing": 0,
            "int_throttling": 0,
        }
        assert re.fullmatch(r"'1 delivered, 0 retried, \d+ ms'", ended["int_well"]["result"])
        assert re.fullmatch(r"'1 delivered, 1 retried, \d+ ms'", ended["int_flaky"]["result"])
        assert "'1 dead letter (destination busy)'" in ended["int_ill"]["exception"]
        assert "'held: token invalid, 1 event waits'" in ended["int_refusing"]["exception"]
        assert "destination busy: 1 event to be sent again in 1" in ended["int_throttling"]["exception"]
        assert "Traceback" not in own.log("worker")
        assert all(set(_kwargs(task)) == {"integration", "slot", "epoch"} for task in ended.values())
        assert all(task["args"] in {"()", "[]"} for task in ended.values())
        assert "destination busy: 1 event to be sent again in 1" in pages
        assert "held: token invalid, 1 event waits" in pages
        assert "DeliveryHeld(" not in "".join(row["result"] for row in json.loads(pages)["data"])
        assert refused == [401] * 6
        assert [kind for kind in destination_types() if f'id="{kind}"' not in queues] == []
        said = "\n".join(flower.answers)
        assert [secret for secret in (TOKEN, REDIS_PASSWORD, CONTENT, LOGIN) if secret in said] == []


def _ended(flower: Flower) -> dict[str, dict[str, Any]]:
    """Return the tasks that have ended, by integration; one that Celery retries has not."""
    ended = (
        task
        for task in _known(flower)
        if task["state"] in {"SUCCESS", "FAILURE"} or "DeliveryDelayed" in (task["exception"] or "")
    )
    found = {_kwargs(task)["integration"]: task for task in ended}
    return {name: task for name, task in found.items() if name != NOBODY}


def _kwargs(task: dict[str, Any]) -> dict[str, Any]:
    read: dict[str, Any] = ast.literal_eval(task["kwargs"])
    return read


def _read_everything(flower: Flower) -> None:
    """Open every page on which an operator might read more than the list of tasks shows."""
    [worker] = flower.workers()
    uuids = [task["uuid"] for task in flower.tasks()]
    details = [path for uuid in uuids for path in (f"/task/{uuid}", f"/api/task/info/{uuid}")]
    for path in ("/workers", f"/worker/{worker}", "/tasks", "/broker", "/metrics", *details):
        assert flower.ask(path)
