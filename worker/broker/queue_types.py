"""Keys of Celery's that hold something else: no worker could read an order, or acknowledge one, ever."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.exceptions import ResponseError

from worker.broker import keys
from worker.broker.oom import ALLOW_OOM
from worker.broker.scripting import script_text
from worker.integrations import DESTINATION_TYPES

#: The exchanges of work orders, of remote control and its answers, and of what Flower hears.
_EXCHANGES = ("siem", "celery.pidbox", "reply.celery.pidbox", "celeryev")
#: What Celery keeps under each key (kombu.transport.redis), behind the prefix.
_TYPES = {
    **dict.fromkeys(DESTINATION_TYPES, "list"),
    "unacked": "hash",
    "unacked_index": "zset",
    **dict.fromkeys((f"_kombu.binding.{one}" for one in _EXCHANGES), "set"),
    **dict.fromkeys((f"_kombu.binding_permanent.{one}" for one in _EXCHANGES), "set"),
    "_kombu.binding_deadlines": "zset",
}
_SCRIPT = ALLOW_OOM + script_text("queue_types")

log = logging.getLogger(__name__)


@contextmanager
def mended_types(client: redis.Redis) -> Iterator[None]:
    """Move away what should be of another type, if that is why a command was refused, and go on.

    What the command should have read or written is lost with it: the sweeper issues its order again. Raises
    every other error.
    """
    try:
        yield
    except ResponseError as error:
        if not _is_of_another_type(error) or not displace(client):
            raise


def with_mended_types(client: redis.Redis, ask: Callable[[], Any]) -> Any:
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
    """Move away what is of another type than Celery's, and tell it; return the keys."""
    wanted = {keys.CELERY_PREFIX + name: kind for name, kind in _TYPES.items()}
    # A client of Celery's would write its prefix before keys; here that has been done.
    moved = redis.Redis.execute_command(client, "EVAL", _SCRIPT, len(wanted), *wanted, *wanted.values())  # type: ignore[no-untyped-call]  # so is redis-py
    names = [key.decode() for key in moved]
    for name in names:
        place = f"{keys.DISPLACED}:{name}"
        log.error("%s in Redis was no %s: what was there is at %s now", name, wanted[name], place)
    return names


def _is_of_another_type(error: ResponseError) -> bool:
    return "WRONGTYPE" in str(error)
