"""Destinations that take events, and answer so that it stays unclear: no end of copies must come of it."""

import json
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.fleet import Fleet
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.receivers.webhook import WebhookReceiver
from tests.system.conftest import denial
from worker.model.deliveries import MAX_REQUESTS, Status

EVENTS, BATCH = 6, 2
_RESETS = scripts.close_mid_response("nothing", reset=True)


def _ack(ack_id: Any) -> scripts.Script:
    """Take the events, and give this for an ackId; whatever is asked, nothing is indexed."""
    taken = json.dumps({"text": "Success", "code": 0, "ackId": ack_id}).encode()

    def script(request: scripts.Request) -> scripts.Action:
        if request.path.endswith("/event"):
            return scripts.Action(200, taken, request.events)
        return scripts.Action(200, b'{"acks":{}}')

    return script


_ACKS = {"use_ack": True, "ack_timeout_seconds": 1.0}
#: By name: the kind of receiver, what it does once it has the events, and how the integration is set.
DESTINATIONS: dict[str, tuple[Callable[[scripts.Script], HecReceiver], scripts.Script, dict[str, Any]]] = {
    "reset": (HecReceiver, _RESETS, {}),
    "silent": (HecReceiver, scripts.hang(taking=True), {}),
    "page": (HecReceiver, lambda request: scripts.Action(200, b"<html>", request.events), {}),
    "ack-text": (HecReceiver, _ack("7"), _ACKS),
    "ack-none": (HecReceiver, _ack(None), _ACKS),
    "ack-negative": (HecReceiver, _ack(-1), _ACKS),
    "ack-huge": (HecReceiver, _ack(10**30), _ACKS),
    "hook-reset": (WebhookReceiver, _RESETS, {"type": "webhook"}),
    "hook-silent": (WebhookReceiver, scripts.hang(taking=True), {"type": "webhook"}),
    "hook-502": (
        WebhookReceiver,
        lambda request: scripts.Action(502, b"", request.events),
        {"type": "webhook", "body": "array"},
    ),
}


@pytest.mark.slow
def test_no_event_is_carried_by_more_than_four_requests(tmp_path: Path) -> None:
    """Not even while its backlog is held: probes end in dead letters that tell of four attempts."""
    with ExitStack() as stack:
        knobs = {"SIEM_BREAKER_FIRST_PROBE": "0.2", "SIEM_BREAKER_LONGEST_PROBE": "0.3"}
        fleet = stack.enter_context(Fleet(tmp_path, **knobs))  # type: ignore[arg-type]  # all of these are text
        receivers: dict[str, HecReceiver] = {}
        for name, (kind, script, changes) in DESTINATIONS.items():
            receivers[name] = stack.enter_context(kind(script))
            fleet.integrate(receivers[name].url, name, batch_events=BATCH, **changes)
        fleet.start()
        ids = fleet.publish_at_once([denial(f"e{number}") for number in range(EVENTS)])

        for name, receiver in receivers.items():
            rows = fleet.settled(EVENTS, f"int_{name}")
            assert {row.status for row in rows} == {Status.DEAD}, name
            copies = Counter(one for request in receiver.posts for one in request.ids)
            assert copies.keys() == set(ids), name
            assert max(copies.values()) <= MAX_REQUESTS, (name, copies)
            letters = fleet.dead(f"int_{name}")
            assert {letter.event_id: letter.attempts for letter in letters} == dict(copies), name
