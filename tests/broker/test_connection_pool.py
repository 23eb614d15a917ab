"""A round trip costs few system calls, and ends as redis-py's own does, whatever becomes of it."""

import os
import select
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.embedded_servers import RunningServer
from worker.broker import connection_pool
from worker.broker.connection import check_answers, redis_client
from worker.broker.connection_pool import client_of
from worker.broker.ingress_writer import add_events
from worker.broker.round_trips import ask, transact
from worker.model.errors import BrokerUnavailable


@pytest.fixture
def silent() -> Iterator[redis.Redis]:
    """Give a client of a port that takes connections and answers nothing, which waits for a moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
        made = client_of(url, protocol=2, socket_timeout=0.05, retry=None, driver_info=None)
        yield made
        made.close()


def _connection_id(client: redis.Redis) -> int:
    [found] = ask(client, ("CLIENT", "ID"))
    return int(found)


def test_nothing_asks_whether_the_socket_is_ready(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither before a connection is used, nor in it: its socket has no time-out of Python's."""
    ask(client, ("PING",))

    def refuse() -> None:
        raise AssertionError("a poll")

    monkeypatch.setattr(select, "poll", refuse)

    assert ask(client, ("PING",), ("ECHO", "x")) == [b"PONG", b"x"]
    assert client.echo("y") == b"y"
    held: Any = client.connection_pool.get_connection()
    assert held._sock.gettimeout() is None  # noqa: SLF001 - a socket with one asks before each read and write
    client.connection_pool.release(held)


def test_replies_are_as_redis_sends_them(client: redis.Redis) -> None:
    """Errors stand among them; large ones come whole, and large commands go whole."""
    large = b"x" * 3_000_000
    replies = ask(client, ("SET", "a", large), ("LPUSH", "a", "b"), ("GET", "a"), ("GET", "none"))

    assert replies[0] == b"OK"
    assert isinstance(replies[1], redis.ResponseError)
    assert replies[2:] == [large, None]


def test_a_large_word_is_sent_as_it_stands(client: redis.Redis) -> None:
    """Between words of every type, small commands joined around it: it is copied nowhere on its way."""
    large, commands = b"x" * 100_000, list[tuple[Any, ...]]()
    commands += [("PING",), ("XADD", "s", "*", "n", 7, "events", large, "crc", b"c"), ("ECHO", "é")]
    commands += [("SET", "a", large), ("ECHO", 1.5)]

    found = connection_pool._pieces(commands)  # noqa: SLF001 - what is sent

    assert [one for one in found if len(one) >= len(large)] == [large, large]
    assert all(one is large for one in found if len(one) >= len(large))
    assert len(found) == 2 * 2 + 1
    replies = ask(client, *commands)
    assert replies[0] == b"PONG"
    assert replies[2:] == ["é".encode(), b"OK", b"1.5"]
    [(_, fields)] = ask(client, ("XRANGE", "s", "-", "+"))[0]
    assert fields == [b"n", b"7", b"events", large, b"crc", b"c"]


def test_a_transaction_is_done_whole_or_refused_with_the_reason(client: redis.Redis) -> None:
    """An error of a command that was carried out stands among the replies; one that was refused is raised."""
    client.set("text", "x")

    replies = transact(client.pipeline(), [("SET", "a", 1), ("LPUSH", "text", "y"), ("GET", "a")])

    assert (replies[0], replies[2]) == (b"OK", b"1")
    assert isinstance(replies[1], redis.ResponseError)
    with pytest.raises(redis.ResponseError, match="wrong number"):
        transact(client.pipeline(), [("SET", "a", 2), ("SET", "a")])
    assert client.get("a") == b"1"


def _cut(client: redis.Redis) -> int:
    """Have the server cut the connection of this client; return its number."""
    before = _connection_id(client)
    other = redis.Redis(connection_pool=redis.ConnectionPool(**client.connection_pool.connection_kwargs))
    assert other.client_kill_filter(_id=str(before)) == 1
    other.close()
    return before


def test_a_connection_that_was_cut_while_it_rested_is_replaced(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody needs to hear of that, unless it was cut in the moment in which it was used."""
    monkeypatch.setattr(connection_pool, "_FRESH", 0.0)
    before = _cut(client)

    assert _connection_id(client) != before


def test_a_connection_that_was_cut_just_behind_its_use_is_an_outage(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if it was cut in that: nothing looked at it, and the next use has another one."""
    monkeypatch.setattr(connection_pool, "_FRESH", 60.0)
    before = _cut(client)

    with pytest.raises(redis.ConnectionError):
        ask(client, ("PING",))
    assert _connection_id(client) != before


def test_a_publisher_notes_when_it_has_used_its_connection(client: redis.Redis) -> None:
    """Else it would look at it in front of every event."""
    ask(client, ("PING",))
    held: Any = client.connection_pool.get_connection()
    held._used_at = 0.0  # noqa: SLF001 - as if it had rested
    client.connection_pool.release(held)

    assert isinstance(add_events(client, [b"e"])[0], bytes)

    assert held._used_at  # noqa: SLF001 - what is noted


def test_a_reply_that_does_not_come_is_a_time_out(silent: redis.Redis) -> None:
    """By a command of redis-py as by one of ours; the kernel ends the wait."""
    connection = silent.connection_pool.connection_class(**silent.connection_pool.connection_kwargs)
    connection.connect_check_health(check_health=False)
    connection.send_packed_command([b"PING\r\n"], check_health=False)
    with pytest.raises(redis.TimeoutError):
        connection.read_response()
    with pytest.raises(redis.TimeoutError):
        ask(silent, ("PING",))
    with pytest.raises(BrokerUnavailable):
        check_answers(silent)


def test_another_reader_may_set_a_time_out(client: redis.Redis) -> None:
    """Such as who listens to a channel: the connection is then used as redis-py would."""
    held: Any = client.connection_pool.get_connection()
    held._sock.settimeout(5.0)  # noqa: SLF001 - so does redis-py for a reader that does not block
    client.connection_pool.release(held)

    assert ask(client, ("PING",)) == [b"PONG"]
    assert client.ping()


def test_a_child_has_connections_of_its_own(client: redis.Redis) -> None:
    """Two processes on one socket would read each other's replies."""
    before = _connection_id(client)
    reader, writer = os.pipe()
    if not (child := os.fork()):
        os.write(writer, str(_connection_id(client)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    inherited = int(os.read(reader, 100))
    os.close(reader)
    os.close(writer)

    assert inherited != before
    assert _connection_id(client) == before


def test_who_speaks_tls_has_the_connections_of_redis_py(server: RunningServer) -> None:
    """A read of TLS may need to write first, which the kernel's bound does not know."""
    secured = redis_client("rediss://127.0.0.1:1/0")

    assert secured.connection_pool.connection_class is redis.SSLConnection
    assert redis_client(server.url).connection_pool.connection_class is connection_pool.LeanConnection
