"""Every process looks whether Redis suits, and says what does not once, and again when it changes."""

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.conftest import SERVERS
from tests.embedded_servers import VALKEY, RunningServer, start_server
from worker.background.redis_monitor import RedisWatch, refuse_unfit
from worker.broker.connection import redis_client
from worker.broker.redis_server import read_facts
from worker.model.errors import InvalidSetting
from worker.model.redis_checks import CheckStatus, judge_redis


@pytest.fixture(params=SERVERS)
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningServer]:
    """Give a server of each kind that the test may configure."""
    with start_server(SERVERS[request.param], tmp_path / "server") as running:
        yield running


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RunningServer]:
    """Give one node of a Redis Cluster."""
    with start_server(VALKEY, tmp_path / "cluster", extra=("--cluster-enabled", "yes")) as running:
        yield running


def watch_of(client: redis.Redis) -> RedisWatch:
    """Make a watch that must not end anything."""

    def end() -> None:
        raise AssertionError("it ended a process that can work")

    return RedisWatch(client, (), end)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was said beyond INFO since this was asked last."""
    words = [entry.getMessage() for entry in caplog.records if entry.levelno > logging.INFO]
    caplog.clear()
    return words


def standings(client: redis.Redis) -> dict[str, CheckStatus]:
    """Return how each check comes out."""
    return {one.name: one.standing for one in judge_redis(read_facts(client))}


def test_a_real_redis_is_checked(own: RunningServer) -> None:
    """Everything is asked of a server as it runs, keys that it evicted included."""
    client = redis_client(own.url)
    before = standings(client)
    client.config_set("maxmemory-policy", "allkeys-lru")
    client.config_set("appendonly", "no")
    full = int(client.info("memory")["used_memory"]) + 1_000_000
    client.config_set("maxmemory", full)
    for number in range(200):
        client.set(f"ballast-{number}", b"!" * 20_000)
    after = standings(client)
    client.close()

    assert set(before.values()) == {CheckStatus.OK}
    assert {name for name, found in after.items() if found is CheckStatus.FAILED} == {
        "eviction",
        "evicted",
        "persistence",
    }


def test_a_redis_that_forbids_to_ask_is_told(own: RunningServer, caplog: pytest.LogCaptureFixture) -> None:
    """Of a provider that closes CONFIG, and of an ACL that closes INFO as well."""
    with own.client() as admin:
        admin.acl_setuser("app", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-config"])
        admin.acl_setuser(
            "less", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-config", "-info"]
        )
    app, less = (redis_client(own.url.replace("://", f"://{name}:x@")) for name in ("app", "less"))
    found = standings(app)
    nothing = standings(less)
    watch_of(app).step()
    words = said(caplog)
    app.close()
    less.close()

    assert [name for name, one in found.items() if one is not CheckStatus.OK] == ["fsync"]
    assert {name for name, one in nothing.items() if one is not CheckStatus.UNKNOWN} == {"ids"}
    assert words == [
        "Redis, check fsync: cannot be checked: appendfsync: Redis does not say: ask its operator"
    ]


def test_a_fault_is_said_once_and_its_end_too(own: RunningServer, caplog: pytest.LogCaptureFixture) -> None:
    """However often it is looked; a Redis that was away in between changes nothing."""
    client = redis_client(own.url)
    watch = watch_of(client)
    watch.step()
    well = said(caplog)
    client.config_set("maxmemory", 100_000_000)
    client.config_set("maxmemory-policy", "allkeys-lru")
    watch.step()
    watch.step()
    ill = said(caplog)
    client.config_set("maxmemory-policy", "noeviction")
    watch.step()
    again = said(caplog)
    client.close()

    assert well == []
    assert len(ill) == 1
    assert ill[0].startswith("Redis, check eviction: maxmemory-policy is allkeys-lru")
    assert ill[0].endswith("Redis deletes accepted events: set maxmemory-policy noeviction")
    assert again == ["Redis, check eviction: maxmemory-policy noeviction"]


def test_it_looks_at_once_and_outlives_the_absence_of_redis(own: RunningServer) -> None:
    """A process may start before Redis does."""
    client = redis_client(own.url)
    own.kill()
    stopping, looked = threading.Event(), threading.Event()

    class Once(RedisWatch):
        def step(self) -> list[object]:  # type: ignore[override]  # what it returns does not matter here
            found = super().step()
            looked.set()
            stopping.set()
            return list(found)

    refuse_unfit(client)
    thread = threading.Thread(target=Once(client, (), stopping.set).run, args=[stopping])
    thread.start()
    own.restart()
    came = looked.wait(30)
    stopping.set()
    thread.join()
    client.close()

    assert came


def test_a_redis_cluster_is_refused(cluster: RunningServer) -> None:
    """At the start with the setting's name; and a process that finds it later ends."""
    client = redis_client(cluster.url)
    ended = threading.Event()
    with pytest.raises(
        InvalidSetting, match=r"SIEM_REDIS_URL: this is a Redis Cluster.*cluster mode disabled"
    ):
        refuse_unfit(client)
    RedisWatch(client, (), ended.set).step()
    client.close()

    assert ended.is_set()
