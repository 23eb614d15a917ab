"""The end of a server's certificate is noted once for each connection, whoever vouches for it."""

import datetime as dt
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import trustme

from tests.destinations.batches import attempt_of, soon
from tests.destinations.senders import GUARD, splunk_to, syslog_to, webhook_to
from tests.receivers.hec import HecReceiver
from tests.receivers.syslog import SyslogReceiver
from tests.receivers.webhook import WebhookReceiver
from tests.transports.certificates import server_context
from worker.destinations import Sender

_CA = trustme.CA()
_ENDS = dt.datetime(2031, 2, 3, 4, 5, 6, tzinfo=dt.UTC)
_TRUSTING = {"ca_pem": _CA.cert_pem.bytes().decode()}

#: Of each transport a receiver, and a sender to it.
_WAYS: dict[str, tuple[Callable[..., Any], Callable[..., AbstractContextManager[Sender]]]] = {
    "splunk_hec": (HecReceiver, splunk_to),
    "syslog_cef": (SyslogReceiver, syslog_to),
    "webhook": (WebhookReceiver, webhook_to),
}


@pytest.mark.parametrize("options", [_TRUSTING, {"verify_tls": False}], ids=["custom CA", "verification off"])
@pytest.mark.parametrize("way", _WAYS)
def test_the_end_of_a_certificate_is_noted_once_for_a_connection(way: str, options: dict[str, Any]) -> None:
    """Two batches go over one connection, and are delivered as ever.

    But for a webhook, which leaves the first once it is known that HTTP/1.1 is spoken.
    """
    receiver, sender_to = _WAYS[way]
    noted: list[float] = []
    context = server_context(_CA.issue_cert("127.0.0.1", not_after=_ENDS))
    with (
        receiver(tls=context) as siem,
        sender_to(siem.url, guard=GUARD.noting(noted.append), **options) as sender,
    ):
        results = [sender.send(attempt_of(1), soon()) for _ in range(2)]

    assert [[one.failure for one in result] for result in results] == [[None], [None]]
    assert noted == [_ENDS.timestamp()] * (2 if way == "webhook" else 1)


@pytest.mark.parametrize("way", ["splunk_hec", "webhook"])
def test_without_tls_nothing_is_noted(way: str) -> None:
    """Nor does a guard for one integration note anything for another."""
    receiver, sender_to = _WAYS[way]
    noted: list[float] = []
    own = GUARD.noting(noted.append)
    context = server_context(_CA.issue_cert("127.0.0.1", not_after=_ENDS))
    with receiver() as siem, sender_to(siem.url, guard=own) as sender:
        sender.send(attempt_of(1), soon())
    with receiver(tls=context) as siem, sender_to(siem.url, **_TRUSTING) as sender:
        sender.send(attempt_of(1), soon())

    assert noted == []
