"""Writing although Redis is full, for what lets the fleet go on until memory is free again.

A Redis at `maxmemory` with `noeviction` refuses whatever may need memory; Redis 6.2 refuses every
transaction as well, even one that only deletes. It lets a script go on that has begun to write with a
command that needs none. What uses this is small, or frees memory soon: heartbeats, the sweeper's lock,
work orders, hand-overs. What brings in new events must never use it.
"""

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import redis
from redis.exceptions import OutOfMemoryError, ResponseError

from worker.broker import keys
from worker.broker.connection import script_text, send_command
from worker.broker.redis_errors import is_full
from worker.broker.round_trips import transact
from worker.model.log_events import REDIS_KEY_DISPLACED

if TYPE_CHECKING:
    from redis.client import Pipeline


log = logging.getLogger(__name__)

#: Beyond `maxmemory` by this part of it, hand-overs wait until the backlogs have been sent. The host must
#: have that much to spare.
RESERVE = 0.1

#: Behind this line a script may write in a full Redis, for it has begun to, with what needs no memory.
ALLOW_OOM = "redis.call('DEL', 'siem:none')\n"
_SCRIPT = ALLOW_OOM + script_text("make_way") + script_text("write_when_full")
_MAKE_WAY = script_text("make_way") + script_text("way_made")


def write_when_full(client: redis.Redis, commands: Iterable[Sequence[Any]]) -> list[Any]:
    """Carry out commands as one, full or not; return their raw replies. Raises the first error of one."""
    words = flat(commands)
    # A client of Celery's would write its prefix before keys; here that has been done.
    replies: list[Any] = redis.Redis.execute_command(client, "EVAL", _SCRIPT, 0, *words)  # type: ignore[no-untyped-call]  # so is redis-py
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


def flat(commands: Iterable[Sequence[Any]]) -> list[Any]:
    """Return commands as arguments of a script: each as the number of its words, and these."""
    return [word for command in commands for word in (len(command), *command)]


def ask_when_full(client: redis.Redis, *command: Any) -> Any:
    """Send a command; if Redis is too full for it, have it done all the same."""
    try:
        return send_command(client, *command)
    except OutOfMemoryError:
        return write_when_full(client, [command])[0]


class Behind(Protocol):
    """Commands that go with a transaction as its last, and take their replies, errors among them.

    They are left out where Redis is too full for a transaction.
    """

    def commands(self) -> Sequence[Sequence[Any]]:
        """Return the commands."""

    def answer(self, replies: Sequence[Any], *, is_done: bool = True) -> None:
        """Take the replies; what they stand behind may have been refused as a whole, and comes again."""

    def skip(self, integration_ids: Iterable[str]) -> None:
        """Leave out what would be done for these."""


class _Nothing:
    def commands(self) -> Sequence[Sequence[Any]]:
        return ()

    def answer(self, replies: Sequence[Any], *, is_done: bool = True) -> None:
        """Take none."""

    def skip(self, integration_ids: Iterable[str]) -> None:
        """Leave nothing out."""


#: No command at all.
NOTHING = _Nothing()


def execute_when_full(
    client: redis.Redis, pipeline: "Pipeline", *, within_bounds: bool = False, behind: Behind = NOTHING
) -> list[Any]:
    """Execute a transaction; if Redis is too full for it, have it done all the same.

    What may take up more memory than it frees stays `within_bounds`: it is refused once the reserve is
    used up.
    """
    commands = [command for command, _ in pipeline.command_stack]
    try:
        return append_whole(pipeline, behind)
    except ResponseError as error:
        if not is_full(error) or (within_bounds and not has_room(client)):
            raise
        return write_when_full(client, commands)


def append_whole(pipeline: "Pipeline", behind: Behind = NOTHING) -> list[Any]:
    """Execute a transaction; a key that it appends to and that is no stream is moved away first.

    Without that it would go on behind the command that failed, and delete what it could not append. Replies
    are as Redis sends them, unless the pipeline watches keys.
    """
    own: list[Sequence[Any]] = [command for command, _ in pipeline.command_stack]
    streams = dict.fromkeys(command[1] for command in own if command[0] == "XADD")
    if streams:
        own.insert(0, ("EVAL", _MAKE_WAY, len(streams), *streams))
    replies = _execute(pipeline, [*own, *behind.commands()])
    behind.answer(replies[len(own) :])
    raise_first(own, replies)
    if streams:
        report_displaced(replies[0])
    return replies[bool(streams) : len(own)]


def _execute(pipeline: "Pipeline", commands: Sequence[Sequence[Any]]) -> list[Any]:
    """Execute these commands in the place of those that the pipeline holds, which it forgets."""
    if pipeline.watching:
        pipeline.command_stack[:] = [(tuple(command), {}) for command in commands]
        replies: list[Any] = pipeline.execute(raise_on_error=False)
        return replies
    pipeline.reset()
    return transact(pipeline, commands) if commands else []


def raise_first(commands: Sequence[Sequence[Any]], replies: Sequence[Any]) -> None:
    """Raise the first error among the replies to commands."""
    for command, reply in zip(commands, replies, strict=False):
        if isinstance(reply, ResponseError):
            raise type(reply)(f"{command[0]} in a transaction: {reply}") from reply


def report_displaced(moved: Iterable[bytes]) -> None:
    """Log which keys were moved away: what was in them before is lost."""
    for key in moved:
        name = key.decode(errors="replace")
        REDIS_KEY_DISPLACED.log(log, key=name, place=f"{keys.DISPLACED}:{name}")


def has_room(client: redis.Redis) -> bool:
    """Whether the reserve leaves room, as Redis itself counts its memory."""
    memory: Any = client.info("memory")
    if not memory["maxmemory"]:
        return True
    used = memory["used_memory"] - memory.get("mem_not_counted_for_evict", 0)
    return bool(used <= memory["maxmemory"] * (1 + RESERVE))
