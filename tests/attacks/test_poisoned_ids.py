"""A publisher may choose the id of an entry: no such id stops the intake, or falsifies a time."""

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.broker.sending import append, event, subscribe
from tests.fleet import Fleet, wait_until
from tests.pipeline.test_sweeper import Fleet as Sweepers
from tests.receivers.hec import HecReceiver
from tests.system.conftest import denial
from worker.broker import keys
from worker.broker.clocks import Renumbering, ingress_ids
from worker.broker.ingress import Ingress, IngressEntry, RoutedChunk, RoutingResult, counters
from worker.broker.ingress_ahead import IngressAhead, NotLeader
from worker.broker.redis_stats import RedisStats
from worker.broker.streams import GroupReader

#: No further entry is taken behind it.
GREATEST = "18446744073709551615-18446744073709551615"
#: In the year 2286.
FAR = "9999999999999-0"


def add(client: redis.Redis, name: str, entry_id: str = "*") -> bytes:
    """Publish by plain XADD; return the entry's id."""
    added: bytes = client.xadd(keys.EVENTS, {"event": name.encode()}, id=entry_id)  # type: ignore[assignment]  # redis-py's types
    return added


def router(client: redis.Redis, name: str = "router-1") -> Ingress:
    """Make a reader of the ingress; the group is there."""
    made = Ingress(client, name, 30)
    made.read(1, 1)
    return made


def names(arrivals: Sequence[IngressEntry]) -> list[bytes | None]:
    """Return what stands in each."""
    return [one.raw for one in arrivals]


def routing_result(arrivals: Sequence[IngressEntry]) -> RoutingResult:
    """Hand these over to integration `a`, as events that are named by their bytes."""
    events = [event((one.raw or b"").decode()) for one in arrivals]
    return RoutingResult(
        [RoutedChunk(["a"], urgent=True, events=events)], done=[one.entry_id for one in arrivals]
    )


def waiting(client: redis.Redis) -> list[bytes]:
    """Return the events that stand in the ingress, by age."""
    entries: Any = client.xrange(keys.EVENTS)
    return [fields[b"event"] for _, fields in entries]


def is_now(milliseconds: int) -> bool:
    """Say whether this is a moment of this test, give or take what clocks may differ by."""
    return abs(milliseconds - time.time() * 1000) < 120_000


@pytest.mark.parametrize("poison", [GREATEST, FAR], ids=["greatest", "2286"])
def test_the_intake_goes_on_with_ids_of_the_clock(client: redis.Redis, poison: str) -> None:
    """What waits keeps its order, and its id where that was true."""
    ingress = router(client)
    honest = add(client, "before")
    add(client, "poison", poison)
    if poison == FAR:
        add(client, "behind")

    Renumbering(client).step()
    add(client, "afterwards")

    expected = [b"before", b"poison", *([b"behind"] if poison == FAR else []), b"afterwards"]
    arrivals = ingress.read(10, 1)
    assert names(arrivals) == expected
    assert arrivals[0].entry_id == honest
    assert all(is_now(one.published_ms) for one in arrivals)
    assert ingress.hand_over(routing_result(arrivals))
    assert counters(client)["renumbered"] == 1
    assert not client.exists(keys.EVENTS_ASIDE)
    ids = ingress_ids(client)
    assert not ids.ahead
    assert is_now(ids.repaired_ms or 0)
    assert ids.repaired_id.startswith(poison.partition("-")[0])


@pytest.mark.parametrize("poison", [GREATEST, FAR], ids=["greatest", "2286"])
def test_a_stream_that_is_empty_by_now_is_mended(client: redis.Redis, poison: str) -> None:
    """A router has handed over the entry: only its id is left, and keeps all others out."""
    ingress = router(client)
    add(client, "poison", poison)
    assert ingress.hand_over(routing_result(ingress.read(10, 1)))

    Renumbering(client).step()

    assert is_now(int(add(client, "afterwards").partition(b"-")[0]))


def test_what_readers_hold_is_handed_over_once(client: redis.Redis) -> None:
    """Under a true id by the reader that has it; under a false one by the one that reads it again."""
    one, two = router(client, "router-1"), router(client, "router-2")
    add(client, "true")
    true = one.read(10, 1)
    add(client, "false", FAR)
    false = two.read(10, 1)
    add(client, "unread")

    Renumbering(client).step()

    assert one.hand_over(routing_result(true))
    assert not two.hand_over(routing_result(false))
    two.read_again()
    rest = two.read(10, 1)
    assert names(rest) == [b"false", b"unread"]
    assert two.hand_over(routing_result(rest))
    assert client.xlen(keys.EVENTS) == 0
    assert client.hget(keys.state_key("a"), "backlog_events") == b"3"


def test_what_a_dead_reader_held_is_taken_over(client: redis.Redis) -> None:
    """Its entries go with its name into the new stream, as old as they were."""
    router(client, "dead")
    add(client, "held")
    assert names(Ingress(client, "dead", 30).read(10, 1)) == [b"held"]
    add(client, "poison", GREATEST)

    Renumbering(client).step()

    assert sorted(map(str, names(Ingress(client, "other", 0).read(10, 1)))) in (["b'held'"], ["b'poison'"])
    pending: Any = client.xpending_range(keys.EVENTS, keys.ROUTER_GROUP, "-", "+", 10)
    assert [one["consumer"] for one in pending] == [b"other"]


def test_who_reads_ahead_hands_nothing_over_that_got_another_id(client: redis.Redis) -> None:
    """Its turn is over: it finds the entries again."""
    router(client)
    ahead = IngressAhead(client)
    assert ahead.is_mine()
    add(client, "poison", FAR)
    [entries] = ahead.after(b"0-0", lambda: 10)
    found = ahead.received(entries)

    Renumbering(client).step()

    with pytest.raises(NotLeader):
        ahead.hand_over(routing_result(found), found[0].entry_id)
    assert waiting(client) == [b"poison"]


def test_many_entries_are_added_again_in_their_order(client: redis.Redis) -> None:
    """More than one call of the script moves; poison behind poison changes nothing."""
    router(client)
    expected = [b"e%d" % number for number in range(7000)]
    for part in (expected[:5000], expected[5000:]):
        pipeline = client.pipeline(transaction=False)
        for number, value in enumerate(part):
            pipeline.xadd(keys.EVENTS, {"event": value}, id=f"{9999999999999 + number}-0")
        pipeline.execute()
        Renumbering(client).step()

    assert waiting(client) == expected
    assert not client.exists(keys.EVENTS_ASIDE)
    assert [one for one in client.keys("siem:events:aside*") if one] == []


def test_an_entry_of_many_fields_is_no_obstacle(client: redis.Redis) -> None:
    """The event counts; an entry without one keeps a part, to be a dead letter."""
    ingress = router(client)
    fields: dict[Any, Any] = {f"f{number}": "x" for number in range(20_000)}
    client.xadd(keys.EVENTS, fields | {"event": "named"}, id=FAR)
    client.xadd(keys.EVENTS, fields, id=GREATEST)

    Renumbering(client).step()

    first, second = ingress.read(10, 1)
    assert first.raw == b"named"
    assert second.raw is None
    assert second.fields[:2] == [b"f0", b"x"]


def test_honest_ids_are_left_alone(client: redis.Redis) -> None:
    """Also those a little ahead, as after a failover to a server whose clock is late."""
    router(client)
    soon = f"{round(time.time() * 1000) + 20_000}-0".encode()
    add(client, "soon", soon.decode())
    Renumbering(client).step()

    assert counters(client)["renumbered"] == 0
    assert ingress_ids(client).repaired_ms is None
    entries: Any = client.xrange(keys.EVENTS)
    assert [entry_id for entry_id, _ in entries] == [soon]


def test_what_was_read_a_little_ahead_of_the_clock_hides_nothing(client: redis.Redis) -> None:
    """The group of the new stream gives out what got a lower id than the last one of the old stream."""
    ingress = router(client)
    add(client, "soon", f"{round(time.time() * 1000) + 20_000}-0")
    assert ingress.hand_over(routing_result(ingress.read(10, 1)))
    add(client, "poison", FAR)

    Renumbering(client).step()
    add(client, "afterwards")

    assert names(ingress.read(10, 1)) == [b"poison", b"afterwards"]


class LaterReader(GroupReader):
    """Makes the groups although they are there by then."""

    def make_groups(self) -> None:
        """Do so."""
        self._make_groups()


def test_a_group_that_is_there_keeps_the_ids_of_its_stream(client: redis.Redis) -> None:
    """Of two routers that begin at once, the later one finds the group of the earlier one in use."""
    ingress = router(client)
    add(client, "soon", f"{round(time.time() * 1000) + 20_000}-0")
    assert ingress.hand_over(routing_result(ingress.read(10, 1)))

    LaterReader(client, [keys.EVENTS], keys.ROUTER_GROUP, "later", 30).make_groups()
    add(client, "afterwards")

    assert names(ingress.read(10, 1)) == [b"afterwards"]


def test_what_nobody_holds_is_given_out_again(client: redis.Redis) -> None:
    """A consumer that is deleted by hand leaves entries that the old group would not give out."""
    router(client, "deleted")
    add(client, "left")
    assert names(Ingress(client, "deleted", 30).read(10, 1)) == [b"left"]
    client.xgroup_delconsumer(keys.EVENTS, keys.ROUTER_GROUP, "deleted")
    add(client, "poison", FAR)

    Renumbering(client).step()

    other = Ingress(client, "other", 30)
    assert [*names(other.read(10, 1)), *names(other.read(10, 1))] == [b"left", b"poison"]


@pytest.mark.parametrize("false", [GREATEST, FAR, "1-1"])
def test_no_time_comes_from_an_id_that_no_clock_gave(client: redis.Redis, false: str) -> None:
    """Neither 1970 nor 2286 is when it was received, nor since when it waits."""
    # No router has made a group yet, which would shut out the past.
    add(client, "false", false)
    signs = RedisStats(client).of_fleet()
    [arrival] = [one for _ in range(2) for one in Ingress(client, "router", 30).read(10, 1)]

    assert signs.to_route.entries == 1
    assert signs.to_route.seconds(signs.now_ms) == 0
    assert is_now(arrival.published_ms)


def test_nobody_chooses_an_id_of_the_past(client: redis.Redis) -> None:
    """From the first read on, and behind every mending."""
    router(client)
    for _ in range(2):
        with pytest.raises(redis.ResponseError, match="equal or smaller"):
            add(client, "past", "1-1")
        add(client, "poison", GREATEST)
        Renumbering(client).step()
        client.xtrim(keys.EVENTS, maxlen=0, approximate=False)


def test_a_sweeper_mends_although_another_one_has_the_lock(client: redis.Redis) -> None:
    """That may be one of the release before, which does not know of it."""
    ingress = router(client)
    client.set(keys.SWEEPER_LOCK, "another", ex=60)
    add(client, "poison", GREATEST)

    assert Sweepers(client).sweeper().step() == 0
    add(client, "afterwards")
    assert names(ingress.read(10, 1)) == [b"poison", b"afterwards"]


@pytest.mark.parametrize("name", [keys.EVENTS_ASIDE, keys.COUNTERS, keys.DISPLACED])
def test_what_is_of_a_wrong_type_ends_no_sweep(client: redis.Redis, name: str) -> None:
    """The sweeper's first step is to bring the ids back, and its last one to tell what was moved away."""
    ingress = router(client)
    add(client, "poison", FAR)
    client.delete(name)
    client.set(name, "by hand")
    fleet = Sweepers(client)
    subscribe(client, "a")
    append(client, "a", [["e"]])

    assert fleet.sweeper().step() == 1
    assert names(ingress.read(10, 1)) == [b"poison"]
    assert client.get(f"siem:displaced:{name}") == b"by hand"


def test_what_is_no_stream_among_those_moved_aside_is_dropped(client: redis.Redis) -> None:
    """Those behind it are added again."""
    ingress = router(client)
    client.xadd(f"{keys.EVENTS_ASIDE}:2", {"event": b"aside"})
    client.set(f"{keys.EVENTS_ASIDE}:1", "by hand")
    client.rpush(keys.EVENTS_ASIDE, f"{keys.EVENTS_ASIDE}:1", f"{keys.EVENTS_ASIDE}:2", "siem:never", "x" * 9)
    client.set("x" * 9, "by hand")
    for _ in range(4):
        Renumbering(client).step()

    assert names(ingress.read(10, 1)) == [b"aside"]
    assert not client.exists(keys.EVENTS_ASIDE)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet of which nothing runs."""
    with Fleet(tmp_path) as fleet:
        yield fleet


@pytest.mark.slow
def test_a_fleet_mends_itself_and_tells(own: Fleet) -> None:
    """Within seconds, in the log, in `siem redis check`, and without losing what waits."""
    with HecReceiver() as splunk:
        own.integrate(splunk.url)
        own.start()
        for number, poison in enumerate((FAR, GREATEST)):
            add(own.client, json.dumps(denial(f"poison-{number}")), poison)

            def is_taken(event_id: str = f"after-{number}") -> bool:
                try:
                    return is_now(int(add(own.client, json.dumps(denial(event_id))).partition(b"-")[0]))
                except redis.ResponseError:
                    return False

            wait_until(is_taken, "the intake goes on")
        rows = own.settled(4)
        checks = {
            one["name"]: one for one in json.loads(own.siem("redis", "check", "--json").stdout)["items"]
        }

        assert {"poison-0", "after-0", "poison-1", "after-1"} <= {row.event_id for row in rows}
        assert all(is_now(row.published_ms) for row in rows)
        assert own.log("router").count("ahead of the clock of Redis") == 1
        assert checks["ids"]["standing"] == "warning"
        assert GREATEST in checks["ids"]["words"]
