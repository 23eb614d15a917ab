"""A Redis that was emptied or came back with old data is reported with its number, until acknowledged."""

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.conftest import SERVERS
from tests.fleet import Fleet, wait_until
from tests.receivers.hec import HecReceiver
from tests.sentinel_servers import WatchedServers
from tests.system.conftest import denial
from tests.system.insistent import Insistent
from worker.broker import keys

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TOLD = "ERROR redis.data_lost"


@pytest.fixture(params=SERVERS)
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet of its own, on a server of each kind in turn; nothing runs yet."""
    with Fleet(tmp_path, binary=SERVERS[request.param]) as fleet:
        yield fleet


def losses(fleet: Fleet) -> list[dict[str, Any]]:
    """Return what nobody has acknowledged."""
    found: list[dict[str, Any]] = fleet.siem_json("redis", "losses")["items"]
    return found


def part(fleet: Fleet) -> dict[str, Any]:
    """Return what `siem health` says of losses."""
    told = json.loads(fleet.siem("health", "--json").stdout)
    return next(one for one in told["fleet"]["parts"] if one["name"] == "redis-losses")


def pause(fleet: Fleet, name: str) -> None:
    """Let what is for the integration wait."""
    assert fleet.siem("integrations", "pause", name).returncode == 0


def marked(fleet: Fleet, backlog: int) -> None:
    """Wait until the ledger knows of a backlog of that many, and nothing more is under way."""

    def is_marked() -> bool:
        figures = json.loads(fleet.client.hget("siem:epoch", "figures") or b"{}")
        return bool(figures.get("backlogs", {}) == {"int_splunk": backlog})

    wait_until(is_marked, f"a mark tells of {backlog} events")


def test_an_emptied_redis_is_reported_until_it_is_acknowledged(own: Fleet) -> None:
    """With every event that waited, in the log, `siem health` and the ledger; the fleet itself heals."""
    with HecReceiver() as splunk:
        own.integrate(splunk.url)
        own.start()
        own.publish(denial(f"sent-{number}") for number in range(20))
        own.settled(20)
        pause(own, "splunk")
        own.publish(denial(f"waits-{number}") for number in range(297))
        marked(own, 297)
        before = part(own)
        own.client.flushall()
        [loss] = wait_until(lambda: losses(own), "the loss is reported")
        wait_until(lambda: own.client.exists("siem:integrations"), "the fleet has healed")
        told, log = part(own), own.log("recorder")
        done = own.siem("redis", "acknowledge", loss["id"], "--by", "ops", "--note", "published again")
        own.siem("integrations", "resume", "splunk")
        own.publish([denial("afterwards")])
        wait_until(lambda: "afterwards" in splunk.accepted_ids, "events flow again")
        [kept] = own.siem_json("redis", "losses", "--all")["items"]

        assert before["ok"]
        assert (loss["kind"], loss["deliveries"]) == ("emptied", {"int_splunk": 297})
        assert not told["ok"]
        assert "297 deliveries of routed events (int_splunk 297)" in told["detail"]
        assert log.count(TOLD) == 1
        assert done.returncode == 0, done.stderr
        assert part(own)["ok"]
        assert losses(own) == []
        assert (kept["acknowledged_by"], kept["acknowledgement"]) == ("ops", "published again")


def test_an_emptied_redis_amid_traffic_is_reported(own: Fleet) -> None:
    """What is counted is missing indeed: never more than what was accepted and did not arrive."""
    with HecReceiver() as splunk:
        own.integrate(splunk.url)
        own.start()
        with Insistent(own, "a") as one:
            wait_until(lambda: own.client.hget("siem:epoch", "number"), "Redis is marked")
            wait_until(lambda: len(splunk.accepted_ids) > 500, "events flow")
            own.client.flushall()
            [loss] = wait_until(lambda: losses(own), "the loss is reported")
            before = len(splunk.accepted_ids)
            wait_until(lambda: len(splunk.accepted_ids) > before + 200, "events flow again")
        last = one.accepted[-1]
        wait_until(lambda: last in {row.event_id for row in own.rows()}, "the ledger has the last event")
        wait_until(
            lambda: not int(own.client.hget("siem:state:int_splunk", "backlog_events") or 0),
            "nothing is under way",
        )
        missing = set(one.accepted) - {row.event_id for row in own.rows()}

        assert loss["kind"] == "emptied"
        assert sum(loss["deliveries"].values()) <= len(missing)
        assert own.log("recorder").count(TOLD) == 1
        assert own.client.hget(keys.COUNTERS, "unwanted") is None


def test_what_an_emptied_redis_accepts_is_routed_once_it_knows_the_integrations(own: Fleet) -> None:
    """A router that finds none does not take that for "nobody wants it": the events wait."""
    with HecReceiver() as splunk:
        own.integrate(splunk.url)
        own.client.flushall()
        own.publish(denial(f"waits-{number}") for number in range(20))
        own.start("router")
        wait_until(
            lambda: own.client.hget(keys.COUNTERS, "unwanted") or "does not say which" in own.log("router"),
            "the router has met the events",
        )
        assert own.client.hget(keys.COUNTERS, "unwanted") is None
        own.start("recorder", "worker")

        assert {row.event_id for row in own.settled(20)} == set(splunk.accepted_ids)


def test_an_old_snapshot_is_reported(own: Fleet, tmp_path: Path) -> None:
    """The data directory of before: what came later and waited is missing, what stood in it is not."""
    data, copy = tmp_path / "server", tmp_path / "copy"
    with HecReceiver() as splunk:
        own.integrate(splunk.url)
        own.start()
        pause(own, "splunk")
        own.publish(denial(f"old-{number}") for number in range(10))
        marked(own, 10)
        own.server.stop()
        shutil.copytree(data, copy)
        own.server.restart()
        own.publish(denial(f"new-{number}") for number in range(30))
        marked(own, 40)
        own.server.stop()
        shutil.rmtree(data)
        shutil.copytree(copy, data)
        own.server.restart()
        [loss] = wait_until(lambda: losses(own), "the loss is reported")

        assert (loss["kind"], loss["deliveries"]) == ("rolled_back", {"int_splunk": 30})


def test_a_restart_with_its_log_is_not_reported(own: Fleet) -> None:
    """Nor that the integration is deleted meanwhile."""
    with HecReceiver() as splunk:
        own.integrate(splunk.url)
        own.start()
        pause(own, "splunk")
        own.publish(denial(f"e{number}") for number in range(10))
        marked(own, 10)
        before = int(own.client.hget("siem:epoch", "number") or 0)
        own.server.kill_when_written()
        own.server.restart()
        own.siem("integrations", "delete", "splunk", "--yes")
        wait_until(lambda: len(own.dead()) == 10, "its events are dead letters")
        wait_until(lambda: int(own.client.hget("siem:epoch", "number") or 0) > before + 1, "marks go on")

        assert losses(own) == []
        assert part(own)["ok"]


def test_a_failover_is_not_reported(tmp_path: Path) -> None:
    """A mark counts only once a replica has it."""
    with (
        WatchedServers(tmp_path / "redis") as servers,
        Fleet(tmp_path, redis_url=servers.url) as fleet,
        HecReceiver() as splunk,
    ):
        fleet.integrate(splunk.url)
        fleet.start()
        with Insistent(fleet, "a") as one:
            wait_until(lambda: len(splunk.accepted_ids) > 200, "events flow")
            wait_until(lambda: fleet.client.hget("siem:epoch", "number"), "Redis is marked")
            old = servers.master
            old.kill()
            wait_until(lambda: servers.master is not old, "there is a new master")
            before = len(one.accepted)
            wait_until(lambda: len(one.accepted) > before + 300, "events are taken again")
        marks = wait_until(lambda: mark(fleet), "the mark is there")
        fleet.publish([denial("last")])
        wait_until(lambda: mark(fleet) > marks, "marks go on")

        assert losses(fleet) == []


def mark(fleet: Fleet) -> int:
    """Return the number of the latest mark; 0 while sentinels cut off who asks, as they do in a failover."""
    with suppress(redis.ConnectionError):
        return int(fleet.client.hget(keys.EPOCH, "number") or 0)
    return 0
