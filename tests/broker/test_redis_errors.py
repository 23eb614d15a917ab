"""Why Redis cannot be used: each cause is named as itself, by a real server, with a hint."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.broker.sending import TIMING
from tests.embedded_servers import VALKEY, RunningServer, start_server
from tests.fleet import wait_until
from tests.logged import event_names, fields_of
from tests.small_disk import NEEDS_SMALL_DISK, fill, small_disk
from worker.broker import keys
from worker.broker.backlog import Backlog
from worker.broker.connection import Client, broker_errors, redis_client, send_command
from worker.broker.redis_stats import RedisStats
from worker.model.errors import BrokerUnavailable
from worker.model.log_events import BACKLOG_WAKE_FAILED
from worker.model.outages import OutageCause


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[RunningServer]:
    """Give a server with a password, one database, and a user who may do nothing but log in."""
    with start_server(VALKEY, tmp_path / "server", password="right", extra=["--databases", "1"]) as server:
        with server.client() as client:
            send_command(client, "ACL", "SETUSER", "guest", "on", ">guest", "+@connection")
        yield server


def refusal_of(client: Client, *command: str) -> BrokerUnavailable | None:
    """Send a command; return how it fails, if it does."""
    try:
        with broker_errors():
            send_command(client, *command)
    except BrokerUnavailable as error:
        return error
    return None


@pytest.mark.parametrize(
    ("login", "database", "cause", "words"),
    [
        (":wrong@", 0, OutageCause.LOGIN_REFUSED, "Redis refuses the login .*SIEM_REDIS_URL"),
        ("", 0, OutageCause.LOGIN_REFUSED, "Redis refuses the login .*user and password"),
        ("guest:guest@", 0, OutageCause.PERMISSION_DENIED, "Redis denies permission .*ACL SETUSER"),
        (":right@", 7, OutageCause.UNKNOWN_DATABASE, "does not exist .*number of the database"),
    ],
)
def test_a_login_that_is_refused_is_no_absence(
    guarded: RunningServer, login: str, database: int, cause: OutageCause, words: str
) -> None:
    """The server answers: what is wrong is the URL, or what its user may do."""
    with redis_client(f"redis://{login}127.0.0.1:{guarded.port}/{database}") as client:
        found = refusal_of(client, "GET", "key")

    assert found is not None
    assert found.cause is cause
    assert re.search(words, str(found))
    assert found.public == "Redis cannot be used at present"


def test_what_is_forbidden_is_told_once_and_not_of_each_integration(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A damaged key concerns its integration alone; a user who may run no script concerns all of them."""
    with start_server(VALKEY, tmp_path / "server") as server, redis_client(server.url) as client:
        send_command(client, "ACL", "SETUSER", "less", "on", ">less", "~*", "+@all", "-evalsha")
        send_command(client, "SET", keys.state_key("damaged"), "no hash")
        with redis_client(f"redis://less:less@127.0.0.1:{server.port}/0") as less:
            for look in (Backlog(less, TIMING).wake, RedisStats(less).of):
                with pytest.raises(BrokerUnavailable, match=r"denies permission .*evalsha") as caught:
                    look(["one", "two", "damaged"])
                assert caught.value.cause is OutageCause.PERMISSION_DENIED
        assert caplog.messages == []
        Backlog(client, TIMING).wake(["one", "two", "damaged"])

    assert event_names(caplog) == ["backlog.wake_failed"]
    assert [one["integration"] for one in fields_of(caplog, BACKLOG_WAKE_FAILED)] == ["damaged"]


def test_what_a_script_may_not_do_is_told_as_forbidden(tmp_path: Path) -> None:
    """Redis gives no code for it."""
    with start_server(VALKEY, tmp_path / "server") as server, redis_client(server.url) as client:
        send_command(client, "ACL", "SETUSER", "less", "on", ">less", "~*", "+@all", "-lpush")
        with redis_client(f"redis://less:less@127.0.0.1:{server.port}/0") as less:
            found = refusal_of(less, "EVAL", "redis.call('LPUSH', KEYS[1], 'one')", "1", "list")

    assert found is not None
    assert found.cause is OutageCause.PERMISSION_DENIED


def test_a_server_without_a_free_connection_says_so(tmp_path: Path) -> None:
    """It answers a new connection with a refusal."""
    with start_server(VALKEY, tmp_path / "server") as server, redis_client(server.url) as client:
        client.config_set("maxclients", 1)
        with redis_client(server.url) as another:
            found = refusal_of(another, "GET", "key")

    assert found is not None
    assert (found.cause, found.public) == (
        OutageCause.TOO_MANY_CONNECTIONS,
        "Redis takes no more connections",
    )


def test_a_replica_says_so(tmp_path: Path) -> None:
    """It takes no writes, alone or in a transaction."""
    with start_server(VALKEY, tmp_path / "server") as server, redis_client(server.url) as client:
        client.replicaof("127.0.0.1", 1)
        alone = refusal_of(client, "SET", "key", "1")
        together = refusal_of_transaction(client)

    assert alone is not None
    assert alone.cause is together.cause is OutageCause.READ_ONLY
    assert "secret" not in str(together)


@NEEDS_SMALL_DISK
def test_a_full_disk_is_told(tmp_path: Path) -> None:
    """MISCONF: what cannot go into the append-only file is not taken; reads go on. Room ends it."""
    with (
        small_disk(tmp_path / "disk", 4) as disk,
        start_server(VALKEY, disk / "server") as server,
        redis_client(server.url) as client,
    ):
        client.set("key", "1")
        filler = fill(disk)
        found = wait_until(lambda: refusal_of(client, "SET", "key", "x" * 5000), "the disk is full")
        in_transaction = refusal_of_transaction(client)
        read = client.get("key")
        filler.unlink()
        wait_until(lambda: refusal_of(client, "SET", "key", "2") is None, "it takes writes again")

    for one in (found, in_transaction):
        assert (one.cause, one.public) == (OutageCause.DISK_FULL, "the disk of Redis is full")
        assert "free some space on the disk of its append-only file" in str(one)
    assert read is not None


def refusal_of_transaction(client: redis.Redis) -> BrokerUnavailable:
    """Write in a transaction; return how it fails."""
    pipeline = client.pipeline(transaction=True)
    pipeline.set("key", "secret")
    with pytest.raises(BrokerUnavailable) as raised, broker_errors():
        pipeline.execute()
    return raised.value
