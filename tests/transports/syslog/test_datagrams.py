"""Syslog over UDP on real sockets: a message a datagram, at a bearable pace; ports where nothing listens."""

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from typing import Any

import pytest

from tests.fleet import wait_until
from tests.receivers.syslog import SyslogUdpReceiver
from tests.transports.syslog.streams import SOON, datagrams_to, messages
from tests.transports.test_guard import Resolver
from worker.integrations.syslog_cef import SyslogCef
from worker.model.errors import AddressRefused, ConnectFailed, DeadlinePassed, NameUnknown
from worker.transports.deadline import DeadlineSocket
from worker.transports.guard import Guard
from worker.transports.syslog import datagrams as syslog_datagrams
from worker.transports.syslog.bare_send import sending
from worker.transports.syslog.datagrams import SentDatagrams

LONGEST = 65_507


class DatagramResolver(Resolver):
    """Answers as the resolver does when it is asked for datagrams."""

    def __call__(self, host: str, port: int, **options: Any) -> list[Any]:
        """Stand in for `socket.getaddrinfo`."""
        rows = super().__call__(host, port, **options)
        return [(family, socket.SOCK_DGRAM, socket.IPPROTO_UDP, "", to) for family, _, _, _, to in rows]


def test_a_message_is_a_datagram() -> None:
    """RFC 5426, 3.1: one message each, as it is, without a newline; up to what IPv4 carries."""
    given = [*messages(300), b"<134>" + b"x" * (LONGEST - 5)]
    with SyslogUdpReceiver() as receiver, datagrams_to(receiver.url) as way:
        handed = way.send(given, SOON)

        assert receiver.wait_for(301) == given
        assert handed == SentDatagrams(301, frozenset())


@pytest.mark.skipif(not socket.has_ipv6, reason="this system has no IPv6")
def test_ipv6() -> None:
    """An address in brackets is reached over IPv6."""
    with SyslogUdpReceiver(host="::1") as receiver, datagrams_to(receiver.url) as way:
        way.send(messages(3), SOON)

        assert receiver.wait_for(3) == messages(3)


def test_what_no_datagram_can_carry_is_reported() -> None:
    """It is named, and what stands beside it goes out all the same."""
    too_long = b"<134>" + b"x" * LONGEST
    first, last = messages(2)
    with SyslogUdpReceiver() as receiver, datagrams_to(receiver.url) as way:
        handed = way.send([first, too_long, last], SOON)

        assert receiver.wait_for(2) == [first, last]
        assert handed == SentDatagrams(3, frozenset({1}))


@pytest.mark.parametrize("count", [1, 100])
def test_a_closed_port_is_noticed(count: int) -> None:
    """The refusal of the last datagram counts, too, although nothing is sent behind it."""
    with SyslogUdpReceiver() as receiver:
        pass
    with datagrams_to(receiver.url) as way, pytest.raises(ConnectFailed) as failed:
        way.send(messages(count), SOON)

    assert str(failed.value) == (
        f"127.0.0.1:{receiver.port} refused the datagrams: nothing listens on that UDP port"
    )


def _unseen(_sock: socket.socket, _seconds: float) -> None:
    """Look away: on loopback a refusal comes at once, and the tests want it late."""


def test_a_refusal_that_comes_late_is_about_the_batch_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket remembers it: what counted as sent does so no longer, and no more goes into a closed port."""
    monkeypatch.setattr(syslog_datagrams, "_look", _unseen)
    late: list[SentDatagrams] = []
    with SyslogUdpReceiver() as receiver:
        pass
    with datagrams_to(receiver.url) as way:
        assert way.send(messages(1), SOON, on_end=late.append).count == 1
        with pytest.raises(ConnectFailed, match="refused the datagrams"):
            way.send(messages(1), SOON, on_end=late.append)

    assert late == [SentDatagrams(1, frozenset())]


def test_a_refusal_behind_the_last_batch_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Although no batch follows: the socket is watched while it rests."""
    monkeypatch.setattr(syslog_datagrams, "_look", _unseen)
    late: list[SentDatagrams] = []
    with SyslogUdpReceiver() as receiver:
        pass
    with datagrams_to(receiver.url) as way:
        way.send(messages(1), SOON, on_end=late.append)
        wait_until(lambda: late, "the refusal is reported")
        with pytest.raises(ConnectFailed):
            way.send(messages(1), SOON, on_end=late.append)

    assert late == [SentDatagrams(1, frozenset())], "and once only"


def test_a_refusal_amid_a_batch_is_about_that_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """What went out long before has arrived."""
    monkeypatch.setattr(syslog_datagrams, "_LAST_LOOK", 0.0)
    late: list[SentDatagrams] = []
    with SyslogUdpReceiver() as receiver, datagrams_to(receiver.url) as way:
        way.send(messages(1), SOON, on_end=late.append)
        assert receiver.wait_for(1)
        receiver.stop()
        with pytest.raises(ConnectFailed):
            way.send(messages(100), SOON, on_end=late.append)
        receiver.start()
        way.send(messages(1), SOON, on_end=late.append)
        assert receiver.wait_for(2)

    assert late == []


def test_a_refusal_amid_a_burst_is_not_taken_for_a_success(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system tells it once, to the datagram that comes next; what comes behind that hears nothing."""
    receiver, sent = SyslogUdpReceiver(), list[bytes]()
    receiver.start()

    def closing(sock: socket.socket) -> Callable[[bytes], object]:
        send = sending(sock)

        def close_the_port_behind_the_third(message: bytes) -> None:
            send(message)
            sent.append(message)
            if len(sent) == 3:
                receiver.stop()

        return close_the_port_behind_the_third

    monkeypatch.setattr(syslog_datagrams, "sending", closing)
    monkeypatch.setattr(syslog_datagrams, "_look", _unseen)
    with (
        datagrams_to(receiver.url, max_datagrams_per_second=1_000_000) as way,
        pytest.raises(ConnectFailed, match="refused the datagrams"),
    ):
        way.send(messages(syslog_datagrams._LARGEST_BURST), SOON)  # noqa: SLF001 - no setting

    assert sent == messages(4), "the fifth was told that the fourth was refused"


def test_only_the_first_of_many_batches_is_waited_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """But all are, for a while, after a refusal."""
    waits: list[float] = []
    monkeypatch.setattr(syslog_datagrams, "_look", lambda _sock, seconds: waits.append(seconds))
    monkeypatch.setattr(syslog_datagrams, "_FOLLOWS", 60.0)
    with SyslogUdpReceiver() as receiver, datagrams_to(receiver.url) as way:
        for _ in range(3):
            way.send(messages(1), SOON)
        assert [bool(seconds) for seconds in waits] == [True, False, False]
        receiver.stop()
        with pytest.raises(ConnectFailed):
            way.send(messages(2), SOON)
        receiver.start()
        waits.clear()
        for _ in range(2):
            way.send(messages(1), SOON)

    assert [bool(seconds) for seconds in waits] == [True, True]


def test_a_receiver_that_comes_back_is_reached() -> None:
    """Nothing of the refusal is left over."""
    with SyslogUdpReceiver() as receiver, datagrams_to(receiver.url) as way:
        receiver.stop()
        with pytest.raises(ConnectFailed):
            way.send(messages(1), SOON)
        receiver.start()
        way.send(messages(1, start=1), SOON)

        assert receiver.wait_for(1) == messages(1, start=1)


def test_a_burst_fits_the_buffer_of_a_receiver_that_does_not_read() -> None:
    """Whatever the longest message is over UDP: a burst as such loses nothing, only a pace does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as idle:
        idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 212_992 // 2)  # which Linux doubles
        idle.bind(("127.0.0.1", 0))
        idle.settimeout(SOON)
        url = f"syslog+udp://127.0.0.1:{idle.getsockname()[1]}"
        config = SyslogCef.model_validate({"url": url, "max_datagrams_per_second": 1_000_000})
        burst = messages(syslog_datagrams._LARGEST_BURST, padding=config.message_limit - 20)  # noqa: SLF001 - no setting
        with datagrams_to(url, max_datagrams_per_second=1_000_000) as way:
            way.send(burst, SOON)

        assert [idle.recv(65_536) for _ in burst] == burst


def test_the_pace_is_kept_by_all_threads_together() -> None:
    """Two batches of 100 at 500 a second take no less than their share of time, whichever thread sends."""
    with SyslogUdpReceiver() as receiver, datagrams_to(receiver.url, max_datagrams_per_second=500) as way:
        began = time.monotonic()
        threads = [
            threading.Thread(target=way.send, args=(messages(100, start=100 * number), SOON))
            for number in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.monotonic() - began

        assert sorted(receiver.wait_for(200)) == sorted(messages(200))
        # A burst of 5 needs no wait, and up to a millisecond may be owed.
        assert took >= 195 / 500 - 0.002


def test_what_the_pace_does_not_allow_in_time_is_not_sent() -> None:
    """It is left for later rather than sent in a rush."""
    with SyslogUdpReceiver() as receiver, datagrams_to(receiver.url, max_datagrams_per_second=100) as way:
        handed = way.send(messages(1_000), 0.2)

        assert 1 <= handed.count <= 21
        assert receiver.wait_for(handed.count) == messages(handed.count)


def test_a_deadline_in_the_past_sends_nothing() -> None:
    """Without time there is no attempt, not even on a socket that is open."""
    with SyslogUdpReceiver() as receiver, datagrams_to(receiver.url) as way:
        with pytest.raises(DeadlinePassed):
            way.send(messages(1), 0)
        way.send(messages(1, start=1), SOON)

        assert way.send(messages(1, start=2), 0).count == 0
        assert receiver.wait_for(1) == messages(1, start=1)


class FullGuard(Guard):
    """Gives one end of a pair of sockets, which takes a few datagrams until the other end reads."""

    def __init__(self) -> None:
        """Allow what the tests use; nothing is dialled."""
        super().__init__([ip_network("127.0.0.0/8")])
        self.other, own = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._own = own

    def dial_datagrams(self, host: str, port: int, seconds: float) -> DeadlineSocket:  # noqa: ARG002 - a stand-in
        """Return this end."""
        sock = DeadlineSocket(fileno=self._own.detach())
        sock.peer_ip = "127.0.0.1"
        return sock


def test_a_system_without_room_is_waited_for() -> None:
    """Nothing is dropped on this side: what has no room waits until some was read, in order."""
    guard = FullGuard()
    given = messages(200)
    with guard.other, datagrams_to("syslog+udp://127.0.0.1", guard=guard) as way:
        with ThreadPoolExecutor(1) as pool:
            handed = pool.submit(way.send, given, SOON)
            read = [guard.other.recv(65_536) for _ in given]

        assert read == given
        assert handed.result() == SentDatagrams(200, frozenset())


def test_a_system_without_room_is_waited_for_until_the_deadline() -> None:
    """Then nothing is said of any."""
    guard = FullGuard()
    with (
        guard.other,
        datagrams_to("syslog+udp://127.0.0.1", guard=guard, max_datagrams_per_second=1_000_000) as way,
        pytest.raises(DeadlinePassed, match="did not take the batch"),
    ):
        way.send(messages(2_000), 0.3)


def test_the_guard_stands_before_datagrams_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed address is refused, an unknown name is reported."""
    with datagrams_to("syslog+udp://10.0.0.5") as way, pytest.raises(AddressRefused, match=r"10\.0\.0\.5"):
        way.send(messages(1), SOON)
    with datagrams_to("syslog+udp://no-such-host.invalid") as way, pytest.raises(NameUnknown):
        way.send(messages(1), SOON)
    monkeypatch.setattr(socket, "getaddrinfo", DatagramResolver(["127.255.255.255"]))
    with datagrams_to("syslog+udp://siem.test") as way, pytest.raises(ConnectFailed, match="cannot connect"):
        way.send(messages(1), SOON)


def test_datagrams_are_dialled_as_such(guard: Guard) -> None:
    """The socket is connected, which lets it hear of refusals, and has no option of TCP."""
    with guard.dial_datagrams("127.0.0.1", 514, SOON) as sock:
        assert sock.type == socket.SOCK_DGRAM
        assert sock.getpeername() == ("127.0.0.1", 514)
