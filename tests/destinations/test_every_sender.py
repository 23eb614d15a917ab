"""What holds for the sender of each destination alike."""

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from typing import Any

import pytest
import trustme

from tests.destinations.batches import attempt_of, failures, soon, verdicts
from tests.destinations.senders import TOKEN, splunk_to, syslog_to, webhook_to
from tests.destinations.syslog_cef.syslog_parser import ids
from tests.receivers.hec import HecReceiver
from tests.receivers.syslog import SyslogReceiver, SyslogUdpReceiver
from tests.receivers.webhook import WebhookReceiver
from tests.transports.certificates import server_context
from worker.destinations import Sender
from worker.model.batches import SETTLED
from worker.model.deliveries import Verdict
from worker.transports.guard import Guard

Receiver = HecReceiver | WebhookReceiver | SyslogReceiver | SyslogUdpReceiver
SenderTo = Callable[..., AbstractContextManager[Sender]]


def _tls_receiver() -> SyslogReceiver:
    return SyslogReceiver(tls=server_context(trustme.CA().issue_cert("127.0.0.1")))


DESTINATIONS: dict[str, tuple[Callable[[], Receiver], SenderTo]] = {
    "splunk": (HecReceiver, splunk_to),
    "webhook": (WebhookReceiver, webhook_to),
    "syslog over TCP": (SyslogReceiver, syslog_to),
    "syslog over UDP": (SyslogUdpReceiver, syslog_to),
    "syslog over TLS": (_tls_receiver, syslog_to),
}
each_destination = pytest.mark.parametrize(
    ("receiver_of", "sender_to"), DESTINATIONS.values(), ids=list(DESTINATIONS)
)


def arrived(receiver: Receiver) -> Collection[object]:
    """Return all that has come."""
    return receiver.requests if isinstance(receiver, (HecReceiver, WebhookReceiver)) else receiver.messages


def arrived_ids(receiver: Receiver, count: int) -> Sequence[str]:
    """Return the ids of the events that have come, once there are so many."""
    if isinstance(receiver, (HecReceiver, WebhookReceiver)):
        return receiver.accepted_ids
    return ids(receiver.wait_for(count))


@each_destination
def test_only_what_is_open_is_sent(receiver_of: Callable[[], Receiver], sender_to: SenderTo) -> None:
    """What an earlier attempt has settled is not sent again, and has no result."""
    attempt = attempt_of(5, carried=[SETTLED, 1, SETTLED, 2, SETTLED])
    options = {"verify_tls": False} if receiver_of is _tls_receiver else {}
    with receiver_of() as receiver, sender_to(receiver.url, **options) as sender:
        results = sender.send(attempt, soon())

        assert verdicts(attempt, results) == {"e1": Verdict.ACCEPTED, "e3": Verdict.ACCEPTED}
        assert sorted(arrived_ids(receiver, 2)) == ["e1", "e3"]
    assert list(attempt.request_counts) == [SETTLED, 2, SETTLED, 3, SETTLED]


@each_destination
def test_after_the_deadline_nothing_is_sent(receiver_of: Callable[[], Receiver], sender_to: SenderTo) -> None:
    """A batch that comes late is put off without a request, and none of its events counts as tried."""
    attempt = attempt_of(5)
    with receiver_of() as receiver, sender_to(receiver.url) as sender:
        results = sender.send(attempt, time.monotonic())

        assert arrived(receiver) == []
    assert set(verdicts(attempt, results).values()) == {Verdict.RETRY}
    assert set(failures(attempt, results).values()) == {"out_of_time"}
    assert set(attempt.request_counts) == {0}


@each_destination
def test_a_closed_network_is_described(receiver_of: Callable[[], Receiver], sender_to: SenderTo) -> None:
    """Without the allow-list, loopback is no place for a SIEM, and is not dialled."""
    attempt = attempt_of(3)
    with receiver_of() as receiver, sender_to(receiver.url, guard=Guard([])) as sender:
        results = sender.send(attempt, soon())

        assert arrived(receiver) == []
    assert set(verdicts(attempt, results).values()) == {Verdict.RETRY}
    assert set(failures(attempt, results).values()) == {"address_refused"}


@pytest.mark.parametrize(
    "options",
    [
        {"ca_pem": "not a certificate"},
        {"ca_pem": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"},
        {"client_cert_pem": "cert", "client_key_pem": f"key {TOKEN}"},
    ],
)
@pytest.mark.parametrize("kind", ["splunk", "syslog over TCP"])
def test_tls_options_that_cannot_be_read_are_described(kind: str, options: dict[str, Any]) -> None:
    """A broken PEM is a matter of configuration: the batch comes back, and the words repeat no secret."""
    receiver_of, sender_to = DESTINATIONS[kind]
    attempt = attempt_of(3)
    with receiver_of() as receiver:
        url = receiver.url.replace("http:", "https:").replace("syslog:", "syslog+tls:")
        with sender_to(url, **options) as sender:
            results = sender.send(attempt, soon())

        assert arrived(receiver) == []
    assert set(verdicts(attempt, results).values()) == {Verdict.RETRY}
    assert set(failures(attempt, results).values()) == {"configuration"}
    assert TOKEN not in repr(results)
