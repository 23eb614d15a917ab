"""Which integrations changed between two versions of the copy in Redis: so a reader fetches only those.

`siem:integrations:changes` is a list of the latest changes as JSON, `[version before, version after, [ids]]`.
A reader that knows a version follows them to the present one. Whoever finds a gap reads everything: an
earlier release sets another version and writes no change, a change of very many integrations names none.
"""

import uuid
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from redis.exceptions import ResponseError

from worker.broker import keys
from worker.broker.connection import broker_errors
from worker.broker.scripting import script_text
from worker.model.untrusted_json import DAMAGED

if TYPE_CHECKING:
    import redis
    from redis.client import Pipeline

#: Changes that the list holds, and integrations that one of them names.
MOST_KEPT, MOST_NAMED = 64, 100

#: Fields of an integration's state, with their values.
State = dict[str, int]

_change = msgspec.json.Decoder(tuple[str, str, list[str]])
_NOTE = script_text("changed") + "note_change(KEYS[1], KEYS[2], ARGV)\n"
_PUBLISH = script_text("changed") + script_text("publish")


def note_change(pipeline: "Pipeline", integration_ids: Sequence[str]) -> None:
    """Add to a transaction that these integrations are others now; it must be the last that it does."""
    pipeline.eval(_NOTE, 2, keys.INTEGRATIONS_VERSION, keys.INTEGRATIONS_CHANGES, *_named(integration_ids))


def write_integrations(
    client: "redis.Redis", changed: Iterable[tuple[str, bytes, bool, State]], *, are_all: bool
) -> bool:
    """Write documents and states in one step: of each the id, the document, whether it is deleted, its state.

    Unless these `are_all` that there are, nothing is written into a Redis that was not told the integrations
    yet: it would count as told. Returns whether it was done. Raises BrokerUnavailable.
    """
    ids: list[str] = []
    words: list[Any] = []
    for integration_id, document, is_deleted, state in changed:
        ids.append(integration_id)
        fields = [word for pair in state.items() for word in pair]
        words += [integration_id, document, int(is_deleted), len(fields), *fields]
    named = _named(ids)
    script = client.register_script(_PUBLISH)
    with broker_errors():
        return bool(
            script(
                keys=[
                    keys.INTEGRATIONS_VERSION,
                    keys.INTEGRATIONS_CHANGES,
                    keys.INTEGRATIONS,
                    keys.DELETED,
                ],
                args=[int(are_all), len(named), *named, *words],
            )
        )


def changed_since(client: "redis.Redis", seen: bytes, version: bytes) -> set[str] | None:
    """Return the ids of the integrations that changed between two versions; None if that is not known.

    Raises BrokerUnavailable.
    """
    with broker_errors():
        try:
            entries: Any = client.lrange(keys.INTEGRATIONS_CHANGES, -MOST_KEPT, -1)
        except ResponseError:
            return None  # somebody has written here
    wanted, changed = version.decode(errors="replace"), set()
    for entry in reversed(entries):
        try:
            before, after, ids = _change.decode(entry)
        except DAMAGED:
            return None
        if after != wanted:
            return None
        changed.update(ids)
        if before.encode() == seen:
            return changed
        wanted = before
    return None


def _named(integration_ids: Sequence[str]) -> list[str | int]:
    """Return a version, how many changes are kept, and the ids, unless those are too many."""
    # Not a counter: after a loss of data it might come back to a number that a reader knows.
    ids = integration_ids if len(integration_ids) <= MOST_NAMED else ()
    return [uuid.uuid4().hex, MOST_KEPT, *ids]
