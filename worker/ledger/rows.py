"""Turns what the broker recorded into rows of the ledger: pure, and quick, for it sees every event.

Input: stream entries with outcomes or a dead letter. Output: tuples in the order of the columns of
their tables in `schema.py`.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from worker.model.deliveries import Cause, DeadLetter, EventTrace, Failure, Outcome, Status
from worker.model.histograms import LATE, LATENCY_BUCKETS, bounds_in_ms
from worker.model.outcomes import content_of, key_of_reused
from worker.model.untrusted_text import shortened

#: Errors and hints are cut to this many characters, the mark that says so included.
LONGEST = 500


def storable(text: str) -> str:
    """Return the text with a replacement character for NUL, which no text of PostgreSQL may hold."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def storable_prose(text: str) -> str:
    """Return storable text of at most 500 characters, without lone surrogates."""
    return storable(shortened(text, LONGEST)).encode(errors="replace").decode()


Row = tuple[Any, ...]

_MINUTE_MS = 60_000
_DAY_MS = 86_400_000
_SEQUENCE_BITS = 20

#: The bounds of the buckets in which latencies are counted; the last bucket has none.
LATENCY_BOUNDS_MS = bounds_in_ms(LATENCY_BUCKETS)
[LATE_MS] = bounds_in_ms([LATE])
#: Where settlements of a status are counted. A later release may know further states.
_DELIVERED, _RETRIED, _DEAD = range(3)
_COUNTED: Mapping[str, int] = {
    Status.DELIVERED: _DELIVERED,
    Status.RETRYING: _RETRIED,
    Status.DEAD: _DEAD,
}

#: Where a delivery's row holds its latency, and its version.
_LATENCY, _VERSION, _CONTENT = 12, 14, 16
#: Where the first bucket of latencies stands in the row of a total; their sum is last.
_BUCKETS_FROM = 4


def version_of(entry_id: str) -> int:
    """Return a number that grows with a stream's entries; fits 63 bits until the year 2248."""
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds) << _SEQUENCE_BITS | min(int(sequence), (1 << _SEQUENCE_BITS) - 1)


class SettlementRows(NamedTuple):
    """Rows of settlements, by table.

    A delivery may occur several times, with different versions; all else occurs once, and what is no delivery
    or minute is sorted by its key.
    """

    deliveries: list[Row]
    #: For `minute_counts`.
    minutes: list[Row]
    #: For `delivery_totals`.
    totals: list[Row]
    #: For `failure_totals`.
    failures: list[Row]
    #: Of what was delivered late, each as in `deliveries`.
    late: list[Row]


def settlement_rows(
    entries: Mapping[str, list[Outcome]],
    set_apart: Callable[[Outcome, int], list[EventTrace]] = lambda outcome, _: outcome.events,
) -> SettlementRows:
    """Return the rows of these entries, and what they add up to.

    `set_apart` takes an outcome and its version, and returns the events of it that get a row of their own.
    """
    rows: list[Row] = []
    late: list[Row] = []
    counts = _Counts()
    for entry_id, outcomes in entries.items():
        version = version_of(entry_id)
        for outcome in outcomes:
            rows += delivery_rows(outcome, version, set_apart(outcome, version))
            settled_ms = outcome.settled_ms
            took = [
                settled_ms - event.published_ms if settled_ms > event.published_ms else 0
                for event in outcome.events
            ]
            if counts.add(outcome, took) > LATE_MS:
                settled = delivery_rows(outcome, version, outcome.events)
                late += [row for row in settled if row[_LATENCY] > LATE_MS]
    return SettlementRows(rows, counts.minute_rows(), counts.total_rows(), counts.failure_rows(), late)


def without_latencies(totals: Iterable[Row], deliveries: Iterable[Row]) -> list[Row]:
    """Return these rows for `delivery_totals` without the latencies of these deliveries, which they hold."""
    changed = {total[0]: list(total) for total in totals}
    for row in deliveries:
        total, latency_ms = changed[row[1]], row[_LATENCY]
        total[_BUCKETS_FROM + bisect_left(LATENCY_BOUNDS_MS, latency_ms)] -= 1
        total[-1] -= latency_ms
    return [tuple(total) for total in changed.values()]


class _Counts:
    """What settlements add up to."""

    def __init__(self) -> None:
        # Delivered, retried, dead; then the sum and the longest of the latencies.
        self._minutes: dict[tuple[str, int], list[int]] = {}
        # The first three; then latencies by bucket, and their sum.
        self._totals: dict[str, list[int]] = {}
        self._failures: Counter[tuple[str, str, str]] = Counter()

    def add(self, outcome: Outcome, latencies: list[Any]) -> int:
        """Add one settlement; return the longest of its latencies, 0 if it is no delivery."""
        integration_id = storable(outcome.integration_id)
        count, place = len(latencies), _COUNTED.get(outcome.status)
        minute = (integration_id, outcome.settled_ms - outcome.settled_ms % _MINUTE_MS)
        tally = self._minutes.setdefault(minute, [0, 0, 0, 0, 0])
        total = self._totals.setdefault(integration_id, [0] * (4 + len(LATENCY_BOUNDS_MS) + 1))
        if not count or place is None or (place == _RETRIED and not outcome.sent):
            return 0
        tally[place] += count
        total[place] += count
        if place != _DELIVERED:
            _, code, *_ = finding_columns(outcome.failure)
            self._failures[integration_id, outcome.status, code or ""] += count
            return 0
        seconds = sum(latencies)
        ordered = sorted(latencies)
        longest: int = ordered[-1]
        tally[3] += seconds
        tally[4] = max(tally[4], longest)
        total[-1] += seconds
        # Of five hundred latencies, a dozen searches are far cheaper than one for each.
        ends = [0, *(bisect_right(ordered, bound) for bound in LATENCY_BOUNDS_MS), count]
        for bucket, (start, end) in enumerate(pairwise(ends), 3):
            total[bucket] += end - start
        return longest

    def minute_rows(self) -> list[Row]:
        """Return rows for `minute_counts`."""
        return [(*minute, *tally) for minute, tally in self._minutes.items()]

    def total_rows(self) -> list[Row]:
        """Return rows for `delivery_totals`."""
        return [(one, *total) for one, total in sorted(self._totals.items())]

    def failure_rows(self) -> list[Row]:
        """Return rows for `failure_totals`."""
        return [(*failure, count) for failure, count in sorted(self._failures.items())]


def newest_only(rows: list[Row]) -> list[Row]:
    """Return one row for each delivery, sorted by key: of the highest version, and there the first.

    Events of one id are one delivery unless they are known to have different contents.
    """
    contents: dict[Row, str | None] = {}
    newest: dict[tuple[Row, str | None], Row] = {}
    for row in sorted(rows, key=_version):
        contents[row[:2]] = contents.get(row[:2]) or row[_CONTENT]
    for row in sorted(rows, key=_version, reverse=True):
        content = row[_CONTENT] or contents[row[:2]]
        newest.setdefault((row[:2], content), (*row[:_CONTENT], content))
    return sorted(newest.values(), key=lambda row: (*row[:2], row[_VERSION]))


def first_contents(rows: list[Row]) -> list[Row]:
    """Return one row for each id and integration, sorted by key: of rows in this order, the first."""
    first: dict[Row, Row] = {}
    for row in rows:
        first.setdefault(row[:2], row)
    return list(first.values())


def with_other_content(rows: list[Row], contents: Mapping[Row, str | None]) -> list[Row]:
    """Return those rows of which the ledger has another content under their key, under a key of their own.

    `contents` are those of the ledger, by event and integration.
    """
    return [
        (key_of_reused(row[0], row[_CONTENT]), *row[1:])
        for row in rows
        if row[_CONTENT] and (contents.get(row[:2]) or row[_CONTENT]) != row[_CONTENT]
    ]


def dead_letter_rows(entries: Iterable[tuple[str, DeadLetter]]) -> list[Row]:
    """Return rows for `dead_letters`, all but the columns that say what was done about it later."""
    return [row for entry_id, letter in entries for row in _letter_rows(entry_id, letter)]


def delivery_rows(outcome: Outcome, version: int, events: Iterable[EventTrace]) -> list[Row]:
    """Return rows for `deliveries` of these events of an outcome."""
    integration_id = storable(outcome.integration_id)
    status, settled, retry_at = outcome.status, outcome.settled_ms, outcome.retry_at_ms
    _, code, error, hint = finding_columns(outcome.failure)
    http_status = outcome.http_status
    delivered = status == Status.DELIVERED
    assurance = outcome.assurance if delivered else None
    return [
        (
            event.id if "\0" not in event.id else storable(event.id),
            integration_id,
            event.type,
            status,
            event.attempts,
            http_status,
            code,
            error,
            hint,
            event.time_ms,
            event.published_ms,
            settled,
            (settled - event.published_ms if settled > event.published_ms else 0) if delivered else None,
            retry_at,
            version,
            assurance,
            event.content or None,
        )
        for event in events
    ]


def _version(row: Row) -> int:
    version: int = row[_VERSION]
    return version


def _letter_rows(entry_id: str, letter: DeadLetter) -> Iterable[Row]:
    http_status, code, error, hint = finding_columns(letter.failure)
    integration_id = _storable_or_null(letter.integration_id)
    dead_ms = _death_ms(entry_id, letter.dead_ms)
    for place, (event, attempts) in enumerate(zip(letter.events, letter.attempts, strict=True)):
        yield (
            f"{entry_id}-{place}",
            integration_id,
            _storable_or_null(event.id),
            _storable_or_null(event.type),
            letter.cause,
            code,
            error,
            hint,
            http_status,
            attempts,
            event.raw,
            event.time_ms,
            event.published_ms,
            dead_ms,
            None if letter.cause == Cause.UNREADABLE else content_of(event.raw),
            _storable_or_null(letter.tenant_id),
        )


def _death_ms(entry_id: str, stated_ms: int) -> int:
    """Return when it died; where that is days before its entry came, a clock was wrong, and the entry counts.

    Ids of entries never go back, whatever the clock of Redis does; and age decides when a letter is pruned.
    """
    entry_ms = int(entry_id.partition("-")[0])
    return entry_ms if entry_ms - stated_ms > _DAY_MS else stated_ms


def finding_columns(failure: Failure | None) -> tuple[int | None, str | None, str | None, str | None]:
    """Return HTTP status, code, sentence and hint, as the ledger stores them; four times None without one."""
    if failure is None:
        return None, None, None, None
    return (
        failure.http_status,
        storable_prose(failure.code),
        storable_prose(failure.message),
        storable_prose(failure.hint),
    )


def _storable_or_null(text: str | None) -> str | None:
    return storable(text) if text else None
