"""Asks Redis how it is configured, for `worker.model.redis_checks` to judge.

Most of it is in INFO, which providers leave open; CONFIG is forbidden by many. The ids of the ingress say
whether somebody has chosen one of his own.
"""

from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from worker.broker import keys
from worker.broker.connection import broker_errors, send_command
from worker.broker.renumbering import ingress_ids
from worker.model.ingress_checks import IngressIds
from worker.model.redis_checks import RedisFacts

if TYPE_CHECKING:
    import redis


def read_facts(client: "redis.Redis") -> RedisFacts:
    """Return what Redis tells of itself; what it forbids to ask is None. Raises BrokerUnavailable."""
    with broker_errors():
        largest = _setting(client, "proto-max-bulk-len") or ""
        return RedisFacts(
            _info(client),
            _setting(client, "appendfsync"),
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


def maxmemory(client: "redis.Redis") -> int | None:
    """Return how much memory Redis may take, in bytes; None where it may take any, or does not tell.

    Raises BrokerUnavailable.
    """
    with broker_errors():
        try:
            found: Any = client.info("memory")
        except ResponseError:
            return None
    limit = found.get("maxmemory")
    return limit if isinstance(limit, int) and limit else None


def _info(client: "redis.Redis") -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = client.info()
    except ResponseError:
        return None
    return found


def _ids(client: "redis.Redis") -> IngressIds | None:
    try:
        return ingress_ids(client)
    except ResponseError:
        return None


def _setting(client: "redis.Redis", name: str) -> str | None:
    """Return a setting of Redis; None where it may not be asked for, or is unknown."""
    try:
        found = send_command(client, "CONFIG", "GET", name)
    except ResponseError:
        return None
    values = list(found.values()) if isinstance(found, dict) else found[1::2]
    return _text(values[0]) if values else None


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
