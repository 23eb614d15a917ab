"""A flood at the ingress: nobody waits behind that of another tenant, and nothing of it is lost.

No worker runs: what was routed stands in the backlogs, in the order in which it was appended.
"""

import itertools
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.fleet import Fleet, wait_until
from tests.system.conftest import denial
from worker.broker import keys
from worker.broker.chunk_cache import ChunkCache, Named, name_of
from worker.broker.ingress import counters
from worker.broker.notices import floods
from worker.broker.packing import unpack_chunk
from worker.broker.volumes import volumes_of
from worker.model.event_runs import EventRun
from worker.model.events import EventType, QueuedEvent

pytestmark = pytest.mark.slow

FLOOD = 100_000
#: Of one that goes on and on: with all that follows, no more than a backlog may hold.
LONG_FLOOD = 60_000
TENANTS = ("loud", "quiet", "third")
#: The flows beside the flood: tenants, and types of their events.
SMALL = [(tenant, kind) for tenant in TENANTS for kind in ("policy.allow", "policy.deny")][1:]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet of which nothing runs, with an integration of each of three tenants to every type."""
    with Fleet(tmp_path, SIEM_CLAIM_IDLE="1") as fleet:
        for tenant in TENANTS:
            fleet.integrate("http://127.0.0.1:9", tenant, tenant_id=tenant, event_types=[*EventType])
        yield fleet


def events(tenant: str, kind: str, count: int, run: str = "") -> Iterator[dict[str, Any]]:
    """Make events of which each id says its flow and its place in it."""
    for number in range(count):
        yield denial(f"{tenant}/{kind}/{run}/{number}", tenant_id=tenant, type=kind)


def publish(fleet: Fleet, given: Iterable[dict[str, Any]]) -> None:
    """Publish by plain XADD."""
    pending = iter(given)
    while batch := list(itertools.islice(pending, 2000)):
        fleet.publish_at_once(batch)


def backlog(fleet: Fleet, tenant: str, kind: str) -> list[tuple[bytes, list[str]]]:
    """Return the chunks of the lane of that type: entry ids, and the ids of their events."""
    lane = keys.bulk if kind == "policy.allow" else keys.urgent
    found: Any = fleet.client.xrange(lane(f"int_{tenant}"))
    entries = [(entry_id, [part for pair in fields.items() for part in pair]) for entry_id, fields in found]
    fetched = ChunkCache().fetch(fleet.client, entries)
    return [(entry_id, [one.id for one in _events(fields, fetched)]) for entry_id, fields in entries]


def _events(fields: list[Any], fetched: Mapping[Named, EventRun]) -> Sequence[QueuedEvent]:
    name = name_of(fields)
    return fetched[name].events if name else unpack_chunk(fields[fields.index(b"events") + 1])


def routed(fleet: Fleet) -> list[str]:
    """Return the ids of all events in all backlogs."""
    lanes = itertools.product(TENANTS, ("policy.allow", "policy.deny"))
    return [one for lane in lanes for _, ids in backlog(fleet, *lane) for one in ids]


def reads(fleet: Fleet, router: str) -> bool:
    """Say whether this router, as it runs now, has been given entries of the ingress."""
    found: Any = fleet.client.xinfo_consumers(keys.EVENTS, keys.ROUTER_GROUP)
    return any(b":%d:" % fleet.processes[router].pid in consumer["name"] for consumer in found)


def await_end(fleet: Fleet) -> None:
    """Wait until the ingress is empty."""
    wait_until(lambda: fleet.client.xlen(keys.EVENTS) == 0, "all are routed", 120)


def before(fleet: Fleet, flood: tuple[str, str], single: tuple[str, str]) -> int:
    """Count the events of the flood that were appended before the first one of the other lane."""
    [(moment, _), *_] = backlog(fleet, *single)
    place = tuple(map(int, moment.split(b"-")))
    earlier = (ids for entry, ids in backlog(fleet, *flood) if tuple(map(int, entry.split(b"-"))) < place)
    return sum(map(len, earlier))


@pytest.mark.parametrize(
    ("flood", "single"),
    [
        (("loud", "policy.allow"), ("quiet", "policy.deny")),
        (("loud", "policy.allow"), ("quiet", "policy.allow")),
        (("loud", "policy.allow"), ("loud", "policy.deny")),
        (("loud", "policy.deny"), ("quiet", "policy.allow")),
    ],
    ids="-".join,
)
def test_what_comes_last_does_not_wait_for_the_flood(
    own: Fleet, flood: tuple[str, str], single: tuple[str, str]
) -> None:
    """Another tenant's events, urgent or not, and urgent ones beside a flood that may wait."""
    publish(own, events(*flood, FLOOD))
    publish(own, events(*single, 1))
    # Not `start`, which waits: on a quick machine the flood may be over by then.
    own.spawn("router")
    found = wait_until(lambda: floods(own.client), "the flood is noticed")
    await_end(own)

    assert before(own, flood, single) < FLOOD / 2
    assert len(routed(own)) == FLOOD + 1
    assert found == {"loud"}
    wait_until(lambda: floods(own.client) is None, "it is over")


@pytest.mark.timeout(600)
def test_each_flow_keeps_its_order(own: Fleet) -> None:
    """With one router, whatever overtakes what; nothing is lost, nothing comes twice."""
    publish(own, events("loud", "policy.allow", FLOOD))
    own.start("router")
    for turn in range(20):
        for tenant, kind in itertools.product(TENANTS, ("policy.allow", "policy.deny")):
            publish(own, events(tenant, kind, 150 * (turn % 4) + 1, run=f"{turn:02d}"))
    await_end(own)

    order: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
    for one in routed(own):
        tenant, kind, run, number = one.split("/")
        order[f"{tenant}/{kind}"].append((run, int(number)))
    assert len(order) == 6
    assert all(found == sorted(set(found)) for found in order.values())
    assert sum(map(len, order.values())) == counters(own.client)["published"]


def readers_ahead(fleet: Fleet, seconds: float) -> set[bytes]:
    """Return who reads ahead, as soon as somebody does, or nobody once that time is over."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if (turn := fleet.client.get(keys.AHEAD_LOCK)) is not None:
            return {turn}  # type: ignore[arg-type]  # redis-py's types
        time.sleep(0.005)
    return set()


@pytest.mark.timeout(700)
def test_routers_that_are_killed_lose_nothing_of_it(own: Fleet) -> None:
    """Two of them, killed in turn while they work at it and read ahead: each event once.

    All are counted once; by tenant and type at the most, for with a router its last second of these is lost.
    """
    routers = ("router", "router-2")
    own.client.xgroup_create(keys.EVENTS, keys.ROUTER_GROUP, "0", mkstream=True)
    publish(own, events("loud", "policy.allow", LONG_FLOOD))
    for router in routers:
        own.spawn(router)
    wanted, ahead = [f"loud/policy.allow//{number}" for number in range(LONG_FLOOD)], set[bytes]()
    for turn in range(8):
        made = list(events("loud", "policy.allow", LONG_FLOOD // 4, run=f"turn-{turn}"))
        for tenant, kind in SMALL:
            made += events(tenant, kind, 300, run=f"turn-{turn}")
        victim = routers[turn % 2]
        wait_until(partial(reads, own, victim), "the next victim reads")
        ahead |= readers_ahead(own, 0.1 if turn % 2 else 1.0)
        time.sleep(0.1 * (turn % 4))  # so that they are killed at different moments of their work
        own.kill(victim)
        own.spawn(victim)
        publish(own, made)
        wanted += [one["id"] for one in made]
    await_end(own)

    found = Counter(routed(own))
    assert sorted(found) == sorted(wanted)
    assert set(found.values()) == {1}
    assert ahead  # or none was killed while one read ahead
    assert counters(own.client)["published"] == len(wanted)
    by_tenant = {tenant: volumes_of(own.client, tenant) for tenant in TENANTS}
    assert 0 < sum(one.events for each in by_tenant.values() for one in each.values()) <= len(wanted)


@pytest.mark.timeout(600)
def test_thousands_of_tenants_that_flood_at_once_do_not_hold_up_one_more(own: Fleet) -> None:
    """Not even if their names are hostile; what is no event among them becomes dead letters."""
    names = [f"t{number}:*\n\r{{}}\x00\u2028'\"" for number in range(4000)]
    publish(own, events("loud", "policy.allow", FLOOD))
    for turn in range(10):
        publish(own, (denial(f"{turn}-{at}", tenant_id=name) for at, name in enumerate(names)))
        own.client.xadd(keys.EVENTS, {"event": b"not json"})
        own.client.xadd(keys.EVENTS, {"event": json.dumps({"id": 1, "type": "policy.deny"})})
    publish(own, events("quiet", "policy.allow", 3))
    own.start("router")
    await_end(own)

    assert before(own, ("loud", "policy.allow"), ("quiet", "policy.allow")) < FLOOD / 2
    counted = counters(own.client)
    assert counted["published"] == FLOOD + 40_000 + 20 + 3
    assert counted["unwanted"] == 40_000
    assert counted["invalid"] == own.client.xlen(keys.DEAD_LETTERS) == 20


def test_huge_events_are_overtaken_as_well(own: Fleet) -> None:
    """Of the largest size that is taken: neither memory nor time runs out."""
    huge = [
        json.dumps(one | {"context": {"text": "x" * 250_000}}) for one in events("loud", "policy.allow", 800)
    ]
    for start in range(0, 800, 50):
        pipeline = own.client.pipeline()
        for one in huge[start : start + 50]:
            pipeline.xadd(keys.EVENTS, {"event": one})
        pipeline.execute()
    publish(own, events("quiet", "policy.deny", 1))
    own.start("router")
    await_end(own)

    assert before(own, ("loud", "policy.allow"), ("quiet", "policy.deny")) < 700
    assert len(routed(own)) == 801
