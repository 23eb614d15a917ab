"""Fills a ledger with deliveries, by the recorder's own function: the tables may be any release's.

The deliveries are those of a month, in the order in which they came, of four integrations. One of each batch
was delivered by a second request, and so has a row of its own.
"""

import random
import time
from collections.abc import Iterator

from sqlalchemy import Engine

from worker.ledger.recording import record_entries
from worker.model.deliveries import Assurance, EventTrace, Outcome, Status
from worker.model.events import EventType

#: Events of an entry, as of a full batch; entries of a transaction, as of a busy recorder; of filling.
BATCH, TRANSACTION, LARGE_TRANSACTION = 500, 64, 200
MONTH_MS = 30 * 86_400_000
#: Whose deliveries they are.
INTEGRATIONS = tuple(f"int_{number:016x}" for number in range(4))
_TYPES = [kind.value for kind in EventType]

Entries = list[tuple[str, list[Outcome]]]


def fill(engine: Engine, rows: int) -> None:
    """Record so many deliveries, rounded up to whole batches, the oldest a month old."""
    batches = -(-rows // BATCH)
    now_ms = time.time_ns() // 1_000_000
    first = now_ms - MONTH_MS
    for begin in range(0, batches, LARGE_TRANSACTION):
        numbers = range(begin, min(batches, begin + LARGE_TRANSACTION))
        settled = {one: first + MONTH_MS * one // batches for one in numbers}
        record(engine, [entry(one, settled[one], seed="fill") for one in numbers])


def record(engine: Engine, entries: Entries) -> None:
    """Write the entries of the outcomes in one transaction, as a recorder does."""
    record_entries(engine, entries, [])


def transactions(count: int, seed: str) -> Iterator[Entries]:
    """Make what a busy recorder writes at once, so many times."""
    now_ms = time.time_ns() // 1_000_000
    for number in range(count):
        numbers = range(number * TRANSACTION, (number + 1) * TRANSACTION)
        # One after the other, as requests end.
        yield [entry(one, now_ms + one, seed) for one in numbers]


def entry(number: int, settled_ms: int, seed: str) -> tuple[str, list[Outcome]]:
    """Make an entry of the outcomes: a batch that was delivered at once; its number is that of its place."""
    dice = random.Random(f"{seed}-{number}")
    traces = [
        EventTrace(
            f"evt_{dice.randbytes(16).hex()}",
            _TYPES[place % len(_TYPES)],
            settled_ms - 12,
            settled_ms - 8,
            1 if place else 2,
            dice.randbytes(16).hex(),
        )
        for place in range(BATCH)
    ]
    integration = INTEGRATIONS[number % len(INTEGRATIONS)]
    outcome = Outcome(integration, Status.DELIVERED, settled_ms, None, None, traces, 200, Assurance.ACCEPTED)
    return f"{settled_ms}-{number}", [outcome]


def event_of(number: int) -> str:
    """Return the id of a plain delivery of this batch, as `fill` has made it."""
    _, [outcome] = entry(number, MONTH_MS, "fill")
    return outcome.events[-1].id
