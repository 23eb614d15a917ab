"""A Redis that costs accepted events is told, and one that holds another ledger's events is not touched."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.embedded_servers import VALKEY, start_server
from tests.fleet import ROLES, Fleet, wait_until
from tests.ledger.letters import all_dead_letters
from tests.procfile import commands
from tests.receivers.hec import HecReceiver
from tests.system.conftest import denial

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ANOTHER = "this Redis belongs to another ledger"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet with a server of its own; nothing runs yet."""
    with Fleet(tmp_path / "one") as fleet:
        yield fleet


@pytest.fixture
def intruder(own: Fleet, tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet with a ledger of its own on the same Redis."""
    with Fleet(tmp_path / "two", redis_url=own.server.url) as fleet:
        yield fleet


def test_two_ledgers_on_one_redis_do_not_mix(own: Fleet, intruder: Fleet) -> None:
    """The second recorder records nothing, says why, and tells the fleet nothing of its integrations."""
    with HecReceiver() as splunk:
        own.integrate(splunk.url)
        own.start()
        own.publish([denial("first")])
        own.settled(1)
        intruder.spawn("recorder")
        wait_until(lambda: ANOTHER in intruder.log("recorder"), "the other recorder says why it waits")
        token = intruder.directory / "token"
        token.write_text("secret-token")
        created = intruder.siem(
            *("integrations", "create", "--name", "stranger", "--url", splunk.url),
            *("--token-file", str(token)),
        )
        own.client.xadd("siem:events", {"event": b"invalid"})
        ids = own.publish(denial(f"e{number}") for number in range(200))
        own.settled(201)
        wait_until(lambda: len(own.dead(None)) == 1, "the dead letter is in the first ledger")
        told = intruder.siem("health")
        known = own.client.hgetall("siem:integrations")

        assert set(splunk.accepted_ids) == {"first", *ids}
        assert list(known) == [b"int_splunk"]
        assert b"saved, but not yet in Redis (" + ANOTHER.encode() in created.stderr
        assert list(all_dead_letters(intruder.engine, limit=10)) == []
        assert intruder.rows("int_splunk") == []
        assert told.returncode == 1
        assert ANOTHER in told.stdout.decode()
        assert "Traceback" not in intruder.log("recorder")


def test_a_new_ledger_takes_redis_over_on_purpose(own: Fleet, intruder: Fleet) -> None:
    """After `siem redis claim` it records what stands there, and the recorders of the old one wait."""
    own.start("recorder")
    wait_until(lambda: own.client.get("siem:ledger"), "the first ledger has claimed Redis")
    own.terminate("recorder")
    intruder.spawn("recorder")
    wait_until(lambda: ANOTHER in intruder.log("recorder"), "the other recorder waits")
    refused = intruder.siem("redis", "claim")
    claimed = intruder.siem("redis", "claim", "--yes")
    own.spawn("recorder")
    wait_until(lambda: ANOTHER in own.log("recorder"), "the first recorder waits")
    own.client.xadd("siem:dead-letters", {"dead": b"no dead letter of ours"})
    wait_until(lambda: "set aside" in intruder.log("recorder"), "the other one reads")

    assert refused.returncode != 0
    assert b"Take it over?" in refused.stderr
    assert claimed.returncode == 0, claimed.stderr
    assert b"Redis belongs to this ledger now" in claimed.stdout
    assert intruder.siem("redis", "check").returncode == 0
    assert "set aside" not in own.log("recorder")


def test_an_emptied_redis_is_claimed_anew(own: Fleet) -> None:
    """By whose recorder comes first, without a word of anybody."""
    own.start("recorder")
    before = wait_until(lambda: own.client.get("siem:ledger"), "it is claimed")
    own.client.flushall()

    assert wait_until(lambda: own.client.get("siem:ledger"), "it is claimed again") == before
    assert ANOTHER not in own.log("recorder")


def test_no_process_starts_on_a_redis_cluster(tmp_path: Path) -> None:
    """Each says what is wrong, and with which setting, before it does anything."""
    extra = ("--cluster-enabled", "yes")
    with (
        start_server(VALKEY, tmp_path / "cluster", extra=extra) as cluster,
        Fleet(tmp_path / "fleet", redis_url=cluster.url) as fleet,
    ):
        ended = {role: _run(fleet, role) for role in ROLES}
        ended["api"] = fleet.siem("api")

        assert {role: done.returncode for role, done in ended.items()} == dict.fromkeys(ended, 2)
        for done in ended.values():
            assert b"SIEM_REDIS_URL: this is a Redis Cluster" in done.stdout + done.stderr


def test_a_redis_that_loses_events_is_told_by_every_process(tmp_path: Path) -> None:
    """In the log of each, by the command line, and by an exit code."""
    extra = ("--maxmemory-policy", "allkeys-lru", "--maxmemory", "200mb", "--appendonly", "no")
    with (
        start_server(VALKEY, tmp_path / "server", extra=extra) as server,
        Fleet(tmp_path / "fleet", redis_url=server.url) as fleet,
    ):
        fleet.start()
        wait_until(lambda: all(_tells(fleet.log(role)) for role in fleet.processes), "every process says it")
        health, status, check = (
            fleet.siem(*words).stdout.decode() for words in (["health"], ["status"], ["redis", "check"])
        )
        report = fleet.siem("redis", "check", "--json")

        assert "NOT OK  redis-config" in health
        for told in (health, status, check):
            assert "when memory is short, Redis deletes accepted events" in told
            assert "a restart of Redis loses accepted events" in told
        assert report.returncode == 1
        assert {entry["name"] for entry in _json(report) if entry["standing"] == "failed"} == {
            "eviction",
            "persistence",
        }


def _tells(log: str) -> bool:
    return "check eviction: maxmemory-policy is allkeys-lru" in log and "check persistence" in log


def _run(fleet: Fleet, role: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        commands()[role], env=fleet.environment, capture_output=True, timeout=180, check=False
    )


def _json(done: "subprocess.CompletedProcess[bytes]") -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(done.stdout)["items"]
    return found
