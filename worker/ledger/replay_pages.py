"""Which dead letters need no replay: their very event was delivered since, or goes by another letter.

Comes in: the letters of a page. Goes out: the digests of their events, and what is known of these.
"""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, select

from worker.ledger.schema import dead_letters, deliveries
from worker.model.deliveries import Status
from worker.model.outcomes import content_of, event_id_of, key_of_reused
from worker.model.replays import Replay

_letter = dead_letters.c
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

    Goes out of each: id, the integration that has or will have got it, and content. Without a content, an
    earlier release noted its delivery: it is any event of this id.
    """
    ids = {event for event, _ in events}
    keys = [*ids, *(key_of_reused(*event) for event in events)]
    got = select(_delivery.event_id, _delivery.integration_id, _delivery.content).where(
        _delivery.event_id.in_(keys), _delivery.status == Status.DELIVERED
    )
    delivered = {(event_id_of(key), home, content) for key, home, content in connection.execute(got)}
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
