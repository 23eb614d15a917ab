"""Redis's data is damaged under a running fleet: what is whole goes on, and every event is accounted for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker.damaging import damage_backlog, flip, garble
from tests.fleet import Fleet, wait_until
from tests.receivers.hec import HecReceiver
from tests.system.conftest import denial
from worker.broker import keys
from worker.model.deliveries import Cause, Status

pytestmark = pytest.mark.slow


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet of its own; nothing runs yet."""
    with Fleet(tmp_path) as fleet:
        yield fleet


def filled(own: Fleet, url: str) -> list[str]:
    """Start the fleet, and let five chunks of 20 events wait in a paused integration."""
    own.integrate(url)
    own.start()
    own.siem("integrations", "pause", "splunk")
    published: list[str] = []
    for chunk in range(5):
        published += own.publish_at_once([denial(f"e{chunk}-{number}") for number in range(20)])
        count = b"%d" % len(published)
        wait_until(
            lambda count=count: own.client.hget(keys.state_key("int_splunk"), "backlog_events") == count,  # type: ignore[misc]  # mypy cannot tell the type of a lambda with a default
            "all are collected",
        )
    return published


def test_damaged_chunks_are_dead_letters_and_the_others_arrive(own: Fleet) -> None:
    """Health, list and API say so at once; what was published behind the damage is delivered."""
    with HecReceiver() as splunk:
        published = filled(own, splunk.url)
        damage_backlog(own.client, "int_splunk", garble, places={0, 1})
        damage_backlog(own.client, "int_splunk", flip(-9), places={2, 3})
        own.siem("integrations", "resume", "splunk")
        own.settled(100)
        [late] = own.publish([denial("late")])
        wait_until(lambda: late in splunk.accepted_ids, "what came behind it arrives")

        dead = own.dead()
        assert {letter.cause for letter in dead} == {Cause.UNREADABLE}
        assert len(dead) + len(set(splunk.accepted_ids)) == len(published) + 1
        assert len(dead) >= 40
        recovered = {letter.event_id for letter in dead} & set(published)
        assert recovered
        assert not recovered & set(splunk.accepted_ids)
        assert all(letter.payload for letter in dead if letter.event_id in recovered)
        assert "is damaged" in own.siem("health", "splunk").stdout.decode()
        assert own.siem_json("dead-letters", "list", "--cause", "unreadable")["items"]
        dry = own.siem_json("dead-letters", "replay", "--all", "--dry-run")
        assert (dry["replayable"], dry["unreadable"]) == (0, len(dead))
        assert own.client.hget(keys.state_key("int_splunk"), "backlog_events") == b"0"


def test_a_damaged_backlog_of_a_deleted_integration_is_accounted_for(own: Fleet) -> None:
    """Whether or not it can be read, each event becomes a dead letter, and no order is issued for ever."""
    with HecReceiver() as splunk:
        published = filled(own, splunk.url)
        damage_backlog(own.client, "int_splunk", garble, places={0})
        damage_backlog(own.client, "int_splunk", flip(40), places={2})
        deleted = own.siem("integrations", "delete", "splunk", "--yes")
        assert deleted.returncode == 0, deleted.stderr.decode()
        wait_until(lambda: len(own.dead()) >= len(published), "every event is a dead letter")

        assert len(own.dead()) == len(published)
        assert {letter.cause for letter in own.dead()} == {Cause.DELETED, Cause.UNREADABLE}
        assert splunk.accepted_ids == []
        wait_until(lambda: own.client.zcard(keys.LEASES) == 0, "no order is left")
        wait_until(lambda: not own.client.exists(keys.state_key("int_splunk")), "nothing is left of it")


def test_damage_elsewhere_wedges_no_process(own: Fleet) -> None:
    """Orders, leases, records and documents that are garbage: the fleet goes on, and no process ends."""
    with HecReceiver() as splunk:
        own.integrate(splunk.url)
        own.start()
        own.client.lpush("siem:celery:splunk_hec", b"\xff\xfe", b'{"body": "nonsense"}')
        own.client.hset("siem:celery:unacked", "tag", b"\xff")
        own.client.zadd("siem:celery:unacked_index", {b"tag": 0})
        own.client.zadd(keys.LEASES, {b"\xff/1": 0, b"int_splunk/9": 0})
        own.client.hset(keys.REPLAYS, "rpl_1", b"\xc1")
        own.client.hset(keys.HEALTH_STATES, "int_splunk", b"{\xff")
        own.client.hset(keys.INTEGRATIONS, "int_splunk", b'{"id": "int_splunk", \xff')
        own.client.hset(keys.state_key("int_splunk"), mapping={"window": b"\xff", "batch_events": b"nan"})
        own.client.set(keys.INTEGRATIONS_VERSION, "other")
        own.kill("router")
        own.start("router")
        own.publish([denial(f"e{number}") for number in range(10)])
        rows = own.settled(10)

        assert {row.status for row in rows} == {Status.DELIVERED}
        assert all(process.poll() is None for process in own.processes.values())
