"""What a bad disk or memory did to Redis's data stops nothing, and each event is accounted for."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import redis

from tests.broker.damaging import (
    damage_backlog,
    damage_entries,
    flip,
    garble,
    of_an_earlier_release,
    of_the_size,
)
from tests.broker.sending import TIMING, append, claim, delivered, event, failed, ids, subscribe
from worker.broker import keys
from worker.broker.backlog import Backlog, Claim, Timing
from worker.broker.chunks import salvage_chunk
from worker.broker.claim_reply import Claimed
from worker.broker.ingress import Ingress, RoutedChunk, RoutingResult, counters
from worker.broker.notices import FullTenants, floods, recorder_stall
from worker.broker.outcomes import Outcomes, SettledEntries
from worker.broker.packing import pack_chunk
from worker.broker.parking import BacklogBudget, Parking
from worker.broker.redis_stats import RedisStats
from worker.broker.replaying import Replaying
from worker.broker.sessions import Sessions
from worker.broker.snapshot import Snapshot, publish_integrations
from worker.broker.volumes import volumes_of
from worker.model.api_keys import ApiKey, Role
from worker.model.batches import DeliveryAttempt
from worker.model.deliveries import Cause, DeadLetter
from worker.model.errors import LeaseLost
from worker.model.failures import FailureCode
from worker.model.orders import WorkOrder
from worker.model.parking import Cap
from worker.model.replays import Page
from worker.vault.vault import Signer

LATE = Timing(lease=0.001, order_lease=0.001, retry_grace=0)


def recorded(client: redis.Redis) -> SettledEntries:
    """Read what a recorder would record, and finish it."""
    outcomes = Outcomes(client, "test", 30)
    found = SettledEntries()
    for _ in range(4):
        settled = outcomes.read(100, 1)
        if len(settled):
            outcomes.finish(settled)
        found.add(settled)
    return found


def letters(client: redis.Redis) -> list[DeadLetter]:
    """Return the dead letters that a recorder would record."""
    return [letter for _, letter in recorded(client).dead]


def depth_is_nothing(client: redis.Redis, integration_id: str = "a") -> bool:
    """Say whether all three counts of a backlog are 0."""
    names = ("backlog_events", "unclaimed_events", "unclaimed_bytes")
    return client.hmget(keys.state_key(integration_id), *names) == [b"0"] * 3


@pytest.mark.parametrize("damage", [garble, flip(0), flip(1), flip(30), flip(-1)])
def test_a_damaged_chunk_is_set_aside_and_its_neighbours_are_sent(
    client: redis.Redis, backlog: Backlog, damage: Any
) -> None:
    """Wherever a bit is wrong, in what still decodes too: three dead letters, and the others go out."""
    subscribe(client, "a")
    append(client, "a", [["e1", "e2"], ["x1", "x2", "x3"], ["e3"]])
    damage_backlog(client, "a", damage, places={1})

    batch = claim(backlog, "a").batch
    assert ids(batch) == ["e1", "e2", "e3"]
    backlog.settle(batch, delivered(batch))

    [letter] = letters(client)
    assert (letter.integration_id, letter.cause) == ("a", Cause.UNREADABLE.value)
    assert (letter.failure.code, len(letter.events)) == (FailureCode.UNREADABLE, 3)
    assert len({one.id for one in letter.events}) == 3
    assert [client.xlen(keys.urgent("a")), backlog.reissue()] == [0, []]
    assert depth_is_nothing(client)
    assert counters(client)["unreadable"] == 3


def test_health_and_the_ledger_hear_of_it(client: redis.Redis, backlog: Backlog) -> None:
    """The outcome beside the letter counts as dead, with the reason: health moves, and says why."""
    subscribe(client, "a")
    append(client, "a", [["x1", "x2"]])
    damage_backlog(client, "a", garble)

    [order] = backlog.wake(["a"])
    assert backlog.claim(order) == "empty"

    [(_, [outcome])] = recorded(client).outcomes
    assert (outcome.integration_id, outcome.status, len(outcome.events)) == ("a", "dead", 2)
    assert outcome.failure is not None
    assert "does not decode" in outcome.failure.message


def test_ids_are_recovered_and_all_bytes_are_kept(client: redis.Redis, backlog: Backlog) -> None:
    """One event of a chunk is damaged beyond recognition; the others are known, and no byte is lost."""
    subscribe(client, "a")
    append(client, "a", [["e1", "e2", "e3"]])
    packed = pack_chunk([event("e1"), event("e2"), event("e3")])
    second = packed.index(b"e2")
    damage_backlog(client, "a", flip(second - 1))

    [order] = backlog.wake(["a"])
    backlog.claim(order)

    [letter] = letters(client)
    known, unknown = letter.events[:2], letter.events[2]
    assert [one.id for one in known] == ["e1", "e3"]
    assert known[1].raw == event("e3").raw
    assert unknown.id.startswith("unreadable:urgent:")
    assert len(unknown.raw) == len(packed)


def test_salvage_finds_events_of_every_size() -> None:
    """Lengths in one, two and four bytes; of an intact chunk, every event comes back as it was."""
    events = [event("e" * length, size) for length, size in ((1, 0), (31, 255), (32, 256), (128, 70_000))]
    assert salvage_chunk(pack_chunk(events)) == events
    assert salvage_chunk(b"") == []


def test_bytes_that_look_like_an_event_are_none() -> None:
    """An event's own bytes may imitate a packed event; an intact length says where it ends."""
    inner = pack_chunk([event("fake")])[1:]
    events = [msgspec.structs.replace(event("real"), raw=inner), event("next")]
    assert [one.id for one in salvage_chunk(pack_chunk(events))] == ["real", "next"]


def test_a_chunk_without_a_checksum_is_read(client: redis.Redis, backlog: Backlog) -> None:
    """The previous release wrote none."""
    subscribe(client, "a")
    append(client, "a", [["e1"], ["e2"]])
    damage_backlog(client, "a", of_an_earlier_release)

    assert ids(claim(backlog, "a").batch) == ["e1", "e2"]


def test_a_chunk_damaged_between_two_attempts_loses_only_what_was_not_delivered(
    client: redis.Redis, backlog: Backlog
) -> None:
    """What a retry remembers of the others stays with them."""
    subscribe(client, "a")
    append(client, "a", [["e1", "e2"], ["x1", "x2"], ["e3", "e4"]])
    first = claim(backlog, "a").batch
    order = first.order
    backlog.settle(first, failed(first, delivered_places=(0, 2, 5)))
    entries: Any = client.xrange(keys.urgent("a"))
    damage_backlog(client, "a", garble, places={1})
    client.xgroup_setid(keys.urgent("a"), "delivery", "0")
    client.xreadgroup("delivery", str(order.slot), {keys.urgent("a"): ">"})  # as the slot held them
    client.hset(f"siem:slot:a:{order.slot}", "due", 0)

    again = backlog.claim(order)

    assert isinstance(again, Claim)
    assert len(entries) == 3
    assert [again.batch.events[place].id for place in DeliveryAttempt(again.batch).places] == ["e2", "e3"]
    [letter] = letters(client)
    assert len(letter.events) == 1
    backlog.settle(again.batch, delivered(again.batch))
    assert depth_is_nothing(client)


def test_a_lost_lease_sets_nothing_aside_twice(client: redis.Redis, backlog: Backlog) -> None:
    """The next claim does it; the letters are there once."""
    subscribe(client, "a")
    append(client, "a", [["x1"], ["e1"]])
    damage_backlog(client, "a", garble, places={0})
    claim(backlog, "a")
    client.zadd(keys.LEASES, {"a/1": 0})
    [(order, _, _)] = backlog.reissue()
    again = backlog.claim(order)

    assert isinstance(again, Claim)
    assert ids(again.batch) == ["e1"]
    assert len(letters(client)) == 1


def test_a_lease_lost_amid_a_claim_sets_nothing_aside(client: redis.Redis, backlog: Backlog) -> None:
    """A worker that slept between its claim and this step: the one that took its batch over has done it."""

    class Sleepy(Backlog):
        def _set_aside(self, claimed: Claimed) -> None:
            client.zadd(keys.LEASES, {"a/1": 0})
            [(order, _, _)] = backlog.reissue()
            assert isinstance(backlog.claim(order), Claim)
            super()._set_aside(claimed)

    subscribe(client, "a")
    append(client, "a", [["x1"], ["e1"]])
    damage_backlog(client, "a", garble, places={0})
    [order] = backlog.wake(["a"])

    with pytest.raises(LeaseLost):
        Sleepy(client, TIMING).claim(order)
    assert len(letters(client)) == 1
    assert client.hget(keys.state_key("a"), "backlog_events") == b"1"


SIZES = [("n", b"nonsense"), ("n", b"-5"), ("n", b"99999999999"), ("bytes", b"\xff"), ("bytes", b"1e300")]


def test_damaged_sizes_hold_nothing_up(
    client: redis.Redis, backlog: Backlog, subtests: pytest.Subtests
) -> None:
    """The events decode, and their checksum is right: they are sent, and the counts end at nothing."""
    for field, value in SIZES:
        with subtests.test(field=field, value=value):
            client.flushall()
            subscribe(client, "a")
            append(client, "a", [["e1", "e2"], ["e3"]])
            damage_backlog(client, "a", of_the_size(field, value), places={0})
            assert _sent_in_three_turns(backlog) == ["e1", "e2", "e3"]


def _sent_in_three_turns(backlog: Backlog) -> list[str]:
    seen = []
    for _ in range(3):
        orders = backlog.wake(["a"])
        found = backlog.claim(orders[0]) if orders else "empty"
        if isinstance(found, Claim):
            seen += ids(found.batch)
            backlog.settle(found.batch, delivered(found.batch))
    return seen


STATE_FIELDS = (
    *("slots", "window", "batch_events", "batch_bytes", "claims", "failures", "claimed_at", "ordered_at"),
    *("last_send_ms", "rests_until", "backlog_events", "unclaimed_events", "unclaimed_bytes", "probe_at"),
    *("opened_at", "closed_at", "unparked"),
)


@pytest.mark.parametrize("value", [b"\xff\xfe", b"nan", b"1e999", b"-1", b""])
def test_a_damaged_state_stops_no_backlog(
    client: redis.Redis, backlog: Backlog, subtests: pytest.Subtests, value: bytes
) -> None:
    """Whatever a field of the state says: events come in, are claimed and delivered, and all can look."""
    for field in STATE_FIELDS:
        with subtests.test(field=field):
            client.flushall()
            subscribe(client, "a", "b")
            append(client, "a", [["e1"]])
            client.hset(keys.state_key("a"), field, value)
            append(client, "a", [["e2"]])
            append(client, "b", [["b1"]])

            batch = claim(backlog, "a").batch
            assert ids(batch) == ["e1", "e2"]
            assert ids(claim(backlog, "b").batch) == ["b1"]
            client.hset(keys.state_key("a"), field, value)
            backlog.settle(batch, delivered(batch))
            _look_everywhere(client, backlog)


def _look_everywhere(client: redis.Redis, backlog: Backlog) -> None:
    RedisStats(client).of(["a"])
    parking = Parking(client, Cap(10, 1000))
    assert BacklogBudget(client, parking, 0).waiting(Snapshot(client).subscriptions())
    parking.room("a")
    assert Replaying(client).ready(["b"]) == {"b"}
    backlog.depth("a")
    backlog.hold("a")
    backlog.repair(["a", "b"])


SLOT_FIELDS = (
    *("epoch", "since", "chunks", "carried", "attempts", "losses", "due", "reissues", "suspects", "alone"),
    "holder",
)


@pytest.mark.parametrize("value", [b"\xff", b"nan", b""])
def test_a_damaged_slot_is_reissued_with_the_others(
    client: redis.Redis, subtests: pytest.Subtests, value: bytes
) -> None:
    """Neither its own batch nor another integration's is stuck behind it."""
    for field in SLOT_FIELDS:
        with subtests.test(field=field):
            client.flushall()
            _reissue_with_a_damaged_slot(client, field, value)


def _reissue_with_a_damaged_slot(client: redis.Redis, field: str, value: bytes) -> None:
    backlog = Backlog(client, LATE)
    subscribe(client, "a", "b")
    for one in ("a", "b"):
        append(client, one, [["e1", "e2"]])
        claim(backlog, one)
    client.hset("siem:slot:a:1", field, value)
    for one in ("a/1", "b/1"):
        client.zadd(keys.LEASES, {one: 0})

    orders = {order.integration_id: order for order, _, _ in backlog.reissue()}

    assert set(orders) == {"a", "b"}
    for order in orders.values():
        found = backlog.claim(order)
        assert isinstance(found, Claim), found
        assert ids(found.batch) == ["e1", "e2"]
        backlog.settle(found.batch, delivered(found.batch))
    assert depth_is_nothing(client, "b")


def test_a_slot_without_a_lease_is_found(client: redis.Redis) -> None:
    """The sweeper goes by the leases: one that was damaged, or is missing, comes back."""
    backlog = Backlog(client, LATE)
    subscribe(client, "a")
    append(client, "a", [["e1"]])
    claim(backlog, "a")
    client.delete(keys.LEASES)
    client.zadd(keys.LEASES, {b"\xff/1": 0, b"a/x": 0})

    assert backlog.repair(["a"]) == 1
    [(order, _, _)] = backlog.reissue()
    found = backlog.claim(order)
    assert isinstance(found, Claim)
    assert ids(found.batch) == ["e1"]


def test_a_slot_that_lost_its_state_gives_its_chunks_back(client: redis.Redis) -> None:
    """The group of the stream still says who holds them."""
    backlog = Backlog(client, LATE)
    subscribe(client, "a")
    append(client, "a", [["e1"]])
    claim(backlog, "a")
    client.delete("siem:slot:a:1", keys.LEASES)

    assert backlog.repair(["a"]) == 1
    [(order, _, _)] = backlog.reissue()
    found = backlog.claim(order)
    assert isinstance(found, Claim)
    assert ids(found.batch) == ["e1"]


def test_an_undamaged_fleet_has_nothing_to_repair(client: redis.Redis, backlog: Backlog) -> None:
    """Slots that are ordered, sending or waiting keep their leases as they are."""
    subscribe(client, "a")
    append(client, "a", [["e1"]])
    [_] = backlog.wake(["a"])
    assert backlog.repair(["a"]) == 0


def test_a_damaged_parked_chunk_becomes_dead_letters(client: redis.Redis) -> None:
    """On its way to the ledger it is read as well; its neighbours are kept."""
    subscribe(client, "a")
    append(client, "a", [["e1", "e2"], ["e3", "e4"], ["e5"]])
    Parking(client, Cap(1, 10)).park("a")
    damage_entries(client, keys.PARKED, flip(-1), places={0})

    found = recorded(client)

    [(_, letter)] = found.dead
    assert (letter.integration_id, letter.cause) == ("a", Cause.UNREADABLE.value)
    assert [one.id for one in letter.events] == ["e1", "e2"]
    assert [chunk.events for _, chunk in found.parked] == [2, 1]
    assert client.xlen(keys.UNRECORDABLE) == 0


def test_a_damaged_integration_holds_the_router_until_it_is_back(client: redis.Redis) -> None:
    """What it wants is unknown, and to route past it would lose its events; what was read before stays."""
    subscribe(client, "a")
    before = Snapshot(client)
    before.subscriptions()
    client.hset(keys.INTEGRATIONS, "a", b'{"id": "a", \xff')
    client.set(keys.INTEGRATIONS_VERSION, "other")

    fresh = Snapshot(client)
    fresh.subscriptions()
    assert fresh.unreadable == {"a"}
    assert before.subscriptions()["a"].enabled
    assert before.unreadable == set()

    subscribe(client, "a")
    assert fresh.subscriptions()["a"].enabled
    assert fresh.unreadable == set()


def test_a_damaged_name_of_an_integration_is_set_aside(client: redis.Redis) -> None:
    """What the ledger does not know, and cannot be read, would hold the routers for ever."""
    subscribe(client, "a")
    client.hset(keys.INTEGRATIONS, b"\xff\xfe", b"\xff")
    publish_integrations(client, [], 4)

    fresh = Snapshot(client)
    assert set(fresh.subscriptions()) == {"a"}
    assert fresh.unreadable == set()
    assert client.xlen(keys.UNRECORDABLE) == 1


def test_a_damaged_record_of_a_replay_is_forgotten(client: redis.Redis) -> None:
    """The other replays go on."""
    replaying = Replaying(client)
    page = Page("rpl_1", 1, [], [], 5)
    with replaying.hand() as hand:
        assert hand.over(page, [])
    client.hset(keys.REPLAYS, "rpl_2", b"\xc1")

    with replaying.hand() as hand:
        assert hand.records() == [page]
    with replaying.hand() as hand:
        assert hand.over(Page("rpl_1", 2, [], [], 6), [RoutedChunk(["a"], urgent=True, events=[event("e1")])])
    assert client.hkeys(keys.REPLAYS) == [b"rpl_1"]


def test_a_damaged_session_has_ended(client: redis.Redis) -> None:
    """Who bore it signs in again."""
    sessions = Sessions(client, Signer([b"the fleet's own key"]))
    token = sessions.open(ApiKey("key", "default", "name", Role.ADMIN, 0))
    [key] = client.keys("siem:session:*")
    client.set(key, b"{\xff")

    assert sessions.find(token) is None


def test_damaged_counts_stop_no_router(client: redis.Redis) -> None:
    """Statistics begin again; the events of the same transaction are in their backlog, once."""
    subscribe(client, "a")
    client.hset(keys.COUNTERS, "published", b"\xff")
    client.hset(keys.state_key("a"), "backlog_events", b"many")
    ingress = Ingress(client, "test", 30)
    entry: Any = client.xadd(keys.EVENTS, {"event": b"{}"})

    ingress.hand_over(
        RoutingResult(routed_chunks=[RoutedChunk(["a"], urgent=True, events=[event("e1")])], done=[entry])
    )

    assert client.xlen(keys.urgent("a")) == 1
    assert (counters(client)["published"], client.hget(keys.state_key("a"), "backlog_events")) == (1, b"1")
    assert volumes_of(client, "default") == {}


def test_an_order_of_a_damaged_backlog_ends(client: redis.Redis, backlog: Backlog) -> None:
    """Nothing but damaged chunks: the slot is free again, and no order is issued for ever."""
    subscribe(client, "a", batch_events=1)
    append(client, "a", [["x1"], ["x2"], ["x3"]])
    damage_backlog(client, "a", garble)

    [order] = backlog.wake(["a"])
    assert backlog.claim(order) == "empty"
    assert backlog.claim(WorkOrder("a", order.slot, order.epoch)) == "stale"
    assert backlog.wake(["a"]) == []
    assert sum(len(letter.events) for letter in letters(client)) == 3
    assert depth_is_nothing(client)


NOTED_FOR_A_WHILE: dict[str, Callable[[redis.Redis], object]] = {
    keys.FULL_TENANTS: lambda client: FullTenants(client).now() or None,
    keys.FLOODS: floods,
    keys.RECORDER_STALL: recorder_stall,
}


def test_what_is_noted_for_a_while_is_absent_if_it_is_of_another_type(client: redis.Redis) -> None:
    """The API reads these for each event, and for its readiness: neither should end with them."""
    for key in NOTED_FOR_A_WHILE:
        client.rpush(key, "by hand")

    assert {key: read(client) for key, read in NOTED_FOR_A_WHILE.items() if read(client) is not None} == {}
