"""What would be sent to a webhook, shown to people: every byte of it but for secrets."""

import re
from typing import Any

import pytest

from tests.destinations.batches import attempt_of, soon
from tests.destinations.senders import NEWER, OLDER, TOKEN, webhook_to
from tests.transports.endpoint import OK, Endpoint, answers


def shown(url: str, count: int, **options: Any) -> bytes:
    """Preview that many events."""
    with webhook_to(url, **options) as sender:
        return sender.preview(attempt_of(count).batch.events)


@pytest.mark.parametrize("body", ["event", "array", "lines"])
def test_the_preview_is_what_is_sent(body: str) -> None:
    """Byte by byte, but for the second in which it happens, and for the values of the query."""
    with Endpoint(answers(OK)) as endpoint:
        url = endpoint.url(path="/hook?a=b")
        with webhook_to(url, body=body, connections=1) as sender:
            sender.send(attempt_of(3), soon())
        preview = shown(url, 3, body=body)

    sent = b"\r\n\r\n".join(endpoint.requests)
    assert b"POST /hook?a=b HTTP/1.1\r\n" in sent
    assert _timeless(preview) == _timeless(sent.replace(b"?a=b ", b"?a=*** "))


def _timeless(written: bytes) -> bytes:
    return re.sub(rb"webhook-timestamp: \d+", b"webhook-timestamp: 0", written)


def test_secrets_are_shown_as_stars() -> None:
    """Neither the token nor a header's value nor a signature is shown; that there is one, is."""
    text = shown(
        "https://siem.example.com/hook",
        2,
        auth={"kind": "bearer", "token": TOKEN},
        headers={"X-Team": f"{TOKEN}-blue"},
        signing_secrets=[NEWER, OLDER],
    ).decode()

    assert TOKEN not in text
    assert text.count("Authorization: Bearer ***\r\n") == 2
    assert text.count("X-Team: ***\r\n") == 2
    assert text.count("webhook-signature: v1,*** v1,***\r\n") == 2
    assert text.startswith("POST /hook HTTP/1.1\r\nHost: siem.example.com\r\n")
    assert '\r\n\r\n{"id":"e0","padding":""}\r\n\r\nPOST /hook HTTP/1.1\r\n' in text


def test_a_key_is_shown_as_stars() -> None:
    """In whatever header it goes."""
    key = {"kind": "api_key", "header": "X-Key", "value": TOKEN}

    assert b"X-Key: ***\r\n" in shown("https://siem.example.com/hook", 1, auth=key)


def test_no_events_no_requests() -> None:
    """A preview of nothing is empty."""
    assert shown("https://siem.example.com/hook", 0) == b""
    assert shown("https://siem.example.com/hook", 0, body="array") == b""
