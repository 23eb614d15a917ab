"""Writes what the broker recorded into the ledger: deliveries, dead letters, counts, parked events.

Comes in: entries of the streams of outcomes, of dead letters and of what was parked. Goes out: rows, in
one transaction, in which integrations whose destination is gone for good are switched off as well.
Recording an entry again changes nothing, counts included, whichever recorder does it, and however often.
"""

import time
from collections.abc import Sequence
from itertools import chain

from sqlalchemy import Connection, Engine

from worker.ledger.answers import Recorded
from worker.ledger.bulk import COUNTS, DEAD_LETTERS, SETTLEMENTS, claim_entries, write_rows
from worker.ledger.engine import writing
from worker.ledger.parked import keep
from worker.ledger.rows import Row, dead_letter_rows, newest_only, settlement_rows
from worker.ledger.switching import switch_off_gone
from worker.model.deliveries import DeadLetter, Outcome
from worker.model.parking import ParkedChunk

_OUTCOMES = "o:"
_DEAD = "d:"
_PARKED = "p:"


def record(
    engine: Engine,
    outcomes: Sequence[tuple[str, list[Outcome]]],
    dead: Sequence[tuple[str, DeadLetter]],
    parked: Sequence[tuple[str, ParkedChunk]] = (),
) -> Recorded:
    """Write the entries that are not written yet, each named by its id in its stream ("ms-seq").

    Says how many settlements and dead letters were new, and what was switched off. Entries may come in any
    order: of the settlements of one delivery, the one that the stream got last is kept. Raises
    LedgerUnavailable or SchemaOutdated, and then has written nothing.
    """
    settled, letters = dict(outcomes), dict(dead)
    chunks = dict(parked)
    names = [
        *(_OUTCOMES + entry for entry in settled),
        *(_DEAD + entry for entry in letters),
        *(_PARKED + entry for entry in chunks),
    ]
    with writing(engine) as connection:
        fresh = claim_entries(connection, names, time.time_ns() // 1_000_000)
        fresh_outcomes = {entry: settled[entry] for entry in settled if _OUTCOMES + entry in fresh}
        rows, counts = settlement_rows(fresh_outcomes)
        dead_rows = dead_letter_rows(
            [(entry, letter) for entry, letter in letters.items() if _DEAD + entry in fresh]
        )
        _write(connection, rows, counts, dead_rows)
        parked_at_ms = time.time_ns() // 1_000_000
        keep(connection, {one: chunks[one] for one in chunks if _PARKED + one in fresh}, parked_at_ms)
        off = switch_off_gone(connection, chain.from_iterable(fresh_outcomes.values()))
    return Recorded(len(rows) + len(dead_rows), off)


def _write(connection: Connection, rows: list[Row], counts: list[Row], dead_rows: list[Row]) -> None:
    """Write all rows; on PostgreSQL in the order of their keys, so that two recorders cannot deadlock."""
    if connection.dialect.name == "postgresql":
        rows, counts, dead_rows = newest_only(rows), sorted(counts), sorted(dead_rows, key=_key)
    write_rows(connection, SETTLEMENTS, rows)
    write_rows(connection, COUNTS, counts)
    write_rows(connection, DEAD_LETTERS, dead_rows)


def _key(row: Row) -> str:
    key: str = row[0]
    return key
