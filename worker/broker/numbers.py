"""Numbers that stand in Redis as text, and what is done where damage left none."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

if TYPE_CHECKING:
    import redis

log = logging.getLogger(__name__)

#: What Lua can hold exactly; no count or time in milliseconds comes near it.
_LARGEST = 2**53


def whole(value: Any, otherwise: int = 0) -> int:
    """Return a count or a time; `otherwise` where there is none, or where damage made it no number."""
    try:
        found = int(float(value)) if value else otherwise
    except (ValueError, OverflowError):
        return otherwise
    return found if abs(found) <= _LARGEST else otherwise


@contextmanager
def damaged_counts(client: "redis.Redis", commands: Iterable[Sequence[Any]]) -> Iterator[None]:
    """Let the counts begin again that commands could not add to; all the others were carried out."""
    try:
        yield
    except ResponseError as error:
        if not _is_damaged_count(error):
            raise
        restart_counts(client, commands)


def _is_damaged_count(error: ResponseError) -> bool:
    """Say whether HINCRBY was refused because what it should add to is no number."""
    return any(sign in str(error) for sign in ("hash value is not an integer", "would overflow"))


def restart_counts(client: "redis.Redis", commands: Iterable[Sequence[Any]]) -> None:
    """Let the counts begin again that commands of a transaction could not add to.

    Those of a backlog are right once it is empty (`recount` in slots.lua).
    """
    for _, key, count, by in (command for command in commands if command[0] == "HINCRBY"):
        stands: Any = client.hget(key, count)
        try:
            int(stands or 0)
        except ValueError:
            log.error("%s of %s in Redis was damaged (%r): it counts from 0 again", count, key, stands)  # noqa: TRY400 - no fault of the code, so no traceback
            client.hset(key, mapping={count: by, "recount": 1})
