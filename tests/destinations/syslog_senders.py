"""Senders of CEF over syslog that may dial loopback."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.transports.syslog_ways import GUARD
from worker.destinations.syslog_cef import SyslogCefSender
from worker.model.destinations import SyslogCef
from worker.transports.guard import Guard


@contextmanager
def sender_to(url: str, *, guard: Guard = GUARD, **options: Any) -> Iterator[SyslogCefSender]:
    """Give a sender to the URL, with these options of its destination."""
    sender = SyslogCefSender(SyslogCef.model_validate({"url": url} | options), guard, connections=2)
    try:
        yield sender
    finally:
        sender.close()
