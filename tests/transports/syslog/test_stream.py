"""Syslog over TCP on real sockets: connections that are kept, and what becomes of a batch when one breaks."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

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
)
from tests.transports.syslog.streams import SOON, lines, messages, octets, stream_to
from tests.transports.test_guard import Resolver
from worker.model.deliveries import Assurance
from worker.model.errors import AddressRefused, ConnectFailed
from worker.transports.guard import Guard


def test_batches_share_a_connection() -> None:
    """One batch after the other goes over the same connection, in order, and can claim to be sent."""
    with SyslogReceiver() as receiver, stream_to(receiver.url) as stream:
        assurances = {stream.send(lines(10, start=start), SOON) for start in (0, 10, 20)}

        assert receiver.wait_for(30) == messages(30)
        assert assurances == {Assurance.SENT}
        assert receiver.accepted == 1


def test_counted_octets_arrive() -> None:
    """RFC 6587, 3.4.1: every message behind its length."""
    with SyslogReceiver(framing="octet_counted") as receiver, stream_to(receiver.url) as stream:
        stream.send(octets(100), SOON)

        assert receiver.wait_for(100) == messages(100)


@pytest.mark.skipif(not socket.has_ipv6, reason="this system has no IPv6")
def test_ipv6() -> None:
    """An address in brackets is reached over IPv6."""
    with SyslogReceiver(host="::1") as receiver, stream_to(receiver.url) as stream:
        stream.send(lines(1), SOON)

        assert receiver.wait_for(1) == messages(1)
        assert stream.peer == f"[::1]:{receiver.port}"


def test_a_batch_of_megabytes_arrives_whole() -> None:
    """What is larger than every buffer goes out as the receiver reads."""
    with SyslogReceiver(slowly(0.001, 65_536), receive_buffer=65_536) as receiver:
        with stream_to(receiver.url) as stream:
            stream.send(lines(4_000, padding=1_000), SOON)

        assert receiver.wait_for(4_000) == messages(4_000, padding=1_000)


def test_threads_have_connections_of_their_own() -> None:
    """Batches that go out at once never mix."""
    together = threading.Barrier(4)

    def meet(visit: Visit) -> None:
        together.wait(10)
        reads(visit)

    with SyslogReceiver(meet, receive_buffer=65_536) as receiver, stream_to(receiver.url) as stream:
        batches = [lines(200, start=200 * number, padding=5_000) for number in range(4)]
        threads = [threading.Thread(target=stream.send, args=(batch, SOON)) for batch in batches]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(receiver.wait_for(800)) == sorted(messages(800, padding=5_000))
        assert receiver.accepted == 4


ENDINGS = {"closes": closes(0), "resets": resets(0), "half closes": half_closes(0)}


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
def test_a_connection_that_ended_while_idle_is_not_used(ending: Behaviour) -> None:
    """The first bytes to a receiver that has gone are lost without an error: so it is looked at before."""
    cue = threading.Event()
    with SyslogReceiver(first(1, on_cue(cue, ending))) as receiver, stream_to(receiver.url) as stream:
        stream.send(lines(1), SOON)
        receiver.wait_for(1)
        cue.set()
        receiver.wait_for_ends(1)
        stream.send(lines(1, start=1), SOON)

        assert receiver.wait_for(2) == messages(2)
        assert receiver.accepted == 2


def test_a_receiver_that_restarts_while_idle_loses_nothing() -> None:
    """All connections of the pool have gone with it; the next batch has a new one."""
    with SyslogReceiver() as receiver, stream_to(receiver.url) as stream:
        stream.send(lines(1), SOON)
        receiver.wait_for(1)
        receiver.restart()
        stream.send(lines(1, start=1), SOON)

        assert receiver.wait_for(2) == messages(2)


READER = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
connection, _ = listener.accept()
connection.recv(1)
print("read", flush=True)
connection.recv(1_000_000) if sys.argv[1] == "all" else None
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=["all", "a byte"])
def process(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """Give a receiver in a process of its own, which reads all or hardly anything of what it is sent."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-S", "-c", READER, request.param], stdin=pipe, stdout=pipe, text=True
    ) as receiver:
        yield receiver
        receiver.kill()


def test_a_receiver_that_is_killed_behind_a_batch_is_noticed(process: "subprocess.Popen[str]") -> None:
    """Kill -9 closes or resets the connection; the next batch fails to connect instead of being lost."""
    assert process.stdout is not None
    port = process.stdout.readline().strip()
    with stream_to(f"syslog://127.0.0.1:{port}") as stream:
        stream.send(lines(10), SOON)
        process.stdout.readline()
        process.stdout.readline()
        process.kill()
        process.wait()

        with pytest.raises(ConnectFailed, match=f"connection refused by 127.0.0.1:{port}"):
            stream.send(lines(10), SOON)


def test_the_name_is_looked_up_again_at_each_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver that moved is followed, and a name that now leads elsewhere gains nothing."""
    resolver = Resolver(["127.0.0.1"], ["10.0.0.5"])
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    with SyslogReceiver() as receiver, stream_to(f"syslog://siem.example.com:{receiver.port}") as stream:
        stream.send(lines(1), SOON)
        stream.send(lines(1, start=1), SOON)
        receiver.wait_for(2)
        receiver.restart()

        assert resolver.asked == ["siem.example.com"]
        with pytest.raises(AddressRefused, match=r"siem\.example\.com resolves to 10\.0\.0\.5"):
            stream.send(lines(1), SOON)


def test_a_connection_notices_a_peer_that_vanished(guard: Guard) -> None:
    """Keepalive after 30 s of silence, every 10 s, three times; 20 s for what is sent (RFC 5482)."""
    options = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 20_000}
    known = {name: value for name, value in options.items() if hasattr(socket, name)}
    with SyslogReceiver() as receiver, guard.dial("127.0.0.1", receiver.port, SOON) as sock:
        assert known == {name: sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in known}


def test_closing_lets_go_of_idle_connections() -> None:
    """The receiver sees the end; a batch that comes later still goes out, but its connection is not kept."""
    with SyslogReceiver() as receiver, stream_to(receiver.url) as stream:
        stream.send(lines(1), SOON)
        stream.close()
        receiver.wait_for_ends(1)
        stream.send(lines(1, start=1), SOON)
        receiver.wait_for_ends(2)

        assert receiver.messages == messages(2)
