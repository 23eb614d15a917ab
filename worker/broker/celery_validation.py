"""What of Redis is given on to kombu: work orders and remote control as Celery writes them, and no more."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis
from kombu.transport.redis import PrefixedRedisPubSub
from redis.exceptions import ResponseError

from worker.broker import keys
from worker.broker.connection import script_text
from worker.broker.oom import ALLOW_OOM
from worker.broker.order_messages import InvalidMessage, check_broadcast, read_order
from worker.broker.order_queues import RefusedMessages
from worker.integrations import destination_types
from worker.model.log_events import REDIS_KEY_DISPLACED

#: The exchanges of work orders, of remote control and its answers, and of what Flower hears.
_EXCHANGES = ("siem", "celery.pidbox", "reply.celery.pidbox", "celeryev")
#: What Celery keeps under each key (kombu.transport.redis), behind the prefix.
_TYPES = {
    **dict.fromkeys(destination_types(), "list"),
    "unacked": "hash",
    "unacked_index": "zset",
    **dict.fromkeys((f"_kombu.binding.{one}" for one in _EXCHANGES), "set"),
    **dict.fromkeys((f"_kombu.binding_permanent.{one}" for one in _EXCHANGES), "set"),
    "_kombu.binding_deadlines": "zset",
}
_SCRIPT = ALLOW_OOM + script_text("queue_types")

log = logging.getLogger(__name__)


@contextmanager
def repaired_types(client: redis.Redis) -> Iterator[None]:
    """Move away what should be of another type, if that is why a command was refused, and go on.

    What the command should have read or written is lost with it: the sweeper issues its order again. Raises
    every other error.
    """
    try:
        yield
    except ResponseError as error:
        if not _is_of_another_type(error) or not displace(client):
            raise


def with_repaired_types(client: redis.Redis, ask: Callable[[], Any]) -> Any:
    """Return what is answered; once more, if it was refused because of what should be of another type.

    What it had done by then is done twice: a work order may be repeated. Raises every other error.
    """
    try:
        return ask()
    except ResponseError as error:
        if not _is_of_another_type(error):
            raise
    displace(client)
    return ask()


def displace(client: redis.Redis) -> list[str]:
    """Move away what is of another type than Celery's, and log it; return the keys."""
    wanted = {keys.CELERY_PREFIX + name: kind for name, kind in _TYPES.items()}
    # A client of Celery's would write its prefix before keys; here that has been done.
    moved = redis.Redis.execute_command(client, "EVAL", _SCRIPT, len(wanted), *wanted, *wanted.values())
    names = [key.decode() for key in moved]
    for name in names:
        REDIS_KEY_DISPLACED.log(log, key=name, place=f"{keys.DISPLACED}:{name}")
    return names


def _is_of_another_type(error: ResponseError) -> bool:
    return "WRONGTYPE" in str(error)


#: What this process has dropped. One for the module: kombu makes its channels by itself.
refused = RefusedMessages()
#: Behind this, the names of channels of remote control, and of lists with the answers to it (kombu.pidbox).
_PIDBOX = "celery.pidbox"


class CheckedPubSub(PrefixedRedisPubSub):
    """A client that hears what is broadcast to workers, or of their tasks, if it is in order."""

    def parse_response(self, *args: Any, **options: Any) -> Any:
        """Read a message; kombu passes over one without content, and so over what is to be dropped."""
        found = super().parse_response(*args, **options)
        if found is None or not _text(found[0]).endswith("message"):
            return found
        *heading, content = found
        channel = _text(heading[-1])
        return [*heading, content if _is_in_order(content, channel) else b""]


def admitted(queue: Any, content: bytes) -> tuple[Any, bytes] | None:
    """Return what was taken from a list, an order written again; None if it is to be dropped."""
    name = _text(queue)
    if name.endswith(_PIDBOX):  # the answers to `celery inspect` and `control`
        return (queue, content) if _is_in_order(content, name) else None
    try:
        return queue, read_order(content, name)
    except InvalidMessage as error:
        refused.note(error, name)
        return None


def _is_in_order(content: bytes, channel: str) -> bool:
    """Whether a broadcast, or an answer to one, may be given on; one that may not is noted."""
    is_command = channel.endswith(_PIDBOX) and ".reply." not in channel
    try:
        check_broadcast(content, is_command=is_command)
    except InvalidMessage as error:
        refused.note(error, "remote control")
        return False
    return True


def _text(name: Any) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)
