"""A backlog that passed its cap gives up its oldest events, and gets each of them back once."""

from typing import NamedTuple

import redis

from tests.broker.sending import TIMING, append, claim, delivered, ids, subscribe
from worker.broker import keys
from worker.broker.backlog import Backlog, Claim
from worker.broker.outcomes import Outcomes
from worker.broker.packing import unpack_chunk
from worker.broker.parking import Parking
from worker.model.parking import BacklogRoom, Cap, ParkedChunk

#: Events of the tests have ten bytes each.
CAP = Cap(events=10, size=1_000)


class Depth(NamedTuple):
    """How many events the backlog holds, how many are unclaimed, and their bytes."""

    events: int
    unclaimed: int
    size: int


def state(client: redis.Redis) -> Depth:
    """Return how deep the backlog is."""
    found = client.hmget(keys.state_key("a"), "backlog_events", "unclaimed_events", "unclaimed_bytes")
    return Depth(*(int(value or 0) for value in found))


def chunks(count: int, *, first: int = 0) -> list[list[str]]:
    """Name so many chunks of two events each."""
    return [[f"e{number}", f"e{number}'"] for number in range(first, first + count)]


def parked(client: redis.Redis) -> list[tuple[str, ParkedChunk]]:
    """Read what a recorder would record, and finish it."""
    outcomes = Outcomes(client, "test", 30)
    outcomes.read(100, 1)
    settled = outcomes.read(100, 1)
    if len(settled):
        outcomes.finish(settled)
    return settled.parked


def names(page: list[tuple[str, ParkedChunk]]) -> list[str]:
    """Name the events of a page."""
    return [event.id for _, chunk in page for event in unpack_chunk(chunk.packed)]


def test_the_oldest_are_parked_and_the_newest_stay(client: redis.Redis) -> None:
    """Down to nine tenths of the cap; the counts follow, and each chunk knows where it came from."""
    subscribe(client, "a", "b")
    append(client, "a", chunks(7))
    parking = Parking(client, CAP)

    assert parking.is_over(*state(client)[1:])
    assert (parking.park("a"), parking.park("a")) == (6, 0)
    assert not parking.is_over(*state(client)[1:])
    assert state(client) == Depth(events=8, unclaimed=8, size=80)
    page = parked(client)
    assert names(page) == ["e0", "e0'", "e1", "e1'", "e2", "e2'"]
    assert [(one.integration_id, one.urgent, one.events, one.size) for _, one in page] == [
        ("a", True, 2, 20)
    ] * 3
    assert [one.position for _, one in page] == sorted(one.position for _, one in page)
    assert client.xlen(keys.PARKED) == 0


def test_bytes_count_as_well(client: redis.Redis) -> None:
    """Few events that are large fill Redis too."""
    subscribe(client, "a")
    append(client, "a", chunks(5))
    parking = Parking(client, Cap(events=1000, size=50))

    assert parking.is_over(*state(client)[1:])
    assert parking.park("a") == 6
    assert state(client) == Depth(events=4, unclaimed=4, size=40)


def test_what_is_urgent_stays_as_long_as_there_is_anything_else(client: redis.Redis) -> None:
    """Bulk first, then the urgent lane's own oldest."""
    subscribe(client, "a")
    append(client, "a", chunks(6), urgent=True)
    append(client, "a", chunks(2, first=10), urgent=False)
    Parking(client, CAP).park("a")
    page = parked(client)

    assert names(page) == ["e10", "e10'", "e11", "e11'", "e0", "e0'", "e1", "e1'"]
    assert [one.urgent for _, one in page] == [False, False, True, True]


def test_what_a_slot_has_claimed_stays(client: redis.Redis) -> None:
    """It is under way, and settles as if nothing had happened beside it."""
    subscribe(client, "a", batch_events=4)
    append(client, "a", chunks(8))
    backlog = Backlog(client, TIMING)
    batch = claim(backlog, "a").batch
    Parking(client, CAP).park("a")
    backlog.settle(batch, delivered(batch))

    assert ids(batch) == ["e0", "e0'", "e1", "e1'"]
    assert names(parked(client))[0] == "e2"
    assert state(client) == Depth(events=8, unclaimed=8, size=80)


def test_they_come_back_in_order_and_behind_what_is_there(client: redis.Redis) -> None:
    """Once half of the cap is free, and not before."""
    subscribe(client, "a", batch_events=4)
    append(client, "a", chunks(7))
    parking, backlog = Parking(client, CAP), Backlog(client, TIMING)
    parking.park("a")
    page = parked(client)
    assert parking.room("a") == BacklogRoom(0, 0, ())
    batch = claim(backlog, "a").batch
    work = backlog.settle(batch, delivered(batch))
    room = parking.room("a")

    assert room == BacklogRoom(4, 710, ())
    assert parking.unpark(room, page[:2])
    assert parking.room("a") == BacklogRoom(0, 0, (page[0][0], page[1][0]))
    assert state(client) == Depth(events=8, unclaimed=8, size=80)
    order: list[str] = []
    works = [work]
    while client.xlen(keys.urgent("a")):
        work = works.pop(0)
        assert work is not None
        found = backlog.claim(work)
        assert isinstance(found, Claim)
        order += ids(found.batch)
        # On a busy machine a batch may take so long that a further slot is leased, which takes what is next.
        works += [found.further] if found.further else []
        works.append(backlog.settle(found.batch, delivered(found.batch)))
    assert order == ["e5", "e5'", "e6", "e6'", "e0", "e0'", "e1", "e1'"]


def test_one_who_slept_cannot_put_a_page_back_again(client: redis.Redis) -> None:
    """Redis knows the page that came last; who does not know it either is refused."""
    subscribe(client, "a")
    append(client, "a", chunks(7))
    parking = Parking(client, CAP)
    parking.park("a")
    page = parked(client)
    nothing_yet = BacklogRoom(10, 100, ())
    assert parking.unpark(nothing_yet, page)

    assert not parking.unpark(nothing_yet, page)
    assert state(client) == Depth(events=14, unclaimed=14, size=140)


def test_what_is_not_ours_in_the_stream_is_set_aside(client: redis.Redis) -> None:
    """A value was written to `siem:parked` by hand: a person finds it, and the recorder goes on."""
    outcomes = Outcomes(client, "test", 30)
    outcomes.read(1, 1)
    client.xadd(keys.PARKED, {"integration": "a", "lane": "urgent"})
    client.xadd(keys.PARKED, {"events": b"\xc1"})

    assert len(outcomes.read(10, 1)) == 0
    assert client.xlen(keys.UNRECORDABLE) == 2


def test_what_was_damaged_while_it_was_parked_becomes_dead_letters(client: redis.Redis) -> None:
    """The ledger's own copy comes back as it is, and is found out when it is claimed."""
    subscribe(client, "a")
    parking, backlog = Parking(client, CAP), Backlog(client, TIMING)
    damaged = ParkedChunk("a", urgent=True, position=1, events=2, size=20, packed=b"\xc1" * 40)
    assert parking.unpark(BacklogRoom(10, 1000, ()), [("1-1", damaged)])

    [order] = backlog.wake(["a"])
    assert backlog.claim(order) == "empty"
    outcomes = Outcomes(client, "test", 30)
    outcomes.read(10, 1)
    [(_, letter)] = outcomes.read(10, 1).dead
    assert (letter.cause, len(letter.events)) == ("unreadable", 2)
    assert state(client) == Depth(events=0, unclaimed=0, size=0)
