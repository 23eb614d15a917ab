"""Datagrams by the system's own call, on real sockets: each error shows; no other thread intervenes."""

import errno
import socket
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from worker.transports.syslog.bare_send import sending

#: More than a datagram carries over IPv4.
_TOO_LONG = b"x" * 65_508


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Give a socket that sends to another one, and that one."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10)
        sender.connect(receiver.getsockname())
        sender.settimeout(0)
        yield sender, receiver


def _outcomes(send: Callable[[bytes], object], given: list[bytes]) -> list[int]:
    """Send these; return the number of each one's error, 0 for none."""
    found = []
    for message in given:
        try:
            send(message)
        except OSError as error:
            found.append(error.errno or -1)
        else:
            found.append(0)
    return found


def test_a_datagram_is_sent_as_it_is(ends: tuple[socket.socket, socket.socket]) -> None:
    """Zero bytes and emptiness included."""
    sender, receiver = ends
    given = [b"<134>first", b"\0between\0", b"", b"last"]

    assert _outcomes(sending(sender), given) == [0, 0, 0, 0]
    assert [receiver.recv(65_536) for _ in given] == given


def test_each_error_shows_at_its_datagram(ends: tuple[socket.socket, socket.socket]) -> None:
    """One that is too long holds up none; a refusal is told once, to the datagram that comes behind it."""
    sender, receiver = ends
    send = sending(sender)

    assert _outcomes(send, [b"a", _TOO_LONG, b"b"]) == [0, errno.EMSGSIZE, 0]
    receiver.close()
    # The answer comes before loopback's call returns.
    assert _outcomes(send, [b"c", b"d", b"e", b"f"]) == [0, errno.ECONNREFUSED, 0, errno.ECONNREFUSED]


def test_a_system_without_room_says_so() -> None:
    """By the error that a caller waits behind."""
    own, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with own, other:
        own.settimeout(0)
        found = _outcomes(sending(own), [b"message"] * 10_000)
        sent = found.count(0)

        assert 0 < sent < len(found)
        assert found == [0] * sent + [errno.EAGAIN] * (len(found) - sent)


def test_no_other_thread_runs_meanwhile(ends: tuple[socket.socket, socket.socket]) -> None:
    """One that waits for the interpreter gets it where it is let go of, as around the calls of `socket`."""
    sender, _ = ends
    steps, begun, gate = [0], threading.Event(), threading.Lock()

    def work() -> None:
        begun.set()
        with gate:
            steps[0] += 1

    interval = sys.getswitchinterval()
    # No thread has to let go of it because another one has waited.
    sys.setswitchinterval(3600)
    try:
        with gate:
            other = threading.Thread(target=work)
            other.start()
            begun.wait()
            send = sending(sender)
        for _ in range(1000):
            send(b"message")
        meanwhile = steps[0]
        other.join()
    finally:
        sys.setswitchinterval(interval)

    assert (meanwhile, steps[0]) == (0, 1)
