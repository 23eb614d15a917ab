"""deploy/redis behind sentinels: three servers and three sentinels with these files fail over."""

import contextlib
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.deploy.redis_servers import SENTINEL, ProductionRedis, filled, password
from tests.embedded_servers import VALKEY
from tests.fleet import wait_until
from tests.ports import free_port
from tests.system.conftest import denial
from worker.broker import keys
from worker.broker.connection import await_replica, redis_client
from worker.publisher import EventPublisher

pytestmark = pytest.mark.slow


def _server(directory: Path, master: ProductionRedis | None) -> ProductionRedis:
    line = f"replicaof 127.0.0.1 {master.port}" if master else ""
    replaced = {"replicaof REDIS-1.EXAMPLE.COM 6379": line}
    return ProductionRedis(VALKEY, directory, sections=("Replication and Sentinel",), replaced=replaced)


class _Sentinel:
    """A process with sentinel.conf; `ask` asks it as a user of its own."""

    def __init__(self, directory: Path, master: int) -> None:
        directory.mkdir()
        self.port = free_port()
        text = filled(SENTINEL)
        for old, new in (
            ("port 26379", f"port {self.port}"),
            ("/var/lib/redis", str(directory)),
            ("REDIS-1.EXAMPLE.COM 6379", f"127.0.0.1 {master}"),
            ("down-after-milliseconds mymaster 5000", "down-after-milliseconds mymaster 1000"),
            ("failover-timeout mymaster 60000", "failover-timeout mymaster 5000"),
        ):
            assert old in text
            text = text.replace(old, new)
        configuration = directory / "sentinel.conf"
        configuration.write_text(text)
        with (directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(VALKEY), str(configuration), "--sentinel"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def ask(self, *command: str) -> Any:
        """Ask it as its admin; None while it does not answer."""
        with (
            contextlib.suppress(redis.RedisError),
            redis.Redis(
                port=self.port, username="admin", password=password("admin"), decode_responses=True
            ) as client,
        ):
            return client.execute_command(*command)
        return None

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[tuple[list[ProductionRedis], list[_Sentinel]]]:
    """Give a master, two replicas, and three sentinels that know each other and both replicas."""
    with ExitStack() as stack:
        servers: list[ProductionRedis] = []
        for number in range(3):
            made = _server(tmp_path / f"server-{number}", servers[0] if servers else None)
            servers.append(stack.enter_context(made))
        sentinels: list[_Sentinel] = []
        for number in range(3):
            sentinels.append(_Sentinel(tmp_path / f"sentinel-{number}", servers[0].port))
            stack.callback(sentinels[-1].stop)
        wait_until(lambda: all(map(_knows_all, sentinels)), "the sentinels know all")
        yield servers, sentinels


def _knows_all(sentinel: _Sentinel) -> bool:
    found = sentinel.ask("SENTINEL", "MASTER", "mymaster") or {}
    return (int(found.get("num-slaves", 0)), int(found.get("num-other-sentinels", 0))) == (2, 2)


def _url(sentinels: list[_Sentinel], user: str) -> str:
    hosts = ",".join(f"127.0.0.1:{one.port}" for one in sentinels)
    signed = f"sentinel_username={user}&sentinel_password={password(user)}"
    return f"sentinel://{user}:{password(user)}@{hosts}/0?service=mymaster&{signed}"


def test_a_failover_needs_no_further_right(
    watched: tuple[list[ProductionRedis], list[_Sentinel]],
) -> None:
    """The fleet's user and a publisher find the new master; no ACL of the six has refused anything."""
    servers, sentinels = watched
    with EventPublisher(_url(sentinels, "publisher")) as publisher:
        wait_until(lambda: _accepts(publisher), "the replicas follow")
        servers[0].kill()
        wait_until(lambda: _accepts(publisher), "the new master takes events")
        client = redis_client(_url(sentinels, "siem"))
        await_replica(client)
        events = client.xlen(keys.EVENTS)
        client.close()
    refused = [one.refused() for one in servers[1:]]
    by_sentinels = [[entry for entry in one.ask("ACL", "LOG") or [] if entry] for one in sentinels]

    assert events >= 2
    assert refused == [set(), set()]
    assert by_sentinels == [[], [], []]


def _accepts(publisher: EventPublisher) -> bool:
    [receipt] = publisher.publish_many([denial("e1")])
    return receipt.error is None
