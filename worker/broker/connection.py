"""A connection to Redis that never repeats a command behind our back.

redis-py repeats a command whose reply was lost, which would append a chunk twice; here a lost reply is
an error, and the caller, who knows what may be repeated, decides.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError
from redis.retry import Retry

from worker.model.errors import BrokerUnavailable, InvalidSetting

#: A connection to Redis, for those who only pass it on.
Client = redis.Redis

#: How long a reply may take, in seconds; every blocking read blocks for less.
REPLY_TIMEOUT = 15.0
CONNECT_TIMEOUT = 5.0
#: Bytes of one read: a claimed chunk is some hundred kilobytes, and each read costs a system call.
READ_SIZE = 1 << 18


def connect(url: str) -> redis.Redis:
    """Make a client for the URL; it connects when it is first used.

    Replies of XREADGROUP and XAUTOCLAIM are left as Redis sends them: nested lists of bytes. Raises
    InvalidSetting when the URL is none.
    """
    try:
        client = _client(url)
    except ValueError:
        # What it says may repeat the password.
        raise InvalidSetting(
            "SIEM_REDIS_URL", "is no address of Redis", "give redis://default:password@host:6379/0"
        ) from None
    for command in ("XREADGROUP", "XAUTOCLAIM"):
        client.set_response_callback(command, _as_sent)
    return client


def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(
        url,
        protocol=2,
        socket_timeout=REPLY_TIMEOUT,
        socket_connect_timeout=CONNECT_TIMEOUT,
        socket_keepalive=True,
        health_check_interval=30,
        socket_read_size=READ_SIZE,
        retry=Retry(NoBackoff(), 0),
    )


def ask(client: Any, *command: Any) -> Any:
    """Send a command as it stands, through a client or into a pipeline (redis-py leaves this untyped)."""
    return client.execute_command(*command)


def _as_sent(reply: Any, **_options: Any) -> Any:
    return reply


@contextmanager
def broker_errors() -> Iterator[None]:
    """Turn whatever keeps Redis from doing as asked into BrokerUnavailable, in words that help."""
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise BrokerUnavailable(
            f"Redis does not answer ({error}): see that it runs, and that SIEM_REDIS_URL names it"
        ) from error
    except OutOfMemoryError:
        raise BrokerUnavailable("Redis is full (maxmemory): nothing can be written to it") from None
    except ReadOnlyError:
        raise BrokerUnavailable("Redis is a read-only replica: nothing can be written to it") from None
    except RedisError as error:
        # redis-py quotes the command, and with it perhaps an event.
        reason = re.sub(r"^Command # \d+ .* of pipeline caused error: ", "", str(error), flags=re.DOTALL)
        raise BrokerUnavailable(f"Redis refuses: {reason}") from None
