"""Clients of the scriptable Splunk, for the tests of itself."""

import json
import socket
from collections.abc import Sequence

import requests

from tests.receivers.hec import HecReceiver


def body_of(ids: Sequence[str]) -> bytes:
    """Wrap events of these ids in envelopes."""
    return b"".join(
        json.dumps({"time": 1.5, "event": {"id": event_id}}, separators=(",", ":")).encode()
        for event_id in ids
    )


def post(receiver: HecReceiver, *ids: str, seconds: float = 10) -> requests.Response:
    """Send such events in one request."""
    return requests.post(receiver.url, data=body_of(ids), timeout=seconds, allow_redirects=False)


def connect(receiver: HecReceiver) -> socket.socket:
    """Open a bare connection to the receiver."""
    return socket.create_connection(("127.0.0.1", receiver.port), timeout=10)


def raw_answer(receiver: HecReceiver, *ids: str) -> bytes:
    """Post over a bare socket and return all that comes until the receiver hangs up."""
    body = body_of(ids)
    with connect(receiver) as client:
        head = f"POST /services/collector/event HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        return b"".join(iter(lambda: client.recv(4096), b""))
