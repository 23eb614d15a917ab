"""Pages of a replay: which dead letters are sent next, which need no replay, and what came of them late.

Input: the letters of a page. Output: the digests of their events, and what is known of these.
"""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, func, select, update

from worker.ledger import redriving, replays
from worker.ledger.batch_reading import rows_of_events
from worker.ledger.bulk import LEDGER_TOTALS, write_rows
from worker.ledger.dead_letters import living, waiting
from worker.ledger.engine import chunks, reading, writing
from worker.ledger.replays import REPLAYED_EVENTS
from worker.ledger.rows import Row
from worker.ledger.schema import dead_letters, deliveries
from worker.ledger.schema import replays as table
from worker.model.deliveries import NOT_REPLAYABLE, Status
from worker.model.events import QueuedEvent
from worker.model.outcomes import content_of, event_id_of, key_of_reused
from worker.model.replays import REDRIVE, LetterState, Page, Replay, ReplayedLetter, ReplayState

_letter = dead_letters.c
_replay = table.c
_delivery = deliveries.c


def contents_of_letters(connection: Connection, rows: Sequence[Any]) -> dict[str, str]:
    """Return the digests of these letters' events; an earlier release has not noted them.

    Has none of a letter that was pruned since it was read, and without a digest.
    """
    unknown = [row.id for row in rows if row.content is None]
    wanted = select(_letter.id, _letter.payload).where(_letter.id.in_(unknown))
    found = {letter_id: content_of(payload) for letter_id, payload in connection.execute(wanted)}
    return found | {row.id: row.content for row in rows if row.content is not None}


def dealt_with(
    connection: Connection, replay: Replay, events: Collection[tuple[str, str]]
) -> set[tuple[str, str, str | None]]:
    """Return which of these events, each an id and a content, need no replay.

    Returns of each: id, the integration that has or will have got it, and content. Without a content, an
    earlier release noted its delivery: it is any event of this id.
    """
    ids = {event for event, _ in events}
    keys = [*ids, *(key_of_reused(*event) for event in events)]
    got = select(_delivery.event_id, _delivery.integration_id, _delivery.content).where(
        _delivery.event_id.in_(keys), _delivery.status == Status.DELIVERED
    )
    delivered = {(event_id_of(key), home, content) for key, home, content in connection.execute(got)}
    delivered |= {(row[0], row[1], row[-1]) for row in rows_of_events(connection, ids)}
    return delivered | _handed_over(connection, replay, ids)


def _handed_over(
    connection: Connection, replay: Replay, ids: Collection[str]
) -> set[tuple[str, str, str | None]]:
    """Return the events of these ids that pages before have sent, or found superseded."""
    # Not by the index of replays, which would lead past all that the pages before this handed over.
    of_replay = _letter.replay_id.concat("") == replay.id
    sent = select(_letter.id, _letter.event_id, _letter.integration_id, _letter.content)
    rows = connection.execute(sent.where(_letter.event_id.in_(list(ids)), of_replay)).all()
    contents = contents_of_letters(connection, rows)
    return {
        (row.event_id, replay.target_id or row.integration_id, contents[row.id])
        for row in rows
        if row.id in contents
    }


#: Bytes of events that one page should not exceed.
HEAVIEST_PAGE = 4 << 20


def next_page(
    engine: Engine, replay: Replay, most: int, closed: Collection[str] = ()
) -> tuple[list[ReplayedLetter], list[str]]:
    """Return up to `most` letters to hand over next, and the ids of letters that need not be.

    Letters of the integrations in `closed` are left for later. The oldest come first. Both lists are empty
    when nothing is left; else each page, once it was marked, makes way for the next.
    """
    with reading(engine) as connection:
        rows = _within_weight(_next_rows(connection, replay, most, closed))
        contents = contents_of_letters(connection, rows)
        superseded = [row.id for row in rows if row.id not in contents]
        rows = [row for row in rows if row.id in contents]
        done = dealt_with(connection, replay, {(row.event_id, contents[row.id]) for row in rows})
        wanted: dict[str, str] = {}
        for row in rows:
            home = replay.target_id or row.integration_id
            mine, unknown = (row.event_id, home, contents[row.id]), (row.event_id, home, None)
            if mine in done or unknown in done:
                superseded.append(row.id)
            else:
                done.add(mine)
                wanted[row.id] = home
        return _letters(connection, wanted), superseded


def mark_page(engine: Engine, page: Page) -> bool:
    """Note in the ledger what a page did; return False, and change nothing, when that stands there."""
    with writing(engine) as connection:
        counted = connection.execute(
            update(table)
            .where(_replay.id == page.replay_id, _replay.pages == page.number - 1)
            .values(
                pages=page.number,
                replayed=_replay.replayed + len(page.replayed),
                skipped=_replay.skipped + len(page.superseded),
            )
        )
        if not counted.rowcount:
            return False
        write_rows(connection, LEDGER_TOTALS, [(REPLAYED_EVENTS, len(page.replayed))])
        for ids, state in (
            (page.replayed, LetterState.REPLAYED),
            (page.superseded, LetterState.SUPERSEDED),
        ):
            # Whatever was done about a letter meanwhile: this is what became of it.
            change = update(dead_letters).where(_letter.id.in_(sorted(ids)))
            values = {"state": state, "state_ms": page.handed_ms, "replay_id": page.replay_id}
            connection.execute(change.values(values))
    return True


def _next_rows(connection: Connection, replay: Replay, most: int, closed: Collection[str]) -> list[Any]:
    conditions = [*waiting(replay.selection), _letter.cause.not_in(NOT_REPLAYABLE)]
    conditions.append(_letter.dead_ms <= replay.upto_ms)
    conditions.append(_letter.integration_id.is_not(None) if replay.target_id else living())
    if closed and not replay.target_id:
        conditions.append(_letter.integration_id.not_in(closed))
    columns = (_letter.id, _letter.event_id, _letter.integration_id, _letter.content)
    wanted = (
        select(*columns, func.length(_letter.payload))
        .where(*conditions)
        .order_by(_letter.dead_ms, _letter.id)
    )
    return list(connection.execute(wanted.limit(most)))


def _within_weight(rows: list[Any]) -> list[Any]:
    """Cut off what would make a page too heavy; one letter always fits."""
    weight = 0
    for place, (*_, length) in enumerate(rows):
        weight += length
        if place and weight > HEAVIEST_PAGE:
            return rows[:place]
    return rows


def _letters(connection: Connection, targets: dict[str, str]) -> list[ReplayedLetter]:
    """Read the letters with these ids, in this order."""
    columns = (_letter.event_id, _letter.event_type, _letter.event_ms, _letter.published_ms, _letter.payload)
    wanted = select(_letter.id, *columns).where(_letter.id.in_(list(targets)))
    events = {letter_id: QueuedEvent(*event) for letter_id, *event in connection.execute(wanted)}
    return [ReplayedLetter(one, target, events[one]) for one, target in targets.items() if one in events]


def deliveries_by_hand(connection: Connection, rows: Sequence[Row]) -> list[Row]:
    """Return those of these rows for `deliveries` that a replay has sent which a person asked for.

    What the fleet replays by itself is not among them. A page that is handed over may not be noted yet: a
    letter that still waits counts as sent, if a replay that runs may have sent it.
    """
    columns = (_letter.event_id, _letter.integration_id, _letter.replay_id, _letter.state)
    letters = [
        letter
        for some in chunks(sorted({row[0] for row in rows}))
        for letter in connection.execute(select(*columns).where(_letter.event_id.in_(some)))
    ]
    if not letters:
        return []
    asked = _asked_by_hand(connection, {letter.replay_id for letter in letters if letter.replay_id})
    sent = {
        (letter.event_id, replay.target_id or letter.integration_id)
        for letter in letters
        for replay in asked
        if letter.replay_id == replay.id
        or (letter.state == LetterState.WAITING and _may_send(replay, letter))
    }
    return [row for row in rows if row[:2] in sent]


def _asked_by_hand(connection: Connection, ids: Collection[str]) -> list[Replay]:
    """Return the replays of these ids, and those that run, without those that the fleet makes by itself."""
    found = [one for some in chunks(ids) for one in replays.replays_in(connection, some)]
    return [one for one in (*found, *replays.running_in(connection)) if one.made_by != REDRIVE]


def _may_send(replay: Replay, letter: Any) -> bool:
    runs = replay.state is ReplayState.RUNNING
    return runs and replay.selection.integration_id in {None, letter.integration_id}


class ReplayStore:
    """The replays of one ledger. Every method may raise LedgerUnavailable."""

    def __init__(self, engine: Engine) -> None:
        """Take the ledger."""
        self._engine = engine

    def running(self) -> list[Replay]:
        """Return those that run, the oldest first."""
        return replays.running_replays(self._engine)

    def next_page(
        self, replay: Replay, most: int, closed: Collection[str] = ()
    ) -> tuple[list[ReplayedLetter], list[str]]:
        """Return the letters to hand over next, and those that need not be: see `replays.next_page`."""
        return next_page(self._engine, replay, most, closed)

    def mark(self, page: Page) -> bool:
        """Note what a page did; return False when that stands there already."""
        return mark_page(self._engine, page)

    def is_deleted(self, integration_id: str) -> bool:
        """Whether there was an integration of that id that is deleted by now."""
        return replays.is_deleted(self._engine, integration_id)

    def end(self, replay_id: str, state: ReplayState, note: str | None = None) -> bool:
        """End one; return whether it ran."""
        return replays.end_replay(self._engine, replay_id, state, note)

    def redrivable(self) -> dict[str, int]:
        """Return integrations with letters of an outage, and when each last delivered something (ms)."""
        return redriving.redrivable(self._engine)

    def redrive(self, integration_id: str, well_since_ms: int) -> Replay | None:
        """Make a replay of what died before that; None when there is nothing to do."""
        return redriving.redrive(self._engine, integration_id, well_since_ms)
