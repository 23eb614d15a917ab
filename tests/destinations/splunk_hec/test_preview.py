"""A preview shows the very bytes that would be sent, but for the token, and sends nothing."""

from typing import Any

import pytest

from tests.destinations.batches import attempt_of, soon
from tests.destinations.senders import TOKEN, splunk_to
from tests.receivers.hec import HecReceiver
from tests.receivers.scripts import Request
from worker.destinations.splunk_hec.sender import SplunkHecSender
from worker.integrations.splunk_hec import SplunkHec
from worker.model.events import QueuedEvent
from worker.transports.guard import Guard

EVENT = QueuedEvent("e1", "policy.deny", 1_795_342_272_045, 0, b'{"id":"e1"}')


def as_sent(request: Request) -> bytes:
    """Write a request as it came over the wire, its body unzipped, its token hidden."""
    lines = [f"{request.method} {request.path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode().replace(TOKEN.encode(), b"***") + request.body


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gzip": True},
        {"batch_events": 2},
        {"batch_bytes": 1_000, "gzip": True},
        {"index": "security", "fields": {"site": "Zürich"}, "use_ack": True},
    ],
)
def test_a_preview_is_what_is_sent(options: dict[str, Any]) -> None:
    """Header by header and byte by byte, in as many requests, on the same channel."""
    attempt = attempt_of(5, padding=300)
    with HecReceiver() as splunk, splunk_to(splunk.url, **options) as sender:
        preview = sender.preview(attempt.batch.events)
        assert splunk.requests == []
        sender.send(attempt, soon())

    posts = splunk.posts[: 1 if options.get("use_ack") else None]
    assert preview == b"\r\n\r\n".join(as_sent(request) for request in posts)
    assert TOKEN.encode() not in preview


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://http-inputs-acme.splunkcloud.com:443", "http-inputs-acme.splunkcloud.com"),
        ("https://acme.splunkcloud.com:8088", "acme.splunkcloud.com:8088"),
        ("http://SPLUNK.example", "splunk.example"),
        ("http://splunk.example.:8088", "splunk.example:8088"),
        ("https://[2001:db8::1]:8088", "[2001:db8::1]:8088"),
        ("https://splünk.example", "xn--splnk-mva.example"),
    ],
)
def test_a_preview_byte_by_byte(url: str, host: str) -> None:
    """Request line, Host, headers, an empty line, the body; nothing is dialled, nor looked up."""
    config = SplunkHec.model_validate({"url": url, "token": TOKEN, "gzip": True})
    preview = SplunkHecSender(config, Guard([]), connections=1).preview([EVENT])

    head, _, body = preview.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[:3] == ["POST /services/collector/event HTTP/1.1", f"Host: {host}", lines[2]]
    assert "Authorization: Splunk ***" in lines
    assert "Content-Encoding: gzip" in lines
    assert body == (
        b'{"time":1795342272.045,"host":"mitrity","source":"mitrity","sourcetype":"mitrity:governance",'
        b'"event":{"id":"e1"}}'
    )


def test_no_events_are_no_request() -> None:
    """There is nothing to show."""
    config = SplunkHec.model_validate({"url": "https://splunk.example", "token": TOKEN})

    assert SplunkHecSender(config, Guard([]), connections=1).preview([]) == b""
