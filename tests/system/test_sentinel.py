"""Redis fails over while a fleet works: it goes on by itself with the new master, and nothing is lost."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.fleet import Fleet, wait_until
from tests.receivers.hec import HecReceiver
from tests.sentinel_servers import WatchedServers
from tests.system.conftest import denial
from tests.system.insistent import Insistent
from worker.broker.connection import redis_client
from worker.broker.heartbeat import Heartbeat, roles_alive
from worker.broker.parking import Parking
from worker.model.errors import BrokerUnavailable
from worker.model.parking import Cap, ParkedChunk

pytestmark = pytest.mark.slow

AWAY = "lost Redis"
BACK = "Redis is back"


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[WatchedServers]:
    """Give a master with two replicas and three sentinels."""
    with WatchedServers(tmp_path / "redis") as running:
        yield running


@pytest.fixture
def own(servers: WatchedServers, tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet that asks the sentinels; nothing runs yet."""
    with Fleet(tmp_path, redis_url=servers.url) as fleet:
        yield fleet


def test_a_fleet_outlives_its_master(own: Fleet, servers: WatchedServers) -> None:
    """Also with the first sentinel gone: events of before, meanwhile and afterwards are all delivered."""
    with HecReceiver() as splunk:
        own.integrate(splunk.url)
        own.start()
        with Insistent(own, "a") as one:
            wait_until(lambda: len(splunk.accepted_ids) > 200, "events flow")
            old = servers.master
            servers.kill_a_sentinel()
            old.kill()
            wait_until(lambda: servers.master is not old, "there is a new master")
            before = len(one.accepted)
            wait_until(lambda: len(one.accepted) > before + 500, "events are taken again")
        wait_until(lambda: set(one.accepted) <= set(splunk.accepted_ids), "all are delivered")
        rows = own.settled(len(one.accepted))
        wait_until(lambda: all(BACK in own.log(role) for role in own.processes), "it is back for all")
        alive = [process.poll() for process in own.processes.values()]
        said = {role: (own.log(role).count(AWAY), own.log(role).count(BACK)) for role in own.processes}

        assert {row.event_id for row in rows if row.status == "delivered"} >= set(one.accepted)
        assert own.dead() == []
        assert alive == [None, None, None]
        assert said == {"router": (1, 1), "recorder": (1, 1), "worker": (1, 1)}
        assert [role for role in own.processes if "Traceback" in own.log(role)] == []


def test_heartbeats_follow_the_master(own: Fleet, servers: WatchedServers) -> None:
    """They come by a connection of their own, and without them a process that works counts as dead."""
    with closing(redis_client(own.settings.broker_address())) as client:
        heartbeat = Heartbeat(client, "router")
        heartbeat.start()
        wait_until(lambda: "router" in roles_alive(own.client), "there is a first one")
        old = servers.master
        old.kill()
        wait_until(lambda: servers.master is not old, "there is a new master")
        wait_until(lambda: not _forget(servers), "the copies of the last heartbeats are gone")
        found = wait_until(lambda: _heartbeats(servers), "the new master gets heartbeats")
        heartbeat.stop()

        assert [key.split(b":")[2] for key in found] == [b"router"]


def _heartbeats(servers: WatchedServers) -> list[bytes]:
    with closing(servers.master.client()) as master:
        return [key for key in master.keys("siem:alive:*") if isinstance(key, bytes)]


def _forget(servers: WatchedServers) -> list[bytes]:
    with closing(servers.master.client()) as master:
        return [key for key in _heartbeats(servers) if not master.delete(key)]


def test_a_master_that_comes_back_is_a_replica(own: Fleet, servers: WatchedServers) -> None:
    """It slept, and wakes up believing that it is the master: nothing that it takes is lost."""
    with HecReceiver() as splunk:
        own.integrate(splunk.url)
        own.start()
        ids = own.publish(denial(f"before-{number}") for number in range(100))
        own.settled(100)
        old = servers.master
        old.pause()
        wait_until(lambda: servers.master is not old, "there is a new master")
        old.resume()
        with Insistent(own, "b") as one:
            wait_until(lambda: len(one.accepted) > 300, "events are taken")
        wait_until(lambda: {*ids, *one.accepted} <= set(splunk.accepted_ids), "all are delivered")
        wait_until(lambda: old.client().info("replication")["role"] == "slave", "the old one has obeyed")
        alive = [process.poll() for process in own.processes.values()]

        assert own.dead() == []
        assert alive == [None, None, None]


def refusal(fleet: Fleet) -> str:
    """Publish an event; say why it was not accepted."""
    [receipt] = fleet.publisher.publish_many([denial("e1")])
    return str(receipt.error or "")


def test_what_no_replica_has_is_not_accepted(own: Fleet, servers: WatchedServers) -> None:
    """A failover would lose it: the publisher is told, and the ledger keeps what it parked until then."""
    parking = Parking(own.client, Cap(events=10, size=1000))
    page = [("p1", ParkedChunk("a", urgent=True, position=1, events=1, size=2, packed=b"\x90"))]
    for server in servers.servers:
        if server is not servers.master:
            server.pause()
    told = refusal(own)
    with pytest.raises(BrokerUnavailable, match="no replica of Redis confirmed what was written"):
        parking.unpark(parking.room("a"), page)
    with pytest.raises(BrokerUnavailable, match="no replica of Redis confirmed what was written"):
        parking.room("a")
    wait_until(lambda: "too few replicas" in refusal(own), "they are missed")
    for server in servers.servers:
        server.resume()
    wait_until(lambda: not refusal(own), "events are taken again")

    assert "the event was not accepted: no replica of Redis confirmed" in told
    assert parking.room("a").last_page == ("p1",)


def test_a_wrong_address_of_sentinels_is_told(own: Fleet, servers: WatchedServers) -> None:
    """A service that they do not watch, sentinels that are not there: with the setting, without secrets."""
    told = {}
    for name, url in (
        ("service", servers.url.replace("mymaster", "other")),
        ("absent", "sentinel://:hunter2@127.0.0.1:1/0?service=mymaster"),
        ("none", "sentinel://:hunter2@127.0.0.1/0"),
    ):
        own.environment["SIEM_REDIS_URL"] = url
        told[name] = own.siem("status").stderr.decode()

    assert "No master found for 'other')" in told["service"]
    assert "SIEM_REDIS_URL names them, with ?service=" in told["service"]
    assert "No master found for 'mymaster', and some do not answer)" in told["absent"]
    assert "SIEM_REDIS_URL: must name the service that the sentinels watch" in told["none"]
    assert {text.count("\n") for text in told.values()} == {1}
    assert "hunter2" not in "".join(told.values())
