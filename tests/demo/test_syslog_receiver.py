"""The demonstration's syslog receiver, started as a program and spoken to over real sockets."""

import signal
import socket

import msgspec
import pytest
import requests

from tests.demo.running import Running, Start
from tests.destinations.golden_events import queued
from tests.interop.traffic import traffic
from worker.demo.syslog_receiver import LONGEST_FRAME, NotSyslog, take_frames
from worker.destinations.syslog_cef.syslog import SyslogCefFormat, framed
from worker.samples import sample_lines

_MESSAGE = b"<134>Jan  2 03:04:05 host CEF:0|a|b|1|c|d|2|externalId=evt_1"


def messages(count: int, *, limit: int = 8000) -> list[bytes]:
    """Write sample events as the syslog destination does."""
    style = SyslogCefFormat.of(
        facility="local0", header="rfc3164", hostname="host", send_src=True, limit=limit
    )
    return style.messages([queued(line) for line in sample_lines(count)])


def send(receiver: Running, *pieces: bytes) -> None:
    """Send pieces over one connection, end it, and wait until the receiver has closed it in answer."""
    with socket.create_connection(("127.0.0.1", receiver.port), timeout=10) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            client.sendall(piece)
        client.shutdown(socket.SHUT_WR)

        assert client.recv(1) == b""


@pytest.mark.parametrize("counts_octets", [True, False])
def test_events_are_counted_once_and_duplicates_beside(start_syslog: Start, *, counts_octets: bool) -> None:
    """In either frame of RFC 6587 a message counts, and one that comes again is a duplicate."""
    sent = messages(100)
    stream = b"".join(framed(sent, counts_octets=counts_octets))
    with start_syslog() as receiver:
        send(receiver, stream)
        send(receiver, stream)

        assert receiver.counts() == {
            "messages": 200,
            "events": 200,
            "distinct": 100,
            "duplicates": 100,
            "malformed": 0,
            "bytes": 2 * sum(map(len, sent)),
        }


def test_datagrams_are_messages(start_syslog: Start) -> None:
    """RFC 5426, 3.1: each datagram is one message, without a frame."""
    with (
        start_syslog("--udp") as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        for message in [*messages(20, limit=2048), *messages(5, limit=2048), b"12 <1>hello"]:
            client.sendto(message, ("127.0.0.1", receiver.port))
        counts = receiver.wait_for(26, "messages")

        assert counts["distinct"] == 20
        assert counts["duplicates"] == 5
        assert counts["malformed"] == 1


def test_a_burst_of_datagrams_is_kept(start_syslog: Start) -> None:
    """What comes while the receiver is busy waits: at least a hundred in any system's buffer."""
    with (
        start_syslog("--udp") as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        receiver.process.send_signal(signal.SIGSTOP)
        for message in messages(100):
            client.sendto(message, ("127.0.0.1", receiver.port))
        receiver.process.send_signal(signal.SIGCONT)

        assert receiver.wait_for(100, "messages")["distinct"] == 100


def test_pieces_are_put_together(start_syslog: Start) -> None:
    """A frame may come in any pieces: its length, too, may be torn."""
    counted = b"%d %b" % (len(_MESSAGE), _MESSAGE)
    pieces = [bytes([byte]) for byte in counted + _MESSAGE + b"\n"]
    with start_syslog() as receiver:
        send(receiver, *pieces)

        assert receiver.counts()["events"] == 2


def test_what_breaks_a_rule_is_malformed(start_syslog: Start) -> None:
    """A line that is no CEF, and a frame that never ends, are seen; what stands between is counted."""
    with start_syslog() as receiver:
        send(receiver, b"hello\n", _MESSAGE, b"\n", _MESSAGE[:20])
        counts = receiver.counts()

        assert counts["messages"] == 3
        assert counts["malformed"] == 2
        assert counts["distinct"] == 1


def test_it_hangs_up_on_what_is_no_frame(start_syslog: Start) -> None:
    """Where the next frame begins cannot be known behind a wrong length."""
    with start_syslog() as receiver:
        assert receiver.exchange(_MESSAGE + b"\n007 <134>x") == b""
        counts = receiver.counts()

        assert (counts["events"], counts["malformed"]) == (1, 1)


def test_counting_alone_reads_nothing(start_syslog: Start) -> None:
    """Messages are counted, be they CEF or not; their ids are not known."""
    with start_syslog("--count-only") as receiver:
        send(receiver, b"".join(framed([*messages(1000), b"hello"], counts_octets=False)))
        counts = receiver.counts()

        assert (counts["messages"], counts["events"]) == (1001, 1001)
        assert (counts["distinct"], counts["duplicates"]) == (None, None)


def test_over_http_there_are_counts_and_nothing_else(start_syslog: Start) -> None:
    """The answer to any other request says what there is."""
    with start_syslog() as receiver:
        answer = requests.get(f"http://127.0.0.1:{receiver.counts_port}/", timeout=10)

        assert answer.status_code == 404
        assert "GET /counts" in answer.json()["error"]


def test_the_first_byte_says_how_a_frame_ends() -> None:
    """RFC 6587, 3.4.1 and 3.4.2: a digit begins a counted frame, anything else a line."""
    for stream, expected, left in (
        (b"3 abc2 xy", [b"abc", b"xy"], b""),
        (b"abc\nxy\n", [b"abc", b"xy"], b""),
        (b"3 abcxy\n2 \n\nabc\n", [b"abc", b"xy", b"\n\n", b"abc"], b""),
        (b"3 abc\nxy", [b"abc", b""], b"xy"),
        (b"3 abc3 ab", [b"abc"], b"3 ab"),
        (b"3 abc12", [b"abc"], b"12"),
        (b"abc\n\n<1", [b"abc", b""], b"<1"),
        (b"", [], b""),
    ):
        unread = bytearray(stream)

        assert (list(take_frames(unread)), bytes(unread)) == (expected, left), stream


@pytest.mark.parametrize(
    "begins",
    [b"0 <1>", b"007 <1>", b"12x", b"1234567", b"%d <1>" % (LONGEST_FRAME + 1), b"x" * (LONGEST_FRAME + 1)],
    ids=["zero", "leading zero", "no digit", "no space", "too long", "no newline"],
)
def test_what_is_no_frame_is_said(begins: bytes) -> None:
    """RFC 6587, 3.4.1: MSG-LEN has no 0 before it and a space behind it; frames before the fault count."""
    unread, taken = bytearray(b"abc\n" + begins), list[bytes]()

    with pytest.raises(NotSyslog):
        taken.extend(take_frames(unread))
    assert taken == [b"abc"]
    assert bytes(unread) == begins


def test_the_longest_frames_are_taken() -> None:
    """Of either kind, a frame of 200 000 bytes is one message."""
    longest = b"x" * LONGEST_FRAME
    unread = bytearray(b"%d %b%b\n" % (LONGEST_FRAME, longest, longest))

    assert list(take_frames(unread)) == [longest, longest]


def test_no_text_of_an_event_is_lost_or_misread(start_syslog: Start) -> None:
    """Names full of pipes, equals signs and ends of lines: each message is read as the event that it is."""
    style = SyslogCefFormat.of(
        facility="local7", header="rfc5424", hostname="host", send_src=True, limit=8000
    )
    sent = style.messages([queued(line) for line in map(msgspec.json.encode, traffic(1000))])
    with start_syslog() as receiver:
        send(receiver, b"".join(framed(sent, counts_octets=True)))
        counts = receiver.counts()

        assert (counts["distinct"], counts["malformed"]) == (1000, 0)
