"""Connections to Redis that never repeat a command unasked, and the scripts that run there.

redis-py repeats a command whose reply was lost, which would append a chunk twice; here a lost reply is
an error, and the caller, who knows what may be repeated, decides. Behind sentinels, each new connection
asks them where the master is.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from importlib.resources import files
from types import TracebackType
from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool

from worker.broker import keys
from worker.broker.connection_pool import client_of
from worker.broker.redis_errors import broker_unavailable
from worker.broker.round_trips import Call, ask, ask_one, call_of
from worker.model.errors import BrokerUnavailable, InvalidSetting
from worker.model.outages import OutageCause
from worker.model.redis_address import SentinelAddress, sentinel_address

if TYPE_CHECKING:
    from redis.commands.core import Script


#: A connection to Redis, for those who only pass it on.
Client = redis.Redis

#: How long a reply may take, in seconds; every blocking read blocks for less.
REPLY_TIMEOUT = 15.0
CONNECT_TIMEOUT = 5.0
SENTINEL_TIMEOUT = 2.0
#: Bytes of one read: a claimed chunk is some hundred kilobytes, and each read costs a system call.
READ_SIZE = 1 << 18
#: How long a replica may take to confirm what was written, in milliseconds.
REPLICA_MS = 5000
NO_REPLICA = (
    f"no replica of Redis confirmed what was written within {REPLICA_MS // 1000} s, and a failover might "
    "lose it: see that a replica is connected"
)


def redis_client(url: str) -> redis.Redis:
    """Make a client for the URL; it connects when it is first used.

    Replies of XREADGROUP and XAUTOCLAIM are left as Redis sends them: nested lists of bytes. Raises
    InvalidSetting when the URL is none.
    """
    client = _client(url, _read(url))
    for command in ("XREADGROUP", "XAUTOCLAIM"):
        client.set_response_callback(command, _as_sent)
    return client


def fails_over(client: redis.Redis) -> bool:
    """Whether sentinels may put a replica into its server's place."""
    return isinstance(client.connection_pool, SentinelConnectionPool)


def await_replica(client: redis.Redis) -> None:
    """Behind sentinels, wait until a replica has all that Redis has now: a failover then keeps it.

    Raises BrokerUnavailable when none has it in time. Elsewhere there is nothing to wait for.
    """
    if not fails_over(client):
        return
    with broker_errors():
        pipeline = client.pipeline(transaction=False)
        # WAIT counts from what its own connection sent to the replicas last; this costs no memory.
        pipeline.publish("siem:replicated", "")
        send_command(pipeline, "WAIT", 1, REPLICA_MS)
        _, replicas = pipeline.execute()
    if replicas < 1:
        raise BrokerUnavailable(NO_REPLICA, OutageCause.TOO_FEW_REPLICAS)


def sentinel_options(address: SentinelAddress) -> dict[str, Any]:
    """Return redis-py's options of a connection to a sentinel: one that is dead must not hold up the next."""
    return {
        "username": address.sentinel_username,
        "password": address.sentinel_password,
        "socket_timeout": SENTINEL_TIMEOUT,
        "socket_connect_timeout": SENTINEL_TIMEOUT,
        "retry": Retry(NoBackoff(), 0),
        **_tls(address),
    }


def _read(url: str) -> SentinelAddress | None:
    try:
        return sentinel_address(url)
    except ValueError as error:
        raise InvalidSetting("SIEM_REDIS_URL", str(error), "see the settings in deploy/README.md") from None


def _client(url: str, address: SentinelAddress | None) -> redis.Redis:
    if address is not None:
        return _master(address)
    try:
        return client_of(url, **_options())
    except ValueError:
        # What it says may repeat the password.
        raise InvalidSetting(
            "SIEM_REDIS_URL", "is no address of Redis", "give redis://default:password@host:6379/0"
        ) from None


def _master(address: SentinelAddress) -> redis.Redis:
    sentinel = Sentinel(  # type: ignore[no-untyped-call]  # so is redis-py
        list(address.hosts),
        sentinel_kwargs=sentinel_options(address),
        username=address.username,
        password=address.password,
        db=address.database,
        **_options(),
        **_tls(address),
    )
    found: redis.Redis = sentinel.master_for(address.service)  # type: ignore[no-untyped-call]  # so is redis-py
    return found


def _options() -> dict[str, Any]:
    return {
        "protocol": 2,
        "socket_timeout": REPLY_TIMEOUT,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "socket_keepalive": True,
        "health_check_interval": 30,
        "socket_read_size": READ_SIZE,
        "retry": Retry(NoBackoff(), 0),
    }


def _tls(address: SentinelAddress) -> dict[str, Any]:
    return {"ssl": True, **address.tls} if address.tls else {}


def send_command(client: Client, *command: Any) -> Any:
    """Send a command as it stands, through a client or into a pipeline (redis-py leaves this untyped)."""
    execute: Callable[..., Any] = client.execute_command
    return execute(*command)


def _as_sent(reply: Any, **_options: Any) -> Any:
    return reply


class _BrokerErrors:
    """What `broker_errors` returns: one for all, at a third of what a generator costs each time."""

    __slots__ = ()

    def __enter__(self) -> None:
        """Enter the block."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raise BrokerUnavailable for what redis-py has raised."""
        if isinstance(error, redis.ConnectionError | redis.TimeoutError):
            known = isinstance(error, MasterNotFoundError)
            raise outage_of(error) from None if known else error
        if isinstance(error, RedisError):
            # Without the cause, which quotes the command, and with it perhaps an event.
            raise outage_of(error) from None


_BROKER_ERRORS = _BrokerErrors()


def broker_errors() -> AbstractContextManager[None]:
    """Turn whatever keeps Redis from doing as asked into BrokerUnavailable, in words that help."""
    return _BROKER_ERRORS


def noted(client: Client, key: str) -> bytes | None:
    """Return what stands under this key; None if nothing does, or what is of another type.

    MGET takes the latter for nothing, where GET is refused. Raises BrokerUnavailable.
    """
    with broker_errors():
        found: Any = client.mget([key])
        value: bytes | None = found[0]
    return value


def outage_of(error: RedisError) -> BrokerUnavailable:
    """Return what `broker_errors` raises instead of this error."""
    if isinstance(error, MasterNotFoundError):
        return BrokerUnavailable(_no_master(error))
    return broker_unavailable(error)


def require_usable(error: Exception) -> None:
    """Raise BrokerUnavailable if this error, one of many replies, is not about the data that it was for.

    A forbidden command or a replica concerns every reply. A full Redis does not: much is done all the same.
    """
    if isinstance(error, RedisError):
        outage = outage_of(error)
        if outage.cause not in {OutageCause.REFUSED, OutageCause.MEMORY_FULL}:
            raise outage


def check_answers(client: redis.Redis) -> None:
    """Raise BrokerUnavailable if Redis does not answer this client."""
    with broker_errors():
        ask_one(client, "PING")


def _no_master(error: MasterNotFoundError) -> str:
    reason, _, unreachable = str(error).partition(" : ")  # behind it redis-py lists how it connects
    silent = ", and some do not answer" if unreachable else ""
    return (
        f"no sentinel knows a master ({reason}{silent}): see that the sentinels run, and that SIEM_REDIS_URL "
        "names them, with ?service= and the name that they watch"
    )


def check_redis_writes(client: redis.Redis) -> None:
    """Write a value that expires in a second. Raises BrokerUnavailable while Redis takes no writes."""
    with broker_errors():
        client.set(keys.WRITE_TEST, "", ex=1)


#: What stands before each script that works on one backlog, in this order.
_SHARED = ("make_way", "payloads", "lanes", "slots", "breaker", "ordering")


def shared_script(client: "redis.Redis", name: str, first: tuple[str, ...] = ()) -> "Script":
    """Return the script that works on one backlog: see `slots.lua` for the keys it begins with.

    What is to be done `first` only knows `timing.lua`, and what it names before itself.
    """
    return joined_script(client, *dict.fromkeys(("timing", *first, *_SHARED, name)))


def single_script(client: "redis.Redis", name: str) -> "Script":
    """Return the script that stands alone."""
    return client.register_script(script_text(name))


def appending_script(client: "redis.Redis", name: str) -> "Script":
    """Return the script that stands alone but for `make_way.lua`."""
    return joined_script(client, "make_way", name)


def joined_script(client: "redis.Redis", *names: str) -> "Script":
    """Return one script of these: the last one uses what the others define."""
    return client.register_script("".join(map(script_text, names)))


def script_text(name: str) -> str:
    """Return the script as it stands in its file."""
    return (files("worker.broker") / "scripts" / f"{name}.lua").read_text()


def ask_each(client: "redis.Redis", script: "Script", calls: Sequence[Call]) -> list[Any]:
    """Run a script with each of these keys and arguments; return the replies, errors among them.

    One round trip; redis-py's own way asks with another whether Redis has the script. Raises
    BrokerUnavailable.
    """
    if not calls:
        return []
    with broker_errors():
        replies = _replies(client, script, calls)
        unknown = [place for place, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            # Those did nothing. Redis has started again since, or this is the first call.
            client.script_load(script.script)
            again = _replies(client, script, [calls[place] for place in unknown])
            for place, reply in zip(unknown, again, strict=True):
                replies[place] = reply
        return replies


def _replies(client: "redis.Redis", script: "Script", calls: Sequence[Call]) -> list[Any]:
    return ask(client, *(call_of(script, call) for call in calls))
