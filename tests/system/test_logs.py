"""What a whole fleet logs, at DEBUG, in both forms: facts with fields, and nothing of events or secrets."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fleet import Fleet, wait_until
from tests.procfile import WORKER
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.receivers.scripts import Action, Request
from tests.receivers.webhook import WebhookReceiver, takes
from tests.system.conftest import denial

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

#: In each payload, and so in what an echoing destination answers.
CANARY = "payload-canary-5f2c9e1a"
TOKEN = "secret-token"
ROLES = ("router", "recorder", WORKER, "api")
EVERY_LINE = {"time", "level", "event", "message", "logger", "process"}
OF_A_BATCH = {"integration", "tenant", "type", "slot", "epoch", "batch"}


@pytest.fixture(params=["console", "json"])
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet that logs all it can, in one form."""
    with Fleet(
        tmp_path, SIEM_LOG_LEVEL="DEBUG", SIEM_LOG_FORMAT=request.param, SIEM_BREAKER_FAILURES="2"
    ) as fleet:
        fleet.worker_flags = ("-l", "DEBUG")
        yield fleet.start(*ROLES)


def echo(status: int) -> scripts.Script:
    """Refuse, and repeat in the answer all that came."""
    return lambda request: Action(status, json.dumps({"text": _told(request), "code": 6}).encode())


def _told(request: Request) -> str:
    return f"not {request.headers['Authorization']}: {request.body.decode(errors='replace')}"


def canary(event_id: str) -> dict[str, Any]:
    """Make an event that can be recognized wherever a part of it gets to."""
    return denial(event_id, reason=CANARY, context={"prompt": CANARY})


def test_a_fleet_logs_facts_and_never_a_payload(own: Fleet) -> None:
    """Through deliveries, refusals that repeat what was sent, one that is down, and a lost Redis."""
    busy = scripts.always(Action(503, b'{"text":"' + CANARY.encode() + b'","code":9}'))
    with (
        HecReceiver() as good,
        HecReceiver(echo(400)) as refusing,
        HecReceiver(busy) as down,
        WebhookReceiver(takes(202)) as hook,
    ):
        for receiver, name in ((good, "good"), (refusing, "refusing"), (down, "down")):
            own.integrate(receiver.url, name)
        own.integrate(hook.url, "hook", type="webhook", auth={"kind": "bearer", "token": TOKEN})
        own.publish_at_once(canary(f"e{number}") for number in range(5))
        own.settled(5, "int_good")
        own.settled(5, "int_hook")
        wait_until(lambda: len(own.dead("int_refusing")) == 5, "what is refused is dead")
        wait_until(lambda: "breaker.opened" in own.log(WORKER), "the breaker opens")
        own.server.kill()
        _wait_for_all(own, "dependency.lost")
        own.server.restart()
        _wait_for_all(own, "dependency.back")
        for role in ROLES:
            assert own.terminate(role) == 0

    logs = {role: own.log(role) for role in ROLES}
    assert [role for role, text in logs.items() if CANARY in text or TOKEN in text] == []
    assert [role for role, text in logs.items() if "unexpected_error" in text] == []
    if own.environment["SIEM_LOG_FORMAT"] == "console":
        assert (
            " DEBUG delivery.attempted: attempt 1: 5 delivered, 0 to be retried, 0 dead of 5 in "
            in logs[WORKER]
        )
        return
    _check_objects({role: _objects(text) for role, text in logs.items()})


def _objects(text: str) -> list[dict[str, Any]]:
    """Read the lines; Celery prints one without logging when it is asked to end."""
    printed = ("", "worker: Warm shutdown (MainProcess)")
    return [json.loads(line) for line in text.splitlines() if line not in printed]


def _wait_for_all(own: Fleet, event: str) -> None:
    wait_until(lambda: all(event in own.log(role) for role in ROLES), f"every process logs {event}")


def _check_objects(logs: dict[str, list[dict[str, Any]]]) -> None:
    """Check the fields of each line, and those of the facts that this fleet went through."""
    assert all(line.keys() >= EVERY_LINE for lines in logs.values() for line in lines)
    worker = logs[WORKER]
    attempts = [line for line in worker if line["event"] == "delivery.attempted"]
    assert all(line.keys() >= OF_A_BATCH for line in attempts)
    of = {line["integration"]: line for line in reversed(attempts)}
    counted = ("type", "events", "delivered", "retried", "dead", "reason")
    assert {name: tuple(line.get(field) for field in counted) for name, line in of.items()} == {
        "int_good": ("splunk_hec", 5, 5, 0, 0, None),
        "int_hook": ("webhook", 5, 5, 0, 0, None),
        "int_refusing": ("splunk_hec", 5, 0, 0, 5, of["int_refusing"]["reason"]),
        "int_down": ("splunk_hec", 5, 0, 5, 0, "destination_busy"),
    }
    assert of["int_refusing"]["reason"]
    assert {line["tenant"] for line in attempts} == {"default"}
    [opened] = [line for line in worker if line["event"] == "breaker.opened"]
    assert (opened["integration"], opened["reason"]) == ("int_down", "destination_busy")
    assert any(line["event"] == "celery.log" and line.get("task") == "deliver_webhook" for line in worker)
    for role, lines in logs.items():
        names = [line["event"] for line in lines]
        assert names.count("dependency.lost") == 1, role
        assert names.count("dependency.back") == 1, role
    started = [line["role"] for role in ROLES for line in logs[role] if line["event"] == "process.started"]
    assert started == ["router", "recorder"]
