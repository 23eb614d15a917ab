"""Looks at the backlogs of all integrations: a few questions for hundreds of them each.

Of thousands of integrations as a rule a few have anything: only these are answered, and cost anything here.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from redis.exceptions import ResponseError

from worker.broker import keys
from worker.broker.connection import ask_each, broker_errors, single_script
from worker.broker.packing import whole
from worker.broker.round_trips import Call

if TYPE_CHECKING:
    import redis
    from redis.commands.core import Script

_One = TypeVar("_One")

#: Integrations of one script: Redis answers no other client meanwhile.
_AT_ONCE = 250


def waiting_of(client: "redis.Redis", script: "Script", ids: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return how many events no slot has claimed, and their bytes, by `waiting.lua`.

    Of integrations for which any event is here, one that is claimed included, and of those that cannot be
    read. Raises BrokerUnavailable.
    """
    found = _asked(client, script, ids, ())
    return {one: (max(0, whole(events)), max(0, whole(size))) for one, events, size in found}


def vitals_of(
    client: "redis.Redis", script: "Script", ids: Sequence[str], fields: Sequence[str]
) -> dict[str, tuple[Any, Any]]:
    """Return the values of these fields, and since when the oldest event waits, by `vitals.lua`.

    Of integrations of which any is there. The first is an error where its keys are not what they should be.
    Raises BrokerUnavailable.
    """
    found: dict[str, tuple[Any, Any]] = {}
    for one, values, *since in _asked(client, script, ids, (len(fields), *fields)):
        if isinstance(values, bytes):
            found[one] = ResponseError(values.decode(errors="replace")), None
        else:
            found[one] = values, since[0]
    return found


def in_use(client: "redis.Redis", script: "Script", ids: Sequence[str]) -> list[str]:
    """Return those of which a lane has any entry, or a slot is in use, by `in_use.lua`.

    And those that cannot be read. Raises BrokerUnavailable.
    """
    return [one for one, *_ in _asked(client, script, ids, (keys.SLOT_PREFIX,))]


def others_of(client: "redis.Redis", revisions: Sequence[tuple[str, int]], slots: int) -> set[str]:
    """Return the ids of those that stand in Redis under another revision, or with other slots.

    `revisions` are pairs of an id and the revision that it should have. Raises BrokerUnavailable.
    """
    script = single_script(client, "differing")
    portions = _portions(revisions)
    words = [[word for pair in some for word in pair] for some in portions]
    calls: list[Call] = [((), (keys.STATE_PREFIX, slots, *some)) for some in words]
    replies = _usable(client, script, calls)
    return {some[place][0] for some, reply in zip(portions, replies, strict=True) for place in reply}


def _asked(
    client: "redis.Redis", script: "Script", ids: Sequence[str], words: Sequence[Any]
) -> Iterator[tuple[Any, ...]]:
    """Yield what the script answers: id and values of each integration of which there is anything."""
    portions = _portions(ids)
    before = (keys.STATE_PREFIX, keys.BACKLOG_PREFIX, *words)
    calls: list[Call] = [((), (*before, *some)) for some in portions]
    for some, reply in zip(portions, _usable(client, script, calls), strict=True):
        for place, *values in reply:
            yield some[place], *values


def _portions(all_of_them: Sequence[_One]) -> list[Sequence[_One]]:
    return [all_of_them[start : start + _AT_ONCE] for start in range(0, len(all_of_them), _AT_ONCE)]


def _usable(client: "redis.Redis", script: "Script", calls: Sequence[Call]) -> list[Any]:
    """Return the replies of a script. Raises BrokerUnavailable for one that is an error."""
    replies = ask_each(client, script, calls)
    for reply in replies:
        if isinstance(reply, Exception):
            with broker_errors():
                raise reply
    return replies
