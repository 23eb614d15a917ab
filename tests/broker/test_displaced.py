"""A stream that is overwritten loses what was in it, but nothing that comes after."""

from collections.abc import Callable
from typing import Any

import pytest
import redis

from tests.broker.sending import TIMING, append, claim, delivered, event, ids, subscribe
from tests.logged import fields_of
from worker.broker import keys
from worker.broker.backlog import Backlog
from worker.broker.ingress import Ingress, RoutedChunk, RoutingResult
from worker.broker.ingress_ahead import IngressAhead
from worker.broker.oom import write_when_full
from worker.broker.outcomes import Outcomes
from worker.broker.packing import pack_chunk
from worker.broker.parking import Parking
from worker.broker.replaying import Replaying
from worker.broker.unrecordable import Unrecordable
from worker.model.deliveries import DeadLetter, Failure
from worker.model.failures import FailureCode
from worker.model.log_events import REDIS_KEY_DISPLACED
from worker.model.parking import BacklogRoom, Cap, ParkedChunk
from worker.model.replays import Page

Way = Callable[[redis.Redis], None]
LANES = (keys.urgent("a"), keys.bulk("a"))


def overwrite(client: redis.Redis, *streams: str) -> None:
    """Put text where streams were."""
    for stream in streams:
        client.set(stream, "by hand")


def routing_result(entry: bytes, *, dead: bool = False) -> RoutingResult:
    """Hand one entry over to integration `a`, or make a dead letter of it."""
    events = [event("e1")]
    if dead:
        failure = Failure(FailureCode.INVALID_EVENT, "it is no JSON", "publish JSON")
        return RoutingResult(dead=[DeadLetter(None, "refused", failure, 1, events, [0])], done=[entry])
    return RoutingResult([RoutedChunk(["a"], urgent=True, events=events)], done=[entry])


def published(client: redis.Redis) -> bytes:
    """Let one event wait in the ingress."""
    entry: Any = client.xadd(keys.EVENTS, {"event": b"{}"})
    return bytes(entry)


def by_a_router(client: redis.Redis) -> None:
    """Hand over in turn."""
    ingress = Ingress(client, "test", 30)
    published(client)
    [arrival] = ingress.read(10, 1) or ingress.read(10, 1)
    assert ingress.hand_over(routing_result(arrival.entry_id))


def by_a_router_that_was_late(client: redis.Redis) -> None:
    """Hand over by the script that looks whether the entries are still held."""
    ingress = Ingress(client, "test", 0)
    published(client)
    [arrival] = ingress.read(10, 1) or ingress.read(10, 1)
    assert ingress.hand_over(routing_result(arrival.entry_id))


def ahead_of_the_others(client: redis.Redis) -> None:
    """Hand over out of turn."""
    Ingress(client, "test", 30).read(1, 1)
    ahead = IngressAhead(client)
    assert ahead.is_mine()
    entry = published(client)
    assert ahead.hand_over(routing_result(entry), entry) is None


def when_redis_is_full(client: redis.Redis) -> None:
    """Append by the script that needs no memory to begin with."""
    write_when_full(
        client, [("XADD", LANES[0], "*", "n", 1, "bytes", 10, "events", pack_chunk([event("e1")]))]
    )


def by_a_replay(client: redis.Redis) -> None:
    """Hand over a page of dead letters."""
    with Replaying(client).hand() as hand:
        page = Page("rpl_1", 1, ["1"], [], 1)
        assert hand.over(page, [RoutedChunk(["a"], urgent=True, events=[event("e1")])])


def by_unparking(client: redis.Redis) -> None:
    """Bring a parked chunk back."""
    chunk = ParkedChunk("a", urgent=True, position=1, events=1, size=10, packed=pack_chunk([event("e1")]))
    assert Parking(client, Cap(10, 1000)).unpark(BacklogRoom(10, 1000, ()), [("1", chunk)])


@pytest.mark.parametrize(
    "way",
    [
        by_a_router,
        by_a_router_that_was_late,
        ahead_of_the_others,
        when_redis_is_full,
        by_a_replay,
        by_unparking,
    ],
)
def test_an_event_gets_into_a_backlog_that_was_overwritten(client: redis.Redis, way: Way) -> None:
    """By whichever way it comes; what was put there by hand is moved away, not thrown away."""
    subscribe(client, "a")
    overwrite(client, *LANES)
    way(client)

    batch = claim(Backlog(client, TIMING), "a").batch
    assert ids(batch) == ["e1"]
    assert client.get(f"siem:displaced:{LANES[0]}") == b"by hand"
    assert client.xlen(keys.EVENTS) == 0


def test_it_is_told(client: redis.Redis, caplog: pytest.LogCaptureFixture) -> None:
    """Which key it was, and where to find what it held."""
    subscribe(client, "a")
    overwrite(client, LANES[0])
    by_a_router(client)

    assert {"key": LANES[0], "place": f"siem:displaced:{LANES[0]}"} in fields_of(caplog, REDIS_KEY_DISPLACED)


def test_an_invalid_event_gets_to_the_recorder(client: redis.Redis) -> None:
    """The stream of dead letters was overwritten meanwhile."""
    ingress, outcomes = Ingress(client, "test", 30), Outcomes(client, "test", 30)
    published(client)
    [arrival] = ingress.read(10, 1) or ingress.read(10, 1)
    overwrite(client, keys.DEAD_LETTERS)
    assert ingress.hand_over(routing_result(arrival.entry_id, dead=True))

    outcomes.read(10, 1)
    assert len(outcomes.read(10, 1).dead) == 1


def test_a_batch_is_settled_although_its_lane_and_the_outcomes_were_overwritten(client: redis.Redis) -> None:
    """It is not sent again and again."""
    subscribe(client, "a")
    append(client, "a", [["e1", "e2"]])
    backlog = Backlog(client, TIMING)
    batch = claim(backlog, "a").batch
    overwrite(client, *LANES, keys.OUTCOMES, keys.DEAD_LETTERS)
    backlog.settle(batch, delivered(batch))

    assert client.xlen(keys.OUTCOMES) == 1


def test_an_overwritten_backlog_keeps_no_other_one_from_being_woken(client: redis.Redis) -> None:
    """Both are looked after by the same sweeper."""
    subscribe(client, "a", "b")
    append(client, "b", [["e1"]])
    overwrite(client, *LANES)

    assert [order.integration_id for order in Backlog(client, TIMING).wake(["a", "b"])] == ["b"]


def test_what_was_set_aside_gets_back(client: redis.Redis) -> None:
    """Although the stream that it belongs to was overwritten."""
    outcomes = Outcomes(client, "test", 30)
    client.xadd(keys.OUTCOMES, {"outcomes": b"\xc1"})
    outcomes.read(10, 1)
    outcomes.read(10, 1)
    unrecordable = Unrecordable(client)
    [one] = unrecordable.all()
    overwrite(client, keys.OUTCOMES)

    assert unrecordable.put_back(one)
    assert (client.xlen(keys.OUTCOMES), client.xlen(keys.UNRECORDABLE)) == (1, 0)
