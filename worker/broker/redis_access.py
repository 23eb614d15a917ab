"""How Redis lets this client in: as whom, over what, and whether the fleet may do there what it does.

Rights are found out by doing it: an ACL knows many ways to forbid a command, a key or a channel, and only
Redis itself applies them all (`ACL DRYRUN` is of Redis 7, and is itself forbidden to most users). Every
command is sent once, to keys of its own that are gone afterwards.
"""

import secrets
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from worker.broker import keys
from worker.broker.connection import broker_errors, fails_over, redis_client, require_usable, send_command
from worker.broker.redis_server import server_setting
from worker.model.preflight import RedisAccess, is_local
from worker.model.redis_address import sentinel_address

if TYPE_CHECKING:
    import redis

#: What is written to find out what may be written expires after so many seconds, if it is not deleted.
_LASTS = 30
#: What `siem preflight` judges; CONFIG GET may be forbidden.
_SETTINGS = ("timeout", "min-replicas-to-write", "min-replicas-max-lag")


def read_access(client: "redis.Redis", url: str) -> RedisAccess:
    """Ask Redis, as the user of the URL and as one without a password. Raises BrokerUnavailable."""
    scheme = urlsplit(url).scheme
    with broker_errors():
        return RedisAccess(
            host=_host(url),
            encrypted=scheme in {"rediss", "sentinels"},
            fails_over=fails_over(client),
            user=_user(url),
            open_to_all=_is_open(url),
            refused=tuple(_refused(client)),
            settings={name: server_setting(client, name) for name in _SETTINGS},
        )


def _host(url: str) -> str | None:
    """Return the host of the URL; of sentinels, one that is not this machine, if there is such a one."""
    found = sentinel_address(url)
    if found is None:
        return urlsplit(url).hostname
    names = [host for host, _ in found.hosts]
    return next((one for one in names if not is_local(one)), names[0])


def _user(url: str) -> str:
    """Return the user that the URL signs in."""
    found = sentinel_address(url)
    name = found.username if found else unquote(urlsplit(url).username or "")
    return name or "default"


def _is_open(url: str) -> bool:
    """Return whether Redis answers a client that gives neither user nor password."""
    with closing(redis_client(url)) as guest:
        guest.connection_pool.connection_kwargs.update(username=None, password=None)
        try:
            return bool(guest.ping())
        except (AuthenticationError, NoPermissionError):
            return False
        except ResponseError as error:
            if str(error).startswith("NOAUTH"):
                return False
            raise


def _refused(client: "redis.Redis") -> list[str]:
    """Return the commands and channels that this user may not use, each once. Raises what redis-py raises."""
    name = f"{keys.PREFLIGHT_PREFIX}{secrets.token_hex(8)}"
    commands = [*_own_keys(), *_writes(name)]
    pipeline = client.pipeline(transaction=False)
    for command in commands:
        send_command(pipeline, *command)
    replies = pipeline.execute(raise_on_error=False)
    found = [_words(command) for command, reply in zip(commands, replies, strict=True) if _is_refusal(reply)]
    return list(dict.fromkeys([*found, *_refused_watch(client, name), *_refused_channel(client)]))


def _is_refusal(reply: Any) -> bool:
    """Whether the right is missing. Raises BrokerUnavailable if Redis cannot be used at all."""
    if isinstance(reply, NoPermissionError) or "NOPERM" in str(reply):
        return isinstance(reply, RedisError)
    if isinstance(reply, RedisError) and not isinstance(reply, ResponseError):
        require_usable(reply)
    return False


def _words(command: tuple[Any, ...]) -> str:
    return f"{command[0]} {command[1]}" if command[0] in {"EXISTS", "PUBLISH"} else str(command[0])


def _own_keys() -> list[tuple[Any, ...]]:
    """Return a command that only reads for every name of the table of keys."""
    names = [value for value in vars(keys).values() if isinstance(value, str) and value.startswith("siem:")]
    return [("EXISTS", one) for one in dict.fromkeys(names) if one != keys.HEALTH]


def _writes(name: str) -> list[tuple[Any, ...]]:
    """Return what the fleet and Celery send, at keys below this name, which the last command deletes."""
    stream, fields, items, members, scores, text = (f"{name}:{number}" for number in range(6))
    written = [stream, fields, items, members, scores, text]
    commands: list[tuple[Any, ...]] = [
        *(("PING",), ("TIME",), ("SCAN", 0, "MATCH", name, "COUNT", 1), ("DBSIZE",)),
        *(("SET", text, "", "EX", _LASTS), ("GET", text), ("MGET", text), ("STRLEN", text), ("TYPE", text)),
        *(("PTTL", text), ("EXPIRE", text, _LASTS), ("PEXPIRE", text, _LASTS * 1000)),
        *(("HSET", fields, "a", 1), ("HGET", fields, "a"), ("HMGET", fields, "a"), ("HGETALL", fields)),
        *(("HINCRBY", fields, "a", 1), ("HSETNX", fields, "a", 1), ("HEXISTS", fields, "a")),
        *(("HKEYS", fields), ("HVALS", fields), ("HLEN", fields), ("HDEL", fields, "a")),
        *(("INCRBY", f"{text}:n", 1), ("DECRBY", f"{text}:n", 1), ("HSCAN", fields, 0)),
        *(("LPUSH", items, "a"), ("RPUSH", items, "a"), ("LRANGE", items, 0, 0), ("LLEN", items)),
        *(("LINDEX", items, 0), ("LTRIM", items, 0, 9), ("LINSERT", items, "BEFORE", "a", "b")),
        *(("LPOP", items), ("BRPOP", items, 1)),
        *(("SADD", members, "a"), ("SMEMBERS", members), ("SMISMEMBER", members, "a")),
        *(("SREM", members, "b"), ("SPOP", members)),
        *(("ZADD", scores, 1, "a"), ("ZRANGE", scores, 0, 0), ("ZRANGEBYSCORE", scores, 0, 1)),
        *(("ZSCORE", scores, "a"), ("ZREM", scores, "a")),
        ("XGROUP", "CREATE", stream, "g", "0", "MKSTREAM"),
        *(("XADD", stream, "1-1", "a", "b"), ("XLEN", stream), ("XRANGE", stream, "-", "+", "COUNT", 1)),
        *(("XREVRANGE", stream, "+", "-", "COUNT", 1), ("XINFO", "STREAM", stream)),
        ("XREADGROUP", "GROUP", "g", "c", "COUNT", 1, "STREAMS", stream, ">"),
        *(("XPENDING", stream, "g"), ("XCLAIM", stream, "g", "c", 0, "1-1")),
        ("XAUTOCLAIM", stream, "g", "c", 0, "0", "COUNT", 1),
        *(("XACK", stream, "g", "1-1"), ("XDEL", stream, "1-1"), ("XSETID", stream, "2-2")),
        ("RENAME", stream, f"{stream}:aside"),
        *(("EVAL", "return redis.call('EXISTS', KEYS[1])", 1, text), ("SCRIPT", "LOAD", "return 1")),
        ("EVALSHA", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", 0),  # of `return 1`
        *(("UNWATCH",), ("MULTI",), ("EXEC",)),
        ("PUBLISH", "siem:replicated", ""),
        ("UNLINK", f"{text}:n"),
        ("DEL", *written, f"{stream}:aside"),
    ]
    return commands


def _refused_watch(client: "redis.Redis", name: str) -> list[str]:
    """Return whether a transaction may watch a key: redis-py sends that apart from a pipeline."""
    with client.pipeline() as pipeline:
        try:
            pipeline.watch(name)  # type: ignore[no-untyped-call]  # so is redis-py
        except NoPermissionError:
            return ["WATCH"]
    return []


def _refused_channel(client: "redis.Redis") -> list[str]:
    """Return whether Celery may listen to its commands: the channel of a worker's remote control."""
    channel = f"{keys.CELERY_PREFIX}/0.celery.pidbox"
    with client.pubsub() as listener:  # type: ignore[no-untyped-call]  # so is redis-py
        listener.subscribe(channel)
        try:
            listener.get_message(timeout=2.0)
        except NoPermissionError:
            return [f"SUBSCRIBE {channel}"]
    return []
