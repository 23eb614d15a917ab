"""Syslog over TLS (RFC 5425) on real sockets: connections that are kept, and what becomes of them."""

import ssl
import threading

import pytest
import trustme

from tests.receivers.syslog import SyslogReceiver
from tests.receivers.syslog_behaviours import (
    Behaviour,
    Visit,
    closes,
    first,
    half_closes,
    on_cue,
    reads,
    resets,
    slowly,
    stalls,
)
from tests.transports.certificates import server_context
from tests.transports.syslog.streams import SOON, lines, messages, octets, stream_to, trusting
from worker.model.deliveries import Assurance
from worker.model.errors import ClosedBehindBatch, ConnectionLost, DeadlinePassed

HOST = "127.0.0.1"
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("version", VERSIONS)
def test_batches_share_a_connection(ca: trustme.CA, version: ssl.TLSVersion) -> None:
    """Counted octets by default (RFC 5425, 4.3), one handshake for all batches."""
    context = server_context(ca.issue_cert(HOST))
    context.minimum_version = context.maximum_version = version
    with SyslogReceiver(tls=context) as receiver, stream_to(receiver.url, **trusting(ca)) as stream:
        assurances = {stream.send(octets(10, start=start), SOON) for start in (0, 10, 20)}

        assert receiver.wait_for(30) == messages(30)
        assert assurances == {Assurance.SENT}
        assert receiver.accepted == 1


def test_newlines_over_tls(ca: trustme.CA) -> None:
    """Some collectors know no other frames in TLS."""
    context = server_context(ca.issue_cert(HOST))
    with (
        SyslogReceiver(tls=context, framing="newline") as receiver,
        stream_to(receiver.url, **trusting(ca)) as stream,
    ):
        stream.send(lines(100), SOON)

        assert receiver.wait_for(100) == messages(100)


def test_a_server_without_session_tickets(ca: trustme.CA) -> None:
    """syslog-ng sends none: a receiver that says nothing has not refused us."""
    context = server_context(ca.issue_cert(HOST))
    context.num_tickets = 0
    with SyslogReceiver(tls=context) as receiver, stream_to(receiver.url, **trusting(ca)) as stream:
        stream.send(octets(1), SOON)
        stream.send(octets(1, start=1), SOON)

        assert receiver.wait_for(2) == messages(2)
        assert receiver.accepted == 1


def test_a_batch_of_megabytes_arrives_whole(ca: trustme.CA) -> None:
    """What is larger than every buffer goes out as the receiver reads."""
    context = server_context(ca.issue_cert(HOST))
    with SyslogReceiver(
        slowly(0.001, 65_536), tls=context, framing="newline", receive_buffer=65_536
    ) as receiver:
        with stream_to(receiver.url, **trusting(ca)) as stream:
            stream.send(lines(2_000, padding=1_000), SOON)

        assert receiver.wait_for(2_000) == messages(2_000, padding=1_000)


def test_a_receiver_without_tls_is_reported() -> None:
    """A plain receiver reads the handshake and stays silent."""

    def swallows(visit: Visit) -> None:
        visit.wait()

    with (
        SyslogReceiver(swallows) as receiver,
        stream_to(receiver.url.replace("syslog:", "syslog+tls:")) as stream,
        pytest.raises(DeadlinePassed, match=r"did not complete the TLS handshake within 0\.2 s"),
    ):
        stream.send(octets(1), 0.2)


def test_plain_text_to_a_tls_port_is_not_taken(ca: trustme.CA) -> None:
    """The receiver hangs up; nothing counts as delivered that could not be read."""
    with (
        SyslogReceiver(tls=server_context(ca.issue_cert(HOST))) as receiver,
        stream_to(receiver.url.replace("+tls", ""), confirm_by_shutdown=True) as stream,
        pytest.raises(ConnectionLost),
    ):
        stream.send(lines(10), SOON)


ENDINGS = {"closes": closes(0), "resets": resets(0), "half closes": half_closes(0)}


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_a_connection_that_ended_while_idle_is_not_used(ca: trustme.CA, ending: Behaviour) -> None:
    """The first bytes to a receiver that has gone are lost without an error: so it is looked at before."""
    cue = threading.Event()
    behaviour = first(1, on_cue(cue, ending))
    with (
        SyslogReceiver(behaviour, tls=server_context(ca.issue_cert(HOST))) as receiver,
        stream_to(receiver.url, **trusting(ca)) as stream,
    ):
        stream.send(octets(1), SOON)
        receiver.wait_for(1)
        cue.set()
        receiver.wait_for_ends(1)
        stream.send(octets(1, start=1), SOON)

        assert receiver.wait_for(2) == messages(2)
        assert receiver.accepted == 2


def test_a_killed_receiver_that_came_back_loses_nothing(ca: trustme.CA) -> None:
    """It said no goodbye; the next batch has a new connection."""
    with (
        SyslogReceiver(tls=server_context(ca.issue_cert(HOST))) as receiver,
        stream_to(receiver.url, **trusting(ca)) as stream,
    ):
        stream.send(octets(1), SOON)
        receiver.wait_for(1)
        receiver.restart()
        stream.send(octets(1, start=1), SOON)

        assert receiver.wait_for(2) == messages(2)


def test_an_end_behind_the_batch_leaves_it_unconfirmed(ca: trustme.CA) -> None:
    """A receiver that ends its side in mid-batch, and goes on reading: better twice than never."""
    context = server_context(ca.issue_cert(HOST))
    with (
        SyslogReceiver(
            half_closes(10, then=reads), tls=context, framing="newline", receive_buffer=65_536
        ) as receiver,
        stream_to(receiver.url, **trusting(ca)) as stream,
        pytest.raises(ClosedBehindBatch),
    ):
        stream.send(lines(8_000, padding=1_000), SOON)


@pytest.mark.parametrize("count", [100, 8_000])
def test_a_receiver_that_never_reads_is_given_up_in_time(ca: trustme.CA, count: int) -> None:
    """Whether our own system takes all of the batch or not."""
    with (
        SyslogReceiver(stalls, tls=server_context(ca.issue_cert(HOST)), receive_buffer=4_096) as receiver,
        stream_to(receiver.url, **trusting(ca)) as stream,
        pytest.raises(DeadlinePassed, match=r"did not take the whole batch within 0\.4 s"),
    ):
        stream.send(lines(count, padding=1_000), 0.4)


def test_closing_says_goodbye(ca: trustme.CA) -> None:
    """RFC 5425, 4.4: a sender must send close_notify before it closes."""
    ends: list[str] = []

    def listens(visit: Visit) -> None:
        visit.connection.suppress_ragged_eofs = False  # type: ignore[attr-defined]  # not in the stubs
        try:
            reads(visit)
            ends.append("close_notify")
        except ssl.SSLEOFError:
            ends.append("cut off")

    with SyslogReceiver(listens, tls=server_context(ca.issue_cert(HOST))) as receiver:
        with stream_to(receiver.url, **trusting(ca)) as stream:
            stream.send(octets(1), SOON)
        receiver.wait_for_ends(1)

    assert ends == ["close_notify"]
