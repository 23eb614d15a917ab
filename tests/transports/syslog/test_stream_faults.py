"""Syslog over TCP on real sockets: a batch whose connection breaks, stalls or never comes."""

import threading

import pytest

from tests.receivers.syslog import SyslogReceiver
from tests.receivers.syslog_behaviours import (
    Visit,
    answers,
    closes,
    first,
    half_closes,
    reads,
    resets,
    stalls,
)
from tests.transports.syslog.streams import SOON, lines, messages, stream_to
from worker.model.deliveries import Assurance
from worker.model.errors import (
    AddressRefused,
    ClosedBehindBatch,
    ConnectFailed,
    ConnectionLost,
    DeadlinePassed,
    NameUnknown,
)

#: More than the buffers of both systems hold, when the receiver's is small.
LARGE = 8_000


def test_a_reset_in_the_middle_of_a_batch_is_reported() -> None:
    """It is unknown what was read: the whole batch is unconfirmed."""
    with (
        SyslogReceiver(resets(10), receive_buffer=65_536) as receiver,
        stream_to(receiver.url) as stream,
        pytest.raises(ConnectionLost, match=rf"^127\.0\.0\.1:{receiver.port} reset the connection$"),
    ):
        stream.send(lines(LARGE, padding=1_000), SOON)


def test_an_end_in_the_middle_of_a_batch_is_reported() -> None:
    """A receiver that closes with bytes unread has its system reset the connection (RFC 1122, 4.2.2.13)."""
    with (
        SyslogReceiver(closes(10), receive_buffer=65_536) as receiver,
        stream_to(receiver.url) as stream,
        pytest.raises(ConnectionLost, match="reset the connection"),
    ):
        stream.send(lines(LARGE, padding=1_000), SOON)


def test_an_orderly_end_behind_the_batch_leaves_it_unconfirmed() -> None:
    """The receiver may have stored everything, or have crashed with it in memory: better twice than never."""
    with (
        SyslogReceiver(half_closes(10, then=reads), receive_buffer=65_536) as receiver,
        stream_to(receiver.url) as stream,
        pytest.raises(
            ClosedBehindBatch, match=rf"^127\.0\.0\.1:{receiver.port} closed the connection behind"
        ),
    ):
        stream.send(lines(LARGE, padding=1_000), SOON)


def test_after_a_failure_the_next_batch_has_a_new_connection() -> None:
    """Whatever is left on a broken connection is never mixed with another batch."""
    with (
        SyslogReceiver(first(1, resets(10)), receive_buffer=65_536) as receiver,
        stream_to(receiver.url) as stream,
    ):
        with pytest.raises(ConnectionLost):
            stream.send(lines(LARGE, padding=1_000), SOON)
        stream.send(lines(5), SOON)

        assert receiver.wait_for(15)[-5:] == messages(5)
        assert receiver.accepted == 2


def test_a_receiver_that_never_reads_is_given_up_in_time() -> None:
    """What its system has not acknowledged by the deadline is not sent."""
    with (
        SyslogReceiver(stalls, receive_buffer=4_096) as receiver,
        stream_to(receiver.url) as stream,
        pytest.raises(DeadlinePassed, match=r"did not take the whole batch within 0\.3 s"),
    ):
        stream.send(lines(100, padding=1_000), 0.3)


def test_a_receiver_that_never_reads_is_given_up_while_sending() -> None:
    """The deadline holds also where not even our own system takes all."""
    with (
        SyslogReceiver(stalls, receive_buffer=4_096) as receiver,
        stream_to(receiver.url) as stream,
        pytest.raises(DeadlinePassed, match=r"did not take the whole batch within 0\.3 s"),
    ):
        stream.send(lines(LARGE, padding=1_000), 0.3)


def test_what_the_receivers_system_has_taken_counts_as_sent() -> None:
    """SENT claims no more than that: whether the program reads it, TCP does not show."""
    with SyslogReceiver(stalls) as receiver, stream_to(receiver.url) as stream:
        assert stream.send(lines(10), SOON) is Assurance.SENT
        assert receiver.messages == []


def test_a_failure_does_not_reset_the_connection() -> None:
    """Earlier batches that count as sent may be unread yet, and a reset might make them forgotten."""
    cue = threading.Event()

    def wakes_up(visit: Visit) -> None:
        cue.wait(10)
        reads(visit)

    with SyslogReceiver(wakes_up, receive_buffer=4_096) as receiver, stream_to(receiver.url) as stream:
        stream.send(lines(1), SOON)
        with pytest.raises(DeadlinePassed):
            stream.send(lines(100, start=1, padding=1_000), 2.0)
        cue.set()
        receiver.wait_for_ends(1)

        sent = [*messages(1), *messages(100, start=1, padding=1_000)]
        assert len(receiver.messages) > 1
        assert receiver.messages == sent[: len(receiver.messages)], "no more was handed over than could go"


def test_a_peer_that_answers_and_closes_is_recognised() -> None:
    """A web server, say, answers and closes: the words point at the port, and do not repeat the answer."""
    behaviour = answers(b"HTTP/1.1 400 secret\r\n\r\n", then=half_closes(10, then=reads))
    with (
        SyslogReceiver(behaviour, receive_buffer=65_536) as receiver,
        stream_to(receiver.url) as stream,
        pytest.raises(ClosedBehindBatch, match=r"having answered something: is it a syslog port\?$"),
    ):
        stream.send(lines(LARGE, padding=1_000), SOON)


def test_a_receiver_that_says_something_is_borne_with() -> None:
    """Some send a greeting; it is read off, and hides nothing."""
    with SyslogReceiver(answers(b"220 ready\r\n" * 1_000)) as receiver, stream_to(receiver.url) as stream:
        stream.send(lines(1), SOON)
        stream.send(lines(1, start=1), SOON)

        assert receiver.wait_for(2) == messages(2)
        assert receiver.accepted == 1


def test_failures_to_connect_come_through() -> None:
    """What the guard says is what the caller hears, at each new connection."""
    with stream_to("syslog://10.0.0.5:514") as stream, pytest.raises(AddressRefused, match=r"10\.0\.0\.5"):
        stream.send(lines(1), SOON)
    with (
        stream_to("syslog://no-such-host.invalid") as stream,
        pytest.raises(NameUnknown, match="no-such-host"),
    ):
        stream.send(lines(1), SOON)
    with (
        stream_to("syslog://127.0.0.1:1") as stream,
        pytest.raises(ConnectFailed, match="connection refused"),
    ):
        stream.send(lines(1), SOON)


def test_a_deadline_in_the_past_sends_nothing() -> None:
    """Without time there is no attempt, not even over a connection that is open."""
    with SyslogReceiver() as receiver, stream_to(receiver.url) as stream:
        stream.send(lines(1), SOON)
        with pytest.raises(DeadlinePassed):
            stream.send(lines(1, start=1), 0)
        stream.send(lines(1, start=2), SOON)

        assert sorted(receiver.wait_for(2)) == [*messages(1), *messages(1, start=2)]
