"""Writes what the broker recorded into the ledger: deliveries, dead letters, counts, parked events.

Input: entries of the streams of outcomes, of dead letters and of what was parked. Output: rows, in
one transaction, in which integrations whose destination is gone for good are disabled as well.
Recording an entry again changes nothing, counts included, whichever recorder does it, and however often.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain

from sqlalchemy import Connection, Engine, exc

from worker.ledger.attempts import attempt_rows
from worker.ledger.batch_writing import moved_rows, set_apart, take_turn, write_batches
from worker.ledger.batches import Plain
from worker.ledger.bulk import (
    ATTEMPTS,
    COUNTS,
    DEAD_LETTERS,
    FAILURES,
    SETTLEMENTS,
    TOTALS,
    claim_entries,
    contents_of,
    write_rows,
)
from worker.ledger.driver_errors import is_about_data, ledger_unavailable, reason_of
from worker.ledger.engine import writing
from worker.ledger.integration_rows import disable_gone
from worker.ledger.parked import keep
from worker.ledger.replay_pages import deliveries_by_hand
from worker.ledger.results import Recorded
from worker.ledger.rows import (
    Row,
    dead_letter_rows,
    first_contents,
    newest_only,
    settlement_rows,
    with_other_content,
    without_latencies,
)
from worker.model.deliveries import Cause, DeadLetter, EventTrace, Failure, Outcome, Status
from worker.model.errors import DataRefused
from worker.model.events import QueuedEvent
from worker.model.failures import FailureCode
from worker.model.parking import ParkedChunk

_OUTCOMES = "o:"
_DEAD = "d:"
_PARKED = "p:"

#: What a probe writes; no stream has an entry of that id, and no integration or event is called so.
_PROBE = "0-0"
_NAME = "siem-probe"
_FINDING = Failure(FailureCode.WORKER_LOST, "a probe", "nothing is to do")
_OUTCOME = Outcome(_NAME, Status.DEAD, 1, _FINDING, None, [EventTrace(_NAME, "policy.deny", 1, 1, 1)])
_PLAIN = Outcome(_NAME, Status.DELIVERED, 1, None, None, [EventTrace(f"{_NAME}-2", "policy.deny", 1, 1, 1)])
_LETTER = DeadLetter(_NAME, Cause.REFUSED, _FINDING, 1, [QueuedEvent(_NAME, "policy.deny", 1, 1, b"{}")], [1])
_CHUNK = ParkedChunk(_NAME, urgent=True, position=1, events=1, size=2, packed=b"{}")


def record_entries(
    engine: Engine,
    outcomes: Sequence[tuple[str, list[Outcome]]],
    dead: Sequence[tuple[str, DeadLetter]],
    parked: Sequence[tuple[str, ParkedChunk]] = (),
    *,
    batches: bool = True,
) -> Recorded:
    """Write the entries that are not written yet, each named by its id in its stream ("ms-seq").

    Says how many settlements and dead letters were new, and what was disabled. Entries may come in any
    order: of the settlements of one delivery, the one that the stream got last is kept. Without `batches`,
    each delivery gets a row of its own: a process of an earlier release knows no others. Raises
    LedgerUnavailable or SchemaOutdated, DataRefused when the database complains of values in these entries,
    and then has written nothing.
    """
    with _as_refusal(engine), writing(engine) as connection:
        return _recorded(connection, dict(outcomes), dict(dead), dict(parked), batches=batches)


def probe(engine: Engine) -> None:
    """Write an entry of each kind and take all of it back, to see whether the ledger takes entries now.

    Raises what `record` raises.
    """
    with suppress(_TakenBack), _as_refusal(engine), writing(engine) as connection:
        entries = [_OUTCOME, _PLAIN]
        _recorded(connection, {_PROBE: entries}, {_PROBE: _LETTER}, {_PROBE: _CHUNK}, batches=True)
        raise _TakenBack


class _TakenBack(Exception):
    """The probe's transaction is to be rolled back."""


@contextmanager
def _as_refusal(engine: Engine) -> Iterator[None]:
    """Report what the database has against the values of an entry from what it has against any entry."""
    try:
        yield
    except exc.DBAPIError as error:
        if is_about_data(error):
            raise DataRefused(reason_of(error)) from error
        raise ledger_unavailable(engine, error) from error
    except exc.SQLAlchemyError as error:
        orig = error.orig if isinstance(error, exc.StatementError) else None
        if orig is not None and not isinstance(orig, exc.SQLAlchemyError):
            # A value that could not be encoded. Anything else is about the connection and its transaction.
            raise DataRefused(str(orig)) from error
        raise ledger_unavailable(engine, error) from error


def _recorded(
    connection: Connection,
    settled: dict[str, list[Outcome]],
    letters: dict[str, DeadLetter],
    chunks: dict[str, ParkedChunk],
    *,
    batches: bool,
) -> Recorded:
    names = [
        *(_OUTCOMES + entry for entry in settled),
        *(_DEAD + entry for entry in letters),
        *(_PARKED + entry for entry in chunks),
    ]
    now_ms = _stamp_ms([*settled, *letters, *chunks])
    fresh = claim_entries(connection, names, now_ms)
    fresh_outcomes = {entry: settled[entry] for entry in settled if _OUTCOMES + entry in fresh}
    plain: list[Plain] = []
    settled_rows = (
        settlement_rows(fresh_outcomes, partial(set_apart, plain))
        if batches
        else settlement_rows(fresh_outcomes)
    )
    totals = settled_rows.totals
    if settled_rows.late:
        totals = without_latencies(totals, deliveries_by_hand(connection, settled_rows.late))
    dead_rows = dead_letter_rows(
        [(entry, letter) for entry, letter in letters.items() if _DEAD + entry in fresh]
    )
    count = len(settled_rows.deliveries) + sum(len(one.events) for one in plain)
    take_turn(connection)
    rows = [*write_batches(connection, plain, now_ms), *settled_rows.deliveries]
    moved = moved_rows(connection, rows)
    _write(connection, [*moved, *rows], settled_rows.minutes, dead_rows)
    write_rows(connection, ATTEMPTS, sorted(attempt_rows(fresh_outcomes), key=_place))
    if chunks:
        keep(connection, {one: chunks[one] for one in chunks if _PARKED + one in fresh}, now_ms)
    # Late: recorders add to the same row of an integration, and each waits there for the one before it.
    write_rows(connection, TOTALS, totals)
    write_rows(connection, FAILURES, settled_rows.failures)
    off = disable_gone(connection, chain.from_iterable(fresh_outcomes.values()))
    return Recorded(count + len(dead_rows), off)


def _stamp_ms(entries: Iterable[str]) -> int:
    """Return the time of this host, or of Redis as the entries' ids say, whichever is later.

    Age decides when what is kept is pruned: a clock that is behind must not make it older than it is.
    """
    newest_ms = max((int(entry.partition("-")[0]) for entry in entries), default=0)
    return max(newest_ms, time.time_ns() // 1_000_000)


def _write(connection: Connection, rows: list[Row], counts: list[Row], dead_rows: list[Row]) -> None:
    """Write all rows; on PostgreSQL in the order of their keys, so that two recorders cannot deadlock."""
    if connection.dialect.name == "postgresql":
        counts, dead_rows = sorted(counts), sorted(dead_rows, key=_key)
        newest = newest_only(rows)
        rows = first_contents(newest)
        is_all = write_rows(connection, SETTLEMENTS, rows) == len(newest)
    else:
        newest = rows
        is_all = write_rows(connection, SETTLEMENTS, rows) == len(rows)
    if not is_all:
        _write_reused(connection, newest)
    write_rows(connection, COUNTS, counts)
    write_rows(connection, DEAD_LETTERS, dead_rows)


def _place(row: Row) -> Row:
    return row[:5]


def _write_reused(connection: Connection, rows: list[Row]) -> None:
    """Give a row of its own to what has the id of another event: what became of that one stays known."""
    others = with_other_content(rows, contents_of(connection, rows))
    write_rows(connection, SETTLEMENTS, newest_only(others))


def _key(row: Row) -> str:
    key: str = row[0]
    return key
