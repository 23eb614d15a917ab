"""A deleted integration is gone within a minute, whatever it did, and all of its events are accounted for."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.broker.sending import append
from tests.fleet import Fleet, wait_until
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.receivers.syslog import SyslogReceiver
from tests.receivers.webhook import WebhookReceiver
from tests.system.conftest import denial
from worker.broker import keys
from worker.broker.backlog import Backlog, Timing
from worker.broker.snapshot import Snapshot
from worker.ledger.parked import ParkedStore
from worker.ledger.replays import create_replay, get_replay
from worker.model.deliveries import Cause, Status
from worker.model.replays import DeadLetterFilter, ReplayState

pytestmark = [pytest.mark.slow, pytest.mark.timeout(700)]

#: More than a backlog may hold.
EVENTS = 1300
#: Hashes that have a field for an integration, while there is one.
HASHES = (keys.INTEGRATIONS, keys.CONFLICTS, keys.HEALTH_STATES, keys.HEALTH_UNSENT)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet whose backlogs are small, so that much is parked; nothing runs yet."""
    with Fleet(
        tmp_path, SIEM_BACKLOG_EVENTS="1000", SIEM_HEALTH_INTERVAL="1", SIEM_HEALTH_STEADY="0"
    ) as fleet:
        yield fleet


def naming(fleet: Fleet, integration_id: str) -> list[str]:
    """Name all in Redis that names an integration, but for the note and what is on its way to the ledger."""
    client = fleet.client
    found = [name.decode() for name in client.scan_iter(count=1000)]
    named = [name for name in found if f":{integration_id}:" in name or name.endswith(f":{integration_id}")]
    named += [name for name in HASHES if client.hexists(name, integration_id)]
    leased: list[Any] = client.zrange(keys.LEASES, 0, -1)
    named += [member.decode() for member in leased if member.startswith(f"{integration_id}/".encode())]
    orders: list[Any] = [*client.hvals("siem:celery:unacked")]
    for kind in ("splunk_hec", "syslog_cef", "webhook"):
        orders += client.lrange(f"siem:celery:{kind}", 0, -1)
    return named + ["celery" for order in orders if integration_id.encode() in order]


def connections(port: int) -> int:
    """Count the connections of this machine to a port that are established (RFC 9293: ESTAB)."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    established = [line.split()[2] for line in lines if line.split()[3] == "01"]
    return sum(int(remote.rpartition(":")[2], 16) == port for remote in established)


def wait_until_gone(fleet: Fleet, integration_id: str) -> None:
    """Wait until nothing in Redis names it."""
    wait_until(lambda: not naming(fleet, integration_id), f"{integration_id} is gone")


def wait_until_closed(port: int, seconds: float) -> None:
    """Wait until nobody is connected to a port."""
    wait_until(lambda: connections(port) == 0, f"no connection to {port} is left", seconds)


def wait_until_dead(fleet: Fleet, integration_id: str, count: int) -> None:
    """Wait until the ledger has so many dead letters of it."""
    wait_until(lambda: len(fleet.dead(integration_id)) == count, f"{integration_id} is accounted for")


def test_whatever_it_was_doing_it_is_gone(own: Fleet) -> None:
    """In flight, waiting for a retry, held by its breaker, paused and parked, replaying, idle."""
    with contextlib.ExitStack() as stack:
        well = stack.enter_context(HecReceiver())
        hanging = stack.enter_context(HecReceiver(scripts.hang()))
        throttled = stack.enter_context(HecReceiver(scripts.throttled(600)))
        held = stack.enter_context(HecReceiver(scripts.reject_token()))
        hook = stack.enter_context(WebhookReceiver())
        siem = stack.enter_context(SyslogReceiver())
        refusing = stack.enter_context(HecReceiver(scripts.offender(lambda _: True)))
        own.integrate(well.url, "well")
        own.integrate(hanging.url, "flight", timeout_seconds=3.0)
        own.integrate(throttled.url, "retry")
        own.integrate(held.url, "held")
        own.integrate(well.url, "parked")
        own.integrate(refusing.url, "dying")
        own.integrate(hook.url, "hook", type="webhook")
        own.store.set_paused("int_parked", paused=True)
        own.integrate(siem.url, "siem")  # tells the fleet of the pause as well
        own.start()
        own.spawn("router-2")

        published = own.publish_at_once(denial(f"e{number}") for number in range(EVENTS))
        own.settled(EVENTS, "int_well")
        own.settled(EVENTS, "int_dying")
        own.settled(EVENTS, "int_hook")
        own.settled(EVENTS, "int_siem")
        hanging.wait_for(lambda receiver: bool(receiver.requests), 30)
        wait_until(lambda: "int_parked" in ParkedStore(own.engine).counts(), "events are parked")
        wait_until(
            lambda: own.client.hget(keys.state_key("int_held"), "breaker") == b"open", "the breaker is open"
        )
        wait_until(lambda: own.rows("int_retry"), "the retry waits")
        dying = DeadLetterFilter(integration_id="int_dying")
        replay = create_replay(own.engine, dying, target_id=None, rate=1, made_by="test").id

        names = ("flight", "retry", "held", "parked", "dying", "hook", "siem")
        for name in names:
            own.store.delete(f"int_{name}")
        own.announce()
        for name in names:
            wait_until_gone(own, f"int_{name}")
        for receiver in (hanging, throttled, held, refusing, hook, siem):
            wait_until_closed(receiver.port, 60)
        for name in ("flight", "retry", "held", "parked"):
            wait_until_dead(own, f"int_{name}", EVENTS)
            letters = own.dead(f"int_{name}")
            assert {letter.event_id for letter in letters} == set(published)
            assert {letter.cause for letter in letters} == {Cause.DELETED}
        wait_until(
            lambda: get_replay(own.engine, replay).state is not ReplayState.RUNNING, "the replay ended"
        )
        waiting = [letter for letter in own.dead("int_dying") if letter.state == "waiting"]
        assert {letter.event_id for letter in waiting} == set(published)

        again = own.publish_at_once(denial(f"l{number}") for number in range(20))
        own.settled(EVENTS + 20, "int_well")
        assert {row.event_id for row in own.rows("int_well")} == {*published, *again}
        assert [row for row in own.rows("int_hook") if row.status is not Status.DELIVERED] == []
        assert [name for name in names if naming(own, f"int_{name}")] == []
        assert Snapshot(own.client).subscriptions().keys() == {"int_well"}


def test_a_router_that_slept_brings_nothing_back_for_good(own: Fleet) -> None:
    """It hands over by the integrations of then: those events become dead letters, and all goes again."""
    with HecReceiver() as splunk:
        own.integrate(splunk.url, "gone")
        own.start()
        own.publish_at_once([denial("e0")])
        own.settled(1, "int_gone")
        own.siem("integrations", "delete", "gone", "--yes")
        wait_until_gone(own, "int_gone")
        late = [f"late{number}" for number in range(50)]
        append(own.client, "int_gone", [late[:25], late[25:]])
        [order] = Backlog(own.client, Timing.of(own.settings)).wake(["int_gone"])
        assert order.integration_id == "int_gone"
        own.settled(51, "int_gone", 60)
        wait_until_gone(own, "int_gone")

        assert {letter.event_id for letter in own.dead("int_gone")} == set(late)
        assert {letter.cause for letter in own.dead("int_gone")} == {Cause.DELETED}
        assert splunk.accepted_ids == ["e0"]


def test_connections_are_closed_though_nothing_more_comes(own: Fleet) -> None:
    """Disabled, changed or deleted: none of them gets a batch that would tell."""
    with HecReceiver() as one, WebhookReceiver() as two, SyslogReceiver() as three, HecReceiver() as kept:
        own.integrate(one.url, "one")
        own.integrate(two.url, "two", type="webhook")
        own.integrate(three.url, "three")
        own.integrate(kept.url, "kept")
        own.start()
        own.publish_at_once([denial("e0")])
        for name in ("one", "two", "three", "kept"):
            own.settled(1, f"int_{name}")
        ports = [one.port, two.port, three.port]
        assert all(connections(port) for port in ports)
        own.siem("integrations", "disable", "one")
        own.siem("integrations", "delete", "two", "--yes")
        own.siem("integrations", "update", "three", "--facility", "local5")
        for port in ports:
            wait_until_closed(port, 45)

        assert connections(kept.port) >= 1


def test_a_restore_does_not_revive_what_is_gone(own: Fleet) -> None:
    """The note in Redis stands for the tombstone: the integration comes back paused, and a person decides."""
    with HecReceiver() as splunk:
        own.integrate(splunk.url, "gone")
        own.start()
        own.publish_at_once([denial("e0")])
        own.settled(1, "int_gone")
        own.terminate("recorder")
        own.engine.dispose()
        for path in sorted(own.directory.glob("ledger.sqlite3*")):
            shutil.copy2(path, own.directory / f"backup-{path.name}")
        own.start("recorder")
        own.siem("integrations", "delete", "gone", "--yes")
        wait_until_gone(own, "int_gone")
        own.terminate("recorder")
        own.engine.dispose()
        for path in sorted(own.directory.glob("ledger.sqlite3*")):
            path.unlink()
        for path in sorted(own.directory.glob("backup-*")):
            shutil.copy2(path, own.directory / path.name.removeprefix("backup-"))
        own.start("recorder")
        wait_until(lambda: "was deleted after the state" in own.log("recorder"), "the recorder tells")
        wait_until(lambda: own.client.hexists(keys.INTEGRATIONS, "int_gone"), "Redis knows it again")
        own.publish_at_once([denial("e1")])
        wait_until(
            lambda: own.client.hget(keys.state_key("int_gone"), "backlog_events") == b"1", "it is collected"
        )
        [listed] = own.siem_json("integrations", "orphans", "list")["items"]

        assert (listed["id"], listed["kind"]) == ("int_gone", "older")
        assert own.store.get("int_gone").paused
        assert splunk.accepted_ids == ["e0"]
        own.siem("integrations", "resume", "gone")
        own.settled(2, "int_gone")
