"""Which dead letters need no replay: their very event was delivered since, or goes by another letter.

Comes in: the letters of a page. Goes out: the digests of their events, and what is known of these.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, select

from worker.ledger.schema import dead_letters, deliveries
from worker.model.contents import content_of, id_in, key_of_reused
from worker.model.deliveries import Status
from worker.model.replays import Replay

_letter = dead_letters.c
_delivery = deliveries.c


def contents_of_letters(connection: Connection, rows: list[Any]) -> dict[str, str]:
    """Return the digests of these letters' events; an earlier release has not noted them."""
    unknown = [row.id for row in rows if row.content is None]
    wanted = select(_letter.id, _letter.payload).where(_letter.id.in_(unknown))
    found = {letter_id: content_of(payload) for letter_id, payload in connection.execute(wanted)}
    return {row.id: row.content or found[row.id] for row in rows}


def dealt_with(
    connection: Connection, replay: Replay, contents: Mapping[str, str]
) -> set[tuple[str, str, str | None]]:
    """Return the events that need no replay: id, the integration that has or will have got it, and content.

    Without a content, an earlier release noted it: it is any event of this id.
    """
    keys = [*contents, *(key_of_reused(event, content) for event, content in contents.items())]
    got = select(_delivery.event_id, _delivery.integration_id, _delivery.content).where(
        _delivery.event_id.in_(keys), _delivery.status == Status.DELIVERED
    )
    # Not by the index of replays, which would lead past all that the pages before this handed over.
    of_replay = _letter.replay_id.concat("") == replay.id
    sent = select(_letter.event_id, _letter.integration_id, _letter.content).where(
        _letter.event_id.in_(list(contents)), of_replay
    )
    sent_to = [
        (event, replay.target_id or home, content) for event, home, content in connection.execute(sent)
    ]
    return {(id_in(key), home, content) for key, home, content in connection.execute(got)}.union(sent_to)
