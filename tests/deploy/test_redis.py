"""deploy/redis on both servers: it starts only once filled in, and what its users may not do."""

import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import trustme
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.conftest import SERVERS
from tests.deploy.redis_servers import CONFIGURATION, USERS, ProductionRedis, debian_redis, password, users
from tests.interop.credentials import Credentials
from tests.ports import free_port
from worker.broker import keys
from worker.broker.connection import send_command

#: What each user is refused: commands, keys and channels that are not its own.
FORBIDDEN: dict[str, list[tuple[Any, ...]]] = {
    "siem": [
        ("SET", "other", "x"),
        ("GET", "other"),
        ("PUBLISH", "other", "x"),
        ("PSUBSCRIBE", "*"),
        ("EVAL", "return redis.call('SET', 'other', 'x')", 0),
        ("KEYS", "*"),
        ("FLUSHALL",),
        ("CONFIG", "SET", "maxmemory", "1"),
        ("CONFIG", "REWRITE"),
        ("ACL", "LIST"),
        ("CLIENT", "KILL", "ID", "1"),
        ("MONITOR",),
        ("SHUTDOWN",),
        ("REPLICAOF", "NO", "ONE"),
        ("SLOWLOG", "GET"),
        ("SCRIPT", "FLUSH"),
        ("XTRIM", keys.EVENTS, "MAXLEN", "0"),
    ],
    "publisher": [
        ("XLEN", keys.EVENTS),
        ("XRANGE", keys.EVENTS, "-", "+"),
        ("XREAD", "STREAMS", keys.EVENTS, "0"),
        ("XDEL", keys.EVENTS, "1-1"),
        ("XTRIM", keys.EVENTS, "MAXLEN", "0"),
        ("XSETID", keys.EVENTS, "1-1"),
        ("DEL", keys.EVENTS),
        ("XADD", keys.OUTCOMES, "*", "outcomes", "x"),
        ("XADD", keys.DEAD_LETTERS, "*", "dead", "x"),
        ("XADD", keys.PARKED, "*", "parked", "x"),
        ("XADD", keys.urgent("int_a"), "*", "events", "x"),
        ("XADD", keys.EVENTS_ASIDE + ":1", "*", "event", "x"),
        ("HSET", keys.INTEGRATIONS, "int_a", "{}"),
        ("PUBLISH", keys.HEALTH, "x"),
        ("EVAL", "return 1", 0),
        ("SET", keys.EVENTS, "x"),
        ("SETNX", keys.CHUNK_PREFIX + "0123456789abcdef", "x"),
        ("UNLINK", keys.CHUNK_PREFIX + "p0"),
        ("CONFIG", "GET", "*"),
        ("INFO",),
        ("KEYS", "*"),
        ("CLIENT", "LIST"),
    ],
    "flower": [
        ("LPUSH", keys.CELERY_PREFIX + "webhook", "x"),
        ("LRANGE", keys.CELERY_PREFIX + "webhook", 0, -1),
        ("XADD", keys.EVENTS, "*", "event", "{}"),
        ("XRANGE", keys.EVENTS, "-", "+"),
        ("HGETALL", keys.INTEGRATIONS),
        ("DEL", keys.LEDGER),
        ("EVAL", "return redis.call('LPUSH', KEYS[1], 'x')", 1, keys.CELERY_PREFIX + "webhook"),
        ("PUBLISH", keys.HEALTH, "x"),
        ("SUBSCRIBE", keys.HEALTH),
        ("CONFIG", "GET", "*"),
        ("KEYS", "*"),
    ],
    "monitoring": [
        ("GET", keys.LEDGER),
        ("XLEN", keys.EVENTS),
        ("SCAN", 0),
        ("CONFIG", "GET", "masterauth"),
        ("SLOWLOG", "GET"),
        ("CLIENT", "LIST"),
        ("EVAL", "return 1", 0),
        ("PUBLISH", keys.HEALTH, "x"),
        ("FLUSHALL",),
    ],
    "replication": [
        ("INFO",),
        ("GET", keys.LEDGER),
        ("CONFIG", "GET", "*"),
        ("XADD", keys.EVENTS, "*", "event", "{}"),
    ],
    "sentinel": [
        ("GET", keys.LEDGER),
        ("XADD", keys.EVENTS, "*", "event", "{}"),
        ("CONFIG", "GET", "*"),
        ("CONFIG", "SET", "maxmemory", "1"),
        ("PUBLISH", keys.HEALTH, "x"),
        ("FLUSHALL",),
    ],
}  # fmt: skip


@pytest.fixture(scope="module", params=SERVERS)
def production(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProductionRedis]:
    """Give a server of each kind with deploy/redis."""
    directory = tmp_path_factory.mktemp("production") / request.param
    with ProductionRedis(SERVERS[request.param], directory) as running:
        yield running


@pytest.mark.parametrize("server", SERVERS)
def test_a_password_that_was_not_filled_in_keeps_it_from_starting(server: str, tmp_path: Path) -> None:
    """No server runs with a placeholder for a password, nor with one that stands in a public file."""
    (tmp_path / "users.acl").write_text(USERS.read_text())
    text = CONFIGURATION.read_text().replace("/var/lib/redis", str(tmp_path))
    (tmp_path / "redis.conf").write_text(text.replace("/etc/redis/users.acl", str(tmp_path / "users.acl")))
    command = [str(SERVERS[server]), str(tmp_path / "redis.conf"), "--port", str(free_port())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)

    assert done.returncode == 1
    assert "password hash" in done.stdout + done.stderr


def test_each_user_has_its_own_password_and_nobody_comes_without(production: ProductionRedis) -> None:
    """The default user is off; a user with the password of another one is refused."""
    # What is refused once is not tried again, and again after seconds.
    once = Retry(NoBackoff(), 0)
    with redis.Redis(port=production.port, retry=once) as stranger, pytest.raises(redis.RedisError):
        stranger.ping()
    for user in (name for name in users() if name != "default"):
        guessing = redis.Redis(port=production.port, username=user, password="x", retry=once)
        with guessing, pytest.raises(redis.AuthenticationError):
            guessing.ping()
        with production.client(user) as client:
            assert client.ping()


@pytest.mark.parametrize("user", FORBIDDEN)
def test_a_user_is_refused_what_is_not_its_own(
    production: ProductionRedis, user: str, subtests: pytest.Subtests
) -> None:
    """By its ACL, and by nothing else."""
    with production.client(user) as client:
        for command in FORBIDDEN[user]:
            with subtests.test(command=command), pytest.raises(redis.RedisError, match=_REFUSAL):
                send_command(client, *command)


#: How the servers say it: of a command, a key or a channel, and of one within a script.
_REFUSAL = r"(?i)no permissions|can't (run|access)"


def test_every_user_is_in_the_table() -> None:
    """So a user that is added has to be thought about; an admin may do everything."""
    assert {*FORBIDDEN, "default", "admin"} == set(users())


def test_what_monitoring_needs_is_allowed(production: ProductionRedis) -> None:
    """Figures of the server, and how many slow commands there were."""
    with production.client("monitoring") as client:
        assert client.info("memory")["maxmemory"] == 4 << 30
        assert client.slowlog_len() >= 0
        assert client.latency_latest() == []
        assert client.dbsize() == 0


@pytest.fixture(params=[*SERVERS, "debian"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ProductionRedis]:
    """Give a server of its own to a test: each kind, and the Redis that the guide installs on Debian."""
    ours = SERVERS.get(request.param)
    binary = ours or debian_redis(tmp_path)
    without = () if ours else ("+client|setinfo",)  # as the guide says
    with ProductionRedis(binary, tmp_path / "redis", without=without) as running:
        yield running


def test_a_transaction_is_there_after_a_restart(fresh: ProductionRedis) -> None:
    """Redis 7.0 and others read the file as `default`, and drop each transaction that it may not run."""
    with fresh.client("siem") as client, client.pipeline(transaction=True) as transaction:
        transaction.set("siem:one", "1").set("siem:two", "2").execute()
    fresh.restart()
    with fresh.client("siem") as client:
        assert client.mget("siem:one", "siem:two") == ["1", "2"]


def test_a_renewed_certificate_is_read_without_a_restart(tmp_path: Path) -> None:
    """As guides/rotation.md says: connections that are open stay, new ones see the new certificate."""
    ca, port = trustme.CA(), free_port()
    credentials = Credentials(tmp_path, ca)
    files = {
        "redis.crt": credentials.certificate,
        "redis.key": credentials.key,
        "ca.crt": credentials.ca_file,
    }
    with ProductionRedis(
        debian_redis(tmp_path),
        tmp_path / "redis",
        sections=("TLS",),
        replaced={f"/etc/redis/tls/{name}": str(path) for name, path in files.items()},
        options=("--tls-port", str(port)),
        without=("+client|setinfo",),
    ) as server:
        url = f"rediss://siem:{password('siem')}@127.0.0.1:{port}/0?ssl_ca_certs={credentials.ca_file}"
        with redis.Redis.from_url(url) as client, server.client("admin") as admin:
            connection = client.client_id()
            before = ssl.get_server_certificate(("127.0.0.1", port))
            Credentials(tmp_path, ca)
            admin.config_set("tls-cert-file", str(credentials.certificate))
            after = ssl.get_server_certificate(("127.0.0.1", port))

            assert before != after == credentials.certificate.read_text().replace("\r\n", "\n")
            assert client.client_id() == connection
