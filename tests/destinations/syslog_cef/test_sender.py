"""A batch on its way to a syslog receiver: what is sent, and what each ruling can honestly claim."""

import time
from typing import Any

import pytest
import trustme

from tests.destinations.batches import attempt_of, batch_with, soon, verdicts
from tests.destinations.senders import syslog_to
from tests.destinations.syslog_cef.syslog_parser import ids
from tests.receivers.syslog import SyslogReceiver, SyslogUdpReceiver
from tests.receivers.syslog_behaviours import Behaviour, half_closes, never_ends, reads, resets, stalls
from tests.transports.certificates import demanding, server_context
from tests.transports.syslog.streams import GUARD
from worker.destinations.registry import make_sender
from worker.destinations.syslog_cef.syslog import SyslogCefFormat
from worker.integrations.integration import parse_integration
from worker.model.deliveries import Assurance, DeliveryResult, Verdict
from worker.model.errors import InvalidIntegration
from worker.transports.syslog import datagrams as syslog_datagrams

ACCEPTED, RETRY, REFUSED = Verdict.ACCEPTED, Verdict.RETRY, Verdict.REFUSED


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    """Sign the certificates of receivers."""
    return trustme.CA()


def codes(results: list[DeliveryResult]) -> set[str]:
    """Return the codes of all failures."""
    return {result.failure.code for result in results if result.failure is not None}


@pytest.mark.parametrize("framing", ["newline", "octet_counted"])
def test_a_batch_goes_out_as_frames(framing: str) -> None:
    """All events in order, by one result, which claims no more than that they were sent."""
    attempt = attempt_of(50)
    with SyslogReceiver(framing=framing) as receiver, syslog_to(receiver.url, framing=framing) as sender:
        [result] = sender.send(attempt, soon())

        assert ids(receiver.wait_for(50)) == [event.id for event in attempt.batch.events]
        assert result.verdict == ACCEPTED
        assert result.assurance == Assurance.SENT
        assert result.failure is None
        assert list(result.places) == list(range(50))
        assert set(attempt.request_counts) == {1}


def test_the_options_reach_the_messages() -> None:
    """Facility, header, host, `src` and the longest message are the integration's."""
    options: dict[str, Any] = {
        "facility": "local4",
        "header": "rfc5424",
        "hostname": "plane-1",
        "max_message_bytes": 480,
    }
    attempt = batch_with(1, agent_id="agent-7", reason="x" * 1_000)
    with SyslogReceiver() as receiver, syslog_to(receiver.url, send_src=False, **options) as sender:
        sender.send(attempt, soon())
        [message] = receiver.wait_for(1)

    assert message.startswith(
        b"<163>1 1970-01-01T00:00:01.000Z plane-1 mitrity - policy.deny - CEF:0|MITRITY|"
    )
    assert len(message) <= 480
    assert b" src=" not in message


def test_the_time_zone_reaches_the_messages() -> None:
    """The header of RFC 3164 says the hour of Kolkata, where the receiver is."""
    with SyslogReceiver() as receiver, syslog_to(receiver.url, time_zone="Asia/Kolkata") as sender:
        sender.send(attempt_of(1), soon())
        [message] = receiver.wait_for(1)

    assert message.startswith(b"<131>Jan  1 05:30:01 mitrity CEF:0|")


def test_a_worker_that_does_not_know_the_zone_says_so_before_it_sends() -> None:
    """It was accepted where time zone data is; a worker without it holds the events for a reason in words."""
    destination = {"type": "syslog_cef", "url": "syslog://siem", "time_zone": "Mars/Phobos"}
    integration = parse_integration({"id": "int_1", "name": "one", "destination": destination}, stored=True)

    with pytest.raises(InvalidIntegration, match="not known to this machine") as caught:
        make_sender(integration, GUARD, connections=1)

    assert caught.value.field == "time_zone"


def test_tls_counts_octets_by_default(ca: trustme.CA) -> None:
    """RFC 5425, 4.3; with `confirm_by_shutdown`, the ruling says that the receiver has read it."""
    options: dict[str, Any] = {"ca_pem": ca.cert_pem.bytes().decode(), "confirm_by_shutdown": True}
    with (
        SyslogReceiver(tls=server_context(ca.issue_cert("127.0.0.1"))) as receiver,
        syslog_to(receiver.url, **options) as sender,
    ):
        [result] = sender.send(attempt_of(20), soon())

        assert (result.verdict, result.assurance) == (ACCEPTED, Assurance.RECEIVED)
        assert len(receiver.messages) == 20


def test_datagrams_go_out_one_by_one() -> None:
    """A message a datagram (RFC 5426, 3.1); that they were sent is all that can be said."""
    attempt = attempt_of(50)
    with SyslogUdpReceiver() as receiver, syslog_to(receiver.url) as sender:
        [result] = sender.send(attempt, soon())

        assert ids(receiver.wait_for(50)) == [event.id for event in attempt.batch.events]
        assert (result.verdict, result.assurance) == (ACCEPTED, Assurance.SENT)
        assert set(attempt.request_counts) == {1}


def test_what_failed_least_goes_first() -> None:
    """Its neighbours in a failed part are under suspicion, and wait."""
    attempt = attempt_of(4, carried=[3, 0, 3, 0])
    with SyslogReceiver() as receiver, syslog_to(receiver.url) as sender:
        assert set(verdicts(attempt, sender.send(attempt, soon())).values()) == {ACCEPTED}
        assert ids(receiver.wait_for(4)) == ["e1", "e3", "e0", "e2"]


@pytest.mark.parametrize(
    ("behaviour", "options", "code"),
    [
        (stalls, {"timeout_seconds": 0.3}, "timed_out"),
        (resets(1), {}, "connection_lost"),
        (half_closes(1, then=reads), {}, "closed_unconfirmed"),
        (half_closes(1, then=reads), {"confirm_by_shutdown": True}, "closed_unconfirmed"),
        (never_ends, {"confirm_by_shutdown": True, "timeout_seconds": 2.0}, "unconfirmed"),
    ],
    ids=["stalls", "resets", "half closes", "half closes amid confirmation", "never confirms"],
)
def test_a_batch_that_is_unconfirmed_comes_back_whole(
    behaviour: Behaviour, options: dict[str, Any], code: str
) -> None:
    """It is unknown which of its events arrived: all are sent again, with the same ids.

    There are more bytes than both systems hold, so that the receiver acts in the middle of them. One event
    was tried by itself, to see whether the receiver hangs up on everything.
    """
    attempt = batch_with(1_500, reason="x" * 1_000, context={"a": "y" * 2_000}, hold={"b": "z" * 4_000})
    options = options | {"batch_bytes": 4_000_000, "batch_events": 1_000}
    with (
        SyslogReceiver(behaviour, receive_buffer=65_536) as receiver,
        syslog_to(receiver.url, **options) as sender,
    ):
        results = sender.send(attempt, soon())

    assert set(verdicts(attempt, results).values()) == {RETRY}
    assert codes(results) == {code}
    assert max(attempt.request_counts) <= 2
    assert sum(attempt.request_counts) <= 1_001


def test_the_deadline_of_the_batch_holds_too() -> None:
    """It may leave less time than the integration's own timeout."""
    attempt = batch_with(100, reason="x" * 2_000)
    with (
        SyslogReceiver(stalls, receive_buffer=4_096) as receiver,
        syslog_to(receiver.url) as sender,
    ):
        results = sender.send(attempt, time.monotonic() + 0.2)

    assert set(verdicts(attempt, results).values()) == {RETRY}
    assert codes(results) == {"timed_out"}


@pytest.mark.parametrize("kind", [SyslogReceiver, SyslogUdpReceiver])
def test_an_unreachable_receiver_is_described(kind: type[SyslogReceiver | SyslogUdpReceiver]) -> None:
    """Nothing listens there: the batch comes back with the reason, and counts as tried."""
    attempt = attempt_of(3)
    with kind() as gone:
        pass
    with syslog_to(gone.url) as sender:
        results = sender.send(attempt, soon())

    assert set(verdicts(attempt, results).values()) == {RETRY}
    assert codes(results) == {"connect_failed"}
    assert set(attempt.request_counts) == {1}


def test_what_the_pace_leaves_over_comes_back_untried() -> None:
    """Events that were sent are delivered; the others have not been carried, and lose no attempt."""
    attempt = attempt_of(100)
    options: dict[str, Any] = {"max_datagrams_per_second": 50, "timeout_seconds": 0.2}
    with SyslogUdpReceiver() as receiver, syslog_to(receiver.url, **options) as sender:
        results = sender.send(attempt, soon())
        ruled = list(verdicts(attempt, results).values())
        sent = ruled.count(ACCEPTED)

        assert 1 <= sent <= 10
        assert ruled == [ACCEPTED] * sent + [RETRY] * (100 - sent)
        assert codes(results) == {"out_of_time"}
        assert list(attempt.request_counts) == [1] * sent + [0] * (100 - sent)
        assert len(receiver.wait_for(sent)) == sent


def test_datagrams_that_are_refused_late_count_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next batch reports those before it, which counted as sent, and is retried itself."""
    monkeypatch.setattr(syslog_datagrams, "_look", lambda _sock, _seconds: None)
    first, second = attempt_of(3, carried=[0, 1, 0]), attempt_of(3)
    with SyslogUdpReceiver() as gone:
        pass
    with syslog_to(gone.url) as sender:
        # One datagram, for on loopback the second would meet the refusal of the first.
        first.places = [1]
        [sent] = sender.send(first, soon())
        first.settle([1])
        late, withdrawn = sender.send(second, soon())

    assert sent.verdict == ACCEPTED
    assert (late.verdict, list(late.places)) == (RETRY, [0, 1, 2])
    assert withdrawn.withdrawn is not None
    assert [event.id for event in withdrawn.withdrawn.events] == ["e1"]
    assert withdrawn.withdrawn.attempts == [2]
    assert withdrawn.withdrawn.failure.code == "connect_failed"


def test_a_message_that_no_datagram_carries_is_refused_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration allows one; were it to happen, the others go out."""
    attempt = attempt_of(3)

    def swollen(_: SyslogCefFormat, events: list[Any]) -> list[bytes]:
        return [b"<134>" + b"x" * (70_000 if event.id == "e1" else 5) for event in events]

    monkeypatch.setattr(SyslogCefFormat, "messages", swollen)
    with SyslogUdpReceiver() as receiver, syslog_to(receiver.url) as sender:
        results = sender.send(attempt, soon())

        assert verdicts(attempt, results) == {"e0": ACCEPTED, "e1": REFUSED, "e2": ACCEPTED}
        assert codes(results) == {"too_large"}
        assert len(receiver.wait_for(2)) == 2


def test_a_certificate_that_is_demanded_is_described(ca: trustme.CA) -> None:
    """A refusal of TLS 1.3, which comes after the handshake, is reported as what it is."""
    context = demanding(server_context(ca.issue_cert("127.0.0.1")), ca)
    with (
        SyslogReceiver(tls=context) as receiver,
        syslog_to(receiver.url, ca_pem=ca.cert_pem.bytes().decode()) as sender,
    ):
        results = sender.send(attempt := attempt_of(3), soon())

        assert set(verdicts(attempt, results).values()) == {RETRY}
        assert codes(results) == {"client_certificate_refused"}
        assert receiver.messages == []
