"""Parked events in the ledger: recorded once, given back oldest first, forgotten on request."""

from sqlalchemy import Engine, text

from worker.ledger.parked import HEAVIEST_PAGE, LARGEST_PAGE, ParkedStore, ParkedTotals
from worker.ledger.pruning import PrunableKind, prune_rows
from worker.ledger.recording import record_entries
from worker.model.parking import BacklogRoom, ParkedChunk

NOON_MS = 1_795_000_000_000
PLENTY = BacklogRoom(1_000_000, 1 << 30, ())


def chunk(number: int, *, integration: str = "a", urgent: bool = True, size: int = 20) -> ParkedChunk:
    """Make a chunk of two events, the later the higher its number."""
    return ParkedChunk(integration, urgent, NOON_MS + number << 20 | 1, 2, size, b"events %d" % number)


def keep(engine: Engine, *chunks: ParkedChunk, first: int = 1) -> None:
    """Record chunks as a recorder does, under the names 7-1, 7-2 and so on."""
    record_entries(engine, [], [], [(f"7-{number}", one) for number, one in enumerate(chunks, first)])


def test_a_chunk_is_recorded_once(engine: Engine) -> None:
    """The recorder that comes again after its death changes nothing, even once the chunk has gone back."""
    store = ParkedStore(engine)
    keep(engine, chunk(1))
    keep(engine, chunk(1))
    assert store.counts() == {"a": ParkedTotals(2, NOON_MS + 1)}
    store.forget(["7-1"])
    keep(engine, chunk(1))

    assert store.counts() == {}


def test_the_oldest_come_first_and_the_urgent_before_them(engine: Engine) -> None:
    """By their place in the backlog, whatever the order in which they were recorded."""
    store = ParkedStore(engine)
    early, late = (chunk(number, urgent=False) for number in (1, 2))
    keep(engine, chunk(4), late, chunk(3), chunk(1, integration="b"), early)
    first = store.oldest("a", PLENTY)
    store.forget([name for name, _ in first])
    second = store.oldest("a", PLENTY)

    assert first == [("7-3", chunk(3)), ("7-1", chunk(4))]
    assert second == [("7-5", early), ("7-2", late)]
    assert store.counts() == {"a": ParkedTotals(4, NOON_MS + 1), "b": ParkedTotals(2, NOON_MS + 1)}


def test_no_more_comes_than_there_is_room_for(engine: Engine) -> None:
    """Counted in events and in bytes; one chunk comes where there is any room at all, or none would ever."""
    store = ParkedStore(engine)
    keep(engine, *(chunk(number) for number in range(5)))

    assert len(store.oldest("a", BacklogRoom(6, 1000, ()))) == 3
    assert len(store.oldest("a", BacklogRoom(1000, 45, ()))) == 2
    assert len(store.oldest("a", BacklogRoom(1, 1, ()))) == 1
    assert store.oldest("a", BacklogRoom(0, 1000, ())) == []
    assert store.oldest("b", PLENTY) == []


def test_a_page_stays_small_enough_for_redis(engine: Engine) -> None:
    """In chunks and in bytes, however much room there is."""
    store = ParkedStore(engine)
    keep(engine, *(chunk(number) for number in range(LARGEST_PAGE + 5)))
    keep(engine, *(chunk(number, integration="b", size=HEAVIEST_PAGE // 2) for number in range(3)), first=900)

    assert len(store.oldest("a", PLENTY)) == LARGEST_PAGE
    assert len(store.oldest("b", PLENTY)) == 2


def test_what_has_rested_for_too_long_is_forgotten(engine: Engine) -> None:
    """By when it was parked, a few chunks at a time."""
    store = ParkedStore(engine)
    keep(engine, chunk(1), chunk(2), chunk(3))
    with engine.begin() as connection:
        connection.execute(text("UPDATE parked SET parked_ms = :then"), {"then": NOON_MS})
    steps = [prune_rows(engine, PrunableKind.PARKED, NOON_MS + later, 2).count for later in (0, 1, 1, 1)]

    assert steps == [0, 2, 1, 0]
    assert store.counts() == {}
