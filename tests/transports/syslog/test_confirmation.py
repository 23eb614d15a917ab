"""Confirmation by shutdown: a batch counts once the receiver has closed in answer to our end."""

import select
import ssl
from typing import Any

import pytest
import trustme

from tests.receivers.syslog import SyslogReceiver
from tests.receivers.syslog_behaviours import (
    Behaviour,
    Visit,
    answers,
    closes,
    cuts,
    first,
    half_closes,
    never_ends,
    reads,
    resets,
    slowly,
    stalls,
)
from tests.transports.certificates import server_context
from tests.transports.syslog.streams import SOON, lines, messages, stream_to
from worker.model.deliveries import Assurance
from worker.model.errors import ConnectionLost, DeadlinePassed, TransportError, Unconfirmed
from worker.transports.syslog import stream as syslog_stream

pytestmark = pytest.mark.slow


class Way:
    """A receiver in plain TCP or TLS, and what an integration needs for it."""

    def __init__(self, ca: trustme.CA, version: ssl.TLSVersion | None) -> None:
        """Prepare for that version, or for none."""
        self.tls = None if version is None else server_context(ca.issue_cert("127.0.0.1"))
        self.options: dict[str, Any] = {"confirm_by_shutdown": True, "framing": "newline"}
        if self.tls and version:
            self.tls.minimum_version = self.tls.maximum_version = version
            self.options["ca_pem"] = ca.cert_pem.bytes().decode()

    def receiver(self, behaviour: Behaviour = reads, **more: Any) -> SyslogReceiver:
        """Make a receiver that behaves so."""
        return SyslogReceiver(behaviour, tls=self.tls, framing="newline", **more)

    def failure(self, receiver: SyslogReceiver, frames: list[bytes], seconds: float) -> TransportError:
        """Send, and return what went wrong."""
        with stream_to(receiver.url, **self.options) as stream, pytest.raises(TransportError) as failed:
            stream.send(frames, seconds)
        return failed.value


@pytest.fixture(params=[None, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["plain", "1.2", "1.3"])
def way(request: pytest.FixtureRequest, ca: trustme.CA) -> Way:
    """Run the test in plain text and over both versions of TLS."""
    return Way(ca, request.param)


def test_every_batch_has_a_connection_of_its_own(way: Way) -> None:
    """And can claim that the receiver has read it to the end."""
    with way.receiver() as receiver, stream_to(receiver.url, **way.options) as stream:
        assurances = {stream.send(lines(10, start=start), SOON) for start in (0, 10, 20)}

        assert receiver.messages == messages(30), "all is read by the time it counts"
        assert assurances == {Assurance.RECEIVED}
        assert receiver.accepted == 3


def test_many_confirmations(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """None is missed, however closely the two ends of a connection follow each other."""
    monkeypatch.setattr(syslog_stream, "_SHORTEST_MOMENT", 0.001)
    monkeypatch.setattr(syslog_stream, "_LONGEST_MOMENT", 0.001)
    with way.receiver() as receiver, stream_to(receiver.url, **way.options) as stream:
        for number in range(100):
            assert stream.send(lines(1, start=number), SOON) is Assurance.RECEIVED

        assert receiver.messages == messages(100)


def test_a_slow_receiver_is_waited_for(way: Way) -> None:
    """Its end comes when it has read everything."""
    with way.receiver(slowly(0.001, 65_536), receive_buffer=65_536) as receiver:
        with stream_to(receiver.url, **way.options) as stream:
            assert stream.send(lines(2_000, padding=1_000), SOON) is Assurance.RECEIVED

        assert len(receiver.messages) == 2_000


def test_a_receiver_that_never_closes_confirms_nothing(way: Way) -> None:
    """Everything was read, but that is not known: the batch is sent again, and the words say what to do."""
    with way.receiver(never_ends) as receiver:
        failed = way.failure(receiver, lines(10), 0.4)

        assert isinstance(failed, Unconfirmed)
        assert str(failed).endswith("did not close the connection in answer to our end of it")
        assert receiver.messages == messages(10)


def test_a_receiver_that_stalls_confirms_nothing(way: Way) -> None:
    """Its system has taken all bytes, its program none: this is what the option is for."""
    with way.receiver(stalls) as receiver:
        assert isinstance(way.failure(receiver, lines(10), 0.4), Unconfirmed)


@pytest.mark.parametrize("count", [100, 8_000])
def test_a_receiver_whose_system_does_not_take_all_is_reported(way: Way, count: int) -> None:
    """That is more than a missing confirmation."""
    with way.receiver(stalls, receive_buffer=4_096) as receiver:
        failed = way.failure(receiver, lines(count, padding=1_000), 0.4)

        assert isinstance(failed, DeadlinePassed)
        assert "did not take the whole batch within 0.4 s" in str(failed)


BREAKS = {"closes": closes(10), "resets": resets(10), "half closes": half_closes(10, then=reads)}


@pytest.mark.parametrize("behaviour", BREAKS.values(), ids=BREAKS)
def test_an_end_in_the_middle_confirms_nothing(way: Way, behaviour: Behaviour) -> None:
    """An end that came before ours is no answer to it."""
    with way.receiver(behaviour, receive_buffer=65_536) as receiver:
        failed = way.failure(receiver, lines(8_000, padding=1_000), SOON)

        assert isinstance(failed, ConnectionLost)


def test_an_end_that_crossed_our_bytes_confirms_nothing(way: Way) -> None:
    """A receiver that hangs up at once has read nothing, whichever side was first."""

    def hangs_up(_: Visit) -> None:
        """Close without reading."""

    with way.receiver(hangs_up) as receiver:
        for _ in range(30):
            assert isinstance(way.failure(receiver, lines(10), SOON), TransportError)


def test_an_end_before_all_bytes_are_taken_confirms_nothing() -> None:
    """A receiver may end its side while our bytes still wait for room: they must have come there, too."""
    with (
        SyslogReceiver(half_closes(0), receive_buffer=4_096) as receiver,
        stream_to(receiver.url, confirm_by_shutdown=True) as stream,
        pytest.raises(DeadlinePassed, match="did not take the whole batch"),
    ):
        stream.send(lines(100, padding=1_000), 0.4)


def test_what_answers_is_no_receiver(way: Way) -> None:
    """A web server reads, answers and closes, too."""

    def serves(visit: Visit) -> None:
        visit.read_until(10)
        answers(b"HTTP/1.1 400 secret\r\n\r\n")(visit)

    with way.receiver(serves) as receiver:
        failed = way.failure(receiver, lines(10), SOON)

        assert type(failed) is ConnectionLost
        assert str(failed).endswith("closed the connection, having answered something: is it a syslog port?")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_an_end_without_goodbye_confirms_nothing(ca: trustme.CA, version: ssl.TLSVersion) -> None:
    """RFC 5425, 4.4: a receiver must answer with a close_notify; a bare end could come from any host."""
    way = Way(ca, version)
    with way.receiver(cuts) as receiver:
        failed = way.failure(receiver, lines(10), SOON)

        assert isinstance(failed, Unconfirmed)
        assert str(failed).endswith("closed the connection without TLS's close_notify")


def test_a_receiver_that_is_gone_at_the_last_moment_confirms_nothing(way: Way) -> None:
    """It has taken everything and is killed before it has read it: its system says so."""

    def dies(visit: Visit) -> None:
        select.select([visit.connection], [], [], 10)

    with way.receiver(dies) as receiver:
        failed = way.failure(receiver, lines(10), SOON)

        assert type(failed) is ConnectionLost
        assert str(failed).endswith("reset the connection")


def test_after_a_failure_the_next_batch_is_confirmed(way: Way) -> None:
    """Nothing is left over from the one that failed."""
    with (
        way.receiver(first(1, resets(1))) as receiver,
        stream_to(receiver.url, **way.options) as stream,
    ):
        with pytest.raises(ConnectionLost):
            stream.send(lines(10), SOON)

        assert stream.send(lines(10), SOON) is Assurance.RECEIVED
        assert receiver.messages[-10:] == messages(10)
