"""`siem preview`: the bytes that it prints are those that a receiver gets, but for secrets."""

import contextlib
import json
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import denial
from tests.cli.running import Ran, call, in_terminal, start
from tests.cli.test_troubles import NO_REDIS
from tests.fleet import Fleet, wait_until
from tests.transports.endpoint import OK, Endpoint, Visit, answers
from worker.destinations.registry import make_sender
from worker.integrations.integration import Integration, parse_integration
from worker.model.batches import Batch, DeliveryAttempt
from worker.model.event_decoder import decode_event
from worker.model.events import QueuedEvent
from worker.model.orders import WorkOrder
from worker.transports.guard import Guard

pytestmark = pytest.mark.slow

TOKEN = "hec-secret-token"
#: Nothing listens there, and nothing needs to.
SPLUNK = {"type": "splunk_hec", "url": "http://127.0.0.1:9", "token": TOKEN}

EVENTS: list[dict[str, Any]] = [
    denial("e1"),
    denial("e2") | {"policy": {"name": "a|b=c\\d"}},
    denial("e3") | {"reason": "Ж\nx"},
]


@contextlib.contextmanager
def _integrated(desk: Fleet, destination: dict[str, Any], **changes: Any) -> Iterator[Integration]:
    # A deleted integration keeps its id, so each has another.
    document = {"id": f"int_{uuid.uuid4().hex}", "name": "previewed", "destination": destination} | changes
    integration = parse_integration(document)
    desk.store.create(integration)
    try:
        yield integration
    finally:
        desk.store.delete(integration.id)


def _lines(*events: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def _preview(desk: Fleet, stdin: bytes, *options: str, **changes: str) -> Ran:
    return call(desk.environment | changes, "preview", "previewed", "-", *options, stdin=stdin)


def _send(integration: Integration, desk: Fleet) -> None:
    """Send the events as a worker would."""
    events = []
    for line in _lines(*EVENTS).splitlines():
        event = decode_event(line)
        events.append(QueuedEvent(event.id, event.type, event.time_ms, 0, line))
    batch = Batch(WorkOrder("x", 0, 1), events, b"", bytes(len(events)), 0, 0, time.monotonic(), [], [])
    sender = make_sender(integration, Guard(desk.settings.allowed_networks), connections=1)
    with contextlib.closing(sender):
        sender.send(DeliveryAttempt(batch), time.monotonic() + 10)


@pytest.mark.parametrize("gzip", [False, True])
def test_splunk_would_get_these_very_bytes(desk: Fleet, gzip: bool) -> None:  # noqa: FBT001 - pytest passes by name
    """Request line, headers and body, but for the token and the channel, which is new for each worker."""
    with Endpoint(answers(OK)) as endpoint:
        destination = SPLUNK | {"url": endpoint.url(), "index": "main", "gzip": gzip}
        with _integrated(desk, destination) as integration:
            ran = _preview(desk, _lines(*EVENTS))
            _send(integration, desk)
    head, _, body = endpoint.requests[0].partition(b"\r\n\r\n")
    shown_head, _, shown_body = ran.out.partition("\r\n\r\n")

    assert _masked(shown_head) == _masked(head.decode()).replace(TOKEN, "***")
    assert (shown_body.encode() == body) is not gzip  # a compressed body is shown as it was before
    assert TOKEN not in ran.out
    assert shown_body.count('"index":"main"') == 3


@pytest.mark.parametrize("framing", ["newline", "octet_counted"])
def test_a_syslog_receiver_would_get_these_very_bytes(desk: Fleet, framing: str) -> None:
    """Frames and all, to the last byte."""
    received: list[bytes] = []

    def read(visit: Visit) -> None:
        while piece := visit.connection.recv(65536):
            received.append(piece)

    with Endpoint(read) as endpoint:
        url = f"syslog://127.0.0.1:{endpoint.port}"
        with _integrated(desk, {"type": "syslog_cef", "url": url, "framing": framing}) as integration:
            ran = _preview(desk, _lines(*EVENTS))
            _send(integration, desk)
        wait_until(lambda: len(b"".join(received)) >= len(ran.out.encode()), "all bytes have come")

    assert ran.out.encode() == b"".join(received)
    assert ran.out.count("CEF:0|MITRITY|") == 3


def test_a_webhook_would_get_these_very_bytes(desk: Fleet) -> None:
    """Without key and signature, which no one may see; the time of signing is that of each attempt."""
    with Endpoint(answers(OK)) as endpoint:
        destination = {
            "type": "webhook",
            "url": endpoint.url(path="/hook"),
            "auth": {"kind": "api_key", "value": "api-secret-key"},
            "signing_secrets": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
            "body": "lines",
        }
        with _integrated(desk, destination) as integration:
            ran = _preview(desk, _lines(*EVENTS))
            _send(integration, desk)
    [request] = endpoint.requests
    sent = re.sub(r"v1,\S+", "v1,***", _masked(request.decode()).replace("api-secret-key", "***"))

    assert _masked(ran.out) == sent
    assert ran.out.endswith(_lines(*EVENTS).decode())


def test_nothing_is_dialled(desk: Fleet) -> None:
    """Neither Redis nor the SIEM is needed, and the name need not resolve."""
    destination = SPLUNK | {"url": "https://no-such-host.invalid:8088"}
    with _integrated(desk, destination):
        ran = _preview(desk, _lines(*EVENTS), SIEM_REDIS_URL=NO_REDIS, SIEM_ALLOWED_NETWORKS="")

    assert (ran.code, ran.err) == (0, "")
    assert "Host: no-such-host.invalid:8088" in ran.out


def test_a_refused_line_is_named_and_the_rest_is_shown(desk: Fleet, tmp_path: Path) -> None:
    """Line, field, reason and remedy on stderr; exit code 2, as when publishing."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"{nonsense\n" + _lines(EVENTS[0], {"id": "e9", "type": "policy.nope"}))
    with _integrated(desk, SPLUNK):
        ran = call(desk.environment, "preview", "previewed", str(path))

    assert ran.code == 2
    assert [line.partition(":")[0] for line in ran.err.splitlines()] == ["line 1", "line 3"]
    assert "policy.deny" in ran.err  # what a type may be
    assert ran.out.count('"event":') == 1


def test_what_the_integration_would_not_receive_is_left_out(desk: Fleet) -> None:
    """Types that it did not subscribe to, and events of other tenants, are named, and shown with --all."""
    allowed: dict[str, Any] = denial("e1") | {"type": "policy.allow"}
    with _integrated(desk, SPLUNK, tenant_id="acme"):
        lines = _lines(allowed | {"tenant_id": "acme"}, denial("e2", "zenith"), denial("e3", "acme"))
        ran = _preview(desk, lines)
        everything = _preview(desk, lines, "--all")

    hint = "(--all shows it all the same)"
    assert ran.code == 0
    assert ran.err.splitlines() == [
        f"line 1: left out: policy.allow is not among the integration's event types {hint}",
        f"line 2: left out: it is of tenant zenith, and the integration of tenant acme {hint}",
    ]
    assert re.findall(r'"id": "(e\d)"', ran.out) == ["e3"]
    assert re.findall(r'"id": "(e\d)"', everything.out) == ["e1", "e2", "e3"]
    assert everything.err == ""


def test_many_complaints_are_counted(desk: Fleet) -> None:
    """A file of another format does not fill the screen."""
    with _integrated(desk, SPLUNK):
        ran = _preview(desk, b'{"id": "e1"}\n' * 1000)

    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.splitlines()[-1] == "… and 980 more lines refused or left out"
    assert len(ran.err.splitlines()) == 21


def test_a_limit_ends_the_reading(desk: Fleet) -> None:
    """`tail -f | siem preview … --limit 2` ends with the second event, though the pipe stays open."""
    with (
        _integrated(desk, SPLUNK),
        start(desk.environment, "preview", "previewed", "-", "--limit", "2") as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(_lines(*EVENTS))
        process.stdin.flush()
        shown = process.stdout.read()

        assert shown.count(b'"event":') == 2
        assert process.wait(120) == 0


def test_an_event_cannot_reach_the_terminal(desk: Fleet, tmp_path: Path) -> None:
    """In a pipe bytes are bytes; in a terminal, what would steer it is shown as a code."""
    hostile = json.dumps(denial("e1") | {"reason": "\x9b2Jowned\u202e"}, ensure_ascii=False).encode()
    (tmp_path / "hostile").write_bytes(hostile)
    with _integrated(desk, SPLUNK):
        piped = _preview(desk, hostile)
        words = ("preview", "previewed", str(tmp_path / "hostile"))
        shown = in_terminal(desk.environment, *words, prompt="owned", answer=b"")

    assert "\x9b2Jowned\u202e" in piped.out
    assert r"\x9b2Jowned\u202e" in shown.out
    assert "\x9b" not in shown.out


def test_an_unknown_integration_has_no_preview(desk: Fleet) -> None:
    """Exit code 4, as everywhere; what cannot be read is named as well."""
    assert call(desk.environment, "preview", "nobody", "/dev/null").code == 4
    assert call(desk.environment, "preview", "nobody", "no-such-file").code == 2
    with _integrated(desk, SPLUNK):
        assert _preview(desk, b"").out == ""


def _masked(request: str) -> str:
    """Take out what differs from one sending to the next."""
    request = re.sub(r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}", "CHANNEL", request)
    return re.sub(r"webhook-timestamp: \d+", "webhook-timestamp: NOW", request)
