"""Senders to the destinations of the tests, which may dial loopback."""

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from typing import Any

from worker.destinations.splunk_hec.sender import SplunkHecSender
from worker.destinations.syslog_cef.sender import SyslogCefSender
from worker.destinations.webhook.sender import WebhookSender
from worker.integrations.splunk_hec import SplunkHec
from worker.integrations.syslog_cef import SyslogCef
from worker.integrations.webhook import Webhook
from worker.transports.guard import Guard

TOKEN = "hunter2-hunter2"
#: That of the known answers of Standard Webhooks, and another one.
OLDER, NEWER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_" + "Ab1+" * 8
GUARD = Guard([ip_network("127.0.0.0/8"), ip_network("::1/128")])


@contextmanager
def splunk_to(url: str, *, guard: Guard = GUARD, **options: Any) -> Iterator[SplunkHecSender]:
    """Give a sender to Splunk at the url, with these options of its destination."""
    config = SplunkHec.model_validate({"url": url, "token": TOKEN} | options)
    sender = SplunkHecSender(config, guard, connections=2)
    try:
        yield sender
    finally:
        sender.close()


@contextmanager
def webhook_to(url: str, *, guard: Guard = GUARD, **options: Any) -> Iterator[WebhookSender]:
    """Give a sender to the webhook at the url, with these options of its destination."""
    sender = WebhookSender(Webhook.model_validate({"url": url, "connections": 4} | options), guard)
    try:
        yield sender
    finally:
        sender.close()


@contextmanager
def syslog_to(url: str, *, guard: Guard = GUARD, **options: Any) -> Iterator[SyslogCefSender]:
    """Give a sender of CEF to the url, with these options of its destination."""
    sender = SyslogCefSender(SyslogCef.model_validate({"url": url} | options), guard, connections=2)
    try:
        yield sender
    finally:
        sender.close()
