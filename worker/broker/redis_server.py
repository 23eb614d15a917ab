"""The Redis server itself: how it is configured, and what it counts, for `worker.model` to judge.

Most of it is in INFO, which providers leave open; CONFIG is forbidden by many. The ids of the ingress say
whether a publisher has chosen one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from redis.exceptions import ResponseError

from worker.broker import keys
from worker.broker.clocks import ingress_ids
from worker.broker.connection import await_replica, broker_errors, joined_script, send_command
from worker.broker.oom import ask_when_full, write_when_full
from worker.model.ingress_checks import IngressIds
from worker.model.redis_checks import RedisFacts
from worker.model.redis_marks import Epoch, Figures, Mark
from worker.model.untrusted_json import DAMAGED

if TYPE_CHECKING:
    import redis


def read_facts(client: "redis.Redis") -> RedisFacts:
    """Return what Redis says of itself; what it forbids to ask is None. Raises BrokerUnavailable."""
    with broker_errors():
        largest = server_setting(client, "proto-max-bulk-len") or ""
        return RedisFacts(
            redis_info(client),
            server_setting(client, "appendfsync"),
            _integrations(client),
            _ids(client),
            int(largest) if largest.isdecimal() else None,
        )


def _integrations(client: "redis.Redis") -> int:
    """Count the integrations in Redis; 0 where that is damaged."""
    try:
        return int(client.hlen(keys.INTEGRATIONS))
    except ResponseError:
        return 0


def redis_info(client: "redis.Redis") -> dict[str, Any] | None:
    """Return the fields of INFO; None where that is forbidden. Raises BrokerUnavailable."""
    with broker_errors():
        try:
            found: dict[str, Any] = client.info()
        except ResponseError:
            return None
        return found


def maxmemory(client: "redis.Redis") -> int | None:
    """Return how much memory Redis may take, in bytes; None where it may take any, or does not say.

    Raises BrokerUnavailable.
    """
    with broker_errors():
        try:
            found: Any = client.info("memory")
        except ResponseError:
            return None
    limit = found.get("maxmemory")
    return limit if isinstance(limit, int) and limit else None


def _ids(client: "redis.Redis") -> IngressIds | None:
    try:
        return ingress_ids(client)
    except ResponseError:
        return None


def server_setting(client: "redis.Redis", name: str) -> str | None:
    """Return a setting of Redis; None where it may not be asked for, or is unknown."""
    try:
        found = send_command(client, "CONFIG", "GET", name)
    except ResponseError:
        return None
    values = list(found.values()) if isinstance(found, dict) else found[1::2]
    return _text(values[0]) if values else None


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


#: A mark is made at least so often, in milliseconds, even if nothing has changed.
DUE_MS = 30_000
#: So many earlier epochs are remembered: a ledger that was restored from a dump may know one of them.
_REMEMBERED = 50

_figures = msgspec.json.Decoder(Figures).decode
_counts = msgspec.json.Decoder(dict[str, int]).decode


@dataclass(frozen=True, slots=True)
class Marked:
    """A mark that stands in Redis, and the backlogs of which only the count is left, in events."""

    mark: Mark
    vanished: dict[str, int]


class RedisMarks:
    """Reads and writes `siem:epoch`. Every method raises BrokerUnavailable."""

    def __init__(self, client: "redis.Redis") -> None:
        """Use the client, which may be shared between threads."""
        self._client = client
        self._mark = joined_script(client, "ingress_events", "mark")

    def found(self) -> Epoch | None:
        """Return what Redis holds; None if it holds no epoch."""
        with broker_errors():
            fields: Any = self._client.hgetall(keys.EPOCH)
        epoch = _field_text(fields, b"id")
        if not epoch:
            return None
        before = tuple(_field_text(fields, b"before").split())
        return Epoch(_mark_in(epoch, fields), before, _field_text(fields, b"truncated"))

    def now_ms(self) -> int:
        """Return the time by the clock of Redis, in milliseconds since 1970 UTC."""
        with broker_errors():
            seconds, microseconds = self._client.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    def begin(self, epoch: str, found: Epoch | None) -> None:
        """Begin an epoch after the one that was found; it has no mark yet."""
        before = (*found.before, found.mark.epoch) if found else ()
        known = " ".join(dict.fromkeys(before[-_REMEMBERED:]))
        with broker_errors():
            write_when_full(
                self._client, [("DEL", keys.EPOCH), ("HSET", keys.EPOCH, "id", epoch, "before", known)]
            )

    def mark(self, found: Mark, reported: Iterable[str] = ()) -> Marked | None:
        """Make the mark after the one that was found; None if Redis holds another one by now.

        `reported`: the integrations whose backlog has vanished and was reported: their count begins again.
        Behind sentinels it returns once a replica has the mark: a failover then keeps it.
        """
        with broker_errors():
            reply = self._mark(
                keys=[
                    *(keys.EPOCH, keys.INTEGRATIONS, keys.EVENTS),
                    *(keys.OUTCOMES, keys.DEAD_LETTERS, keys.PARKED, keys.LEASES, keys.COUNTERS),
                    keys.EVENTS_ASIDE,
                ],
                args=[
                    *(found.epoch, found.number, keys.STATE_PREFIX, keys.BACKLOG_PREFIX, DUE_MS),
                    *(keys.ROUTER_GROUP, *reported),
                ],
            )
        if not reply:
            return None
        await_replica(self._client)
        number, now_ms, figures, vanished = reply
        return Marked(Mark(found.epoch, int(number), int(now_ms), _figures(figures)), _counts(vanished))


def note_truncation(client: "redis.Redis", words: str) -> None:
    """Leave word that the server dropped the end of its log at its start. Raises BrokerUnavailable."""
    with broker_errors():
        if client.exists(keys.EPOCH):
            ask_when_full(client, "HSET", keys.EPOCH, "truncated", words)


def _mark_in(epoch: str, fields: dict[bytes, bytes]) -> Mark:
    try:
        figures = _figures(fields.get(b"figures", b"{}"))
        return Mark(epoch, int(fields.get(b"number", 0)), int(fields.get(b"at", 0)), figures)
    except DAMAGED:
        return Mark(epoch)  # overwritten: taken for what came back with no figures


def _field_text(fields: dict[bytes, bytes], name: bytes) -> str:
    return fields.get(name, b"").decode(errors="replace")
