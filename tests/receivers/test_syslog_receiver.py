"""The scriptable syslog receiver of the tests reads strictly, and ends connections as its behaviour says."""

import socket
from collections.abc import Callable

import pytest

from tests.receivers.syslog import SyslogReceiver, SyslogUdpReceiver
from tests.receivers.syslog_behaviours import (
    Behaviour,
    checked,
    closes,
    half_closes,
    reads,
    resets,
    whole_messages,
)
from worker.demo.syslog_receiver import Bounds, NotSyslog, counted_frame, newline_frame


def _dial(receiver: SyslogReceiver) -> socket.socket:
    return socket.create_connection((receiver.host, receiver.port), timeout=10)


@pytest.mark.parametrize(
    ("bounds", "given", "messages", "rest"),
    [
        (newline_frame, b"<1>a\n<2>b\n<3>c", [b"<1>a", b"<2>b"], b"<3>c"),
        (newline_frame, b"", [], b""),
        (counted_frame, b"4 <1>a5 <2>bb", [b"<1>a", b"<2>bb"], b""),
        (counted_frame, b"4 <1>a5 <2>b", [b"<1>a"], b"5 <2>b"),
        (counted_frame, b"4 <1>a1", [b"<1>a"], b"1"),
    ],
)
def test_frames_are_taken_apart(bounds: Bounds, given: bytes, messages: list[bytes], rest: bytes) -> None:
    """What is not whole yet is left for later."""
    unread = bytearray(given)

    assert whole_messages(unread, bounds) == messages
    assert unread == rest


@pytest.mark.parametrize(
    ("bounds", "given"),
    [
        (newline_frame, b"no priority\n"),
        (newline_frame, b"<1>a\r\n"),
        (newline_frame, b"\n"),
        (newline_frame, b"4 <1>a\n"),
        (counted_frame, b"<1>a\n"),
        (counted_frame, b"04 <1>a"),
        (counted_frame, b"5 <1>a\n"),
        (counted_frame, b"3 <1>a"),
    ],
)
def test_what_is_no_frame_is_an_error(bounds: Bounds, given: bytes) -> None:
    """No receiver should have to guess."""
    with pytest.raises(NotSyslog):
        whole_messages(bytearray(given), bounds)


@pytest.mark.parametrize("message", [b"<192>a", b"<1>", b"<01>a", b"<1>a\x00", b"<1>a\nb", b"a", b""])
def test_what_is_no_message_is_an_error(message: bytes) -> None:
    """RFC 5424, 6.2.1: a priority is at most 191, without zeros before it."""
    with pytest.raises(NotSyslog):
        checked(message)


def _send_rubbish_in_a_stream() -> None:
    with SyslogReceiver() as receiver, _dial(receiver) as client:
        client.sendall(b"rubbish\n")
        receiver.wait_for_ends(1)


def _send_rubbish_in_a_datagram() -> None:
    with SyslogUdpReceiver() as receiver, socket.socket(type=socket.SOCK_DGRAM) as sender:
        sender.sendto(b"rubbish", (receiver.host, receiver.port))
        sender.sendto(b"<1>a", (receiver.host, receiver.port))
        receiver.wait_for(1)


@pytest.mark.parametrize("send_rubbish", [_send_rubbish_in_a_stream, _send_rubbish_in_a_datagram])
def test_what_is_no_syslog_fails_the_test_that_sent_it(send_rubbish: Callable[[], None]) -> None:
    """The fault is raised at the end of the `with` block."""
    with pytest.raises(NotSyslog, match="rubbish"):
        send_rubbish()


ENDS = {"reads": reads, "closes": closes(1), "half closes": half_closes(1)}


@pytest.mark.parametrize("behaviour", ENDS.values(), ids=ENDS)
def test_it_ends_as_its_behaviour_says(behaviour: Behaviour) -> None:
    """The client sees an orderly end."""
    with SyslogReceiver(behaviour) as receiver, _dial(receiver) as client:
        client.sendall(b"<1>a\n")
        client.shutdown(socket.SHUT_WR)

        assert client.recv(1) == b""
        assert receiver.wait_for(1) == [b"<1>a"]


def test_it_resets() -> None:
    """The client sees that, too."""
    with SyslogReceiver(resets(1)) as receiver, _dial(receiver) as client:
        client.sendall(b"<1>a\n")

        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_it_restarts_on_its_port() -> None:
    """Connections end, messages are kept, new connections are taken."""
    with SyslogReceiver() as receiver:
        with _dial(receiver) as client:
            client.sendall(b"<1>a\n")
            receiver.wait_for(1)
            receiver.restart()

            assert client.recv(1) == b""
        with _dial(receiver) as client:
            client.sendall(b"<1>b\n")

            assert receiver.wait_for(2) == [b"<1>a", b"<1>b"]


def test_waiting_tells_what_had_come() -> None:
    """A deadline that passes names the messages until then."""
    with SyslogReceiver() as receiver, pytest.raises(AssertionError, match="0 of 2 messages"):
        receiver.wait_for(2, seconds=0.01)
