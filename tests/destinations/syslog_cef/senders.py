"""Senders of CEF over syslog that may dial loopback, and batches for them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from tests.destinations.batches import attempt_of
from tests.transports.syslog.streams import GUARD
from worker.destinations.syslog_cef.sender import SyslogCefSender
from worker.integrations.syslog_cef import SyslogCef
from worker.model.batches import DeliveryAttempt
from worker.transports.guard import Guard


@contextmanager
def sender_to(url: str, *, guard: Guard = GUARD, **options: Any) -> Iterator[SyslogCefSender]:
    """Give a sender to the URL, with these options of its destination."""
    sender = SyslogCefSender(SyslogCef.model_validate({"url": url} | options), guard, connections=2)
    try:
        yield sender
    finally:
        sender.close()


def batch_with(count: int, **fields: Any) -> DeliveryAttempt:
    """Make a batch of events with these fields."""
    attempt = attempt_of(count)
    for place, event in enumerate(attempt.batch.events):
        raw = json.dumps({"id": event.id, **fields}).encode()
        attempt.batch.events[place] = msgspec.structs.replace(event, raw=raw)
    return attempt
