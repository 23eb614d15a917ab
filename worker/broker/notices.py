"""Whose events stand in masses in the ingress: written down by the router that reads ahead in it.

While tenants are named here, the events of all others are routed past theirs within a second. An earlier
release neither writes nor reads it.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

import msgspec

from worker.broker import keys
from worker.broker.connection import broker_errors, noted
from worker.broker.oom import ask_when_full
from worker.model.untrusted_json import DAMAGED

if TYPE_CHECKING:
    import redis

#: What is written down is true for so many seconds, unless it is written anew.
LASTS = 10

_decode = msgspec.json.Decoder(frozenset[str]).decode


def note_floods(client: "redis.Redis", tenants: Collection[str]) -> None:
    """Write down the tenants that flood the ingress, if any does. Raises BrokerUnavailable."""
    with broker_errors():
        ask_when_full(client, "SET", keys.FLOODS, msgspec.json.encode(sorted(tenants)), "EX", LASTS)


def forget_floods(client: "redis.Redis") -> None:
    """Note that the ingress is no longer behind. Raises BrokerUnavailable."""
    with broker_errors():
        client.delete(keys.FLOODS)


def floods(client: "redis.Redis") -> frozenset[str] | None:
    """Return the tenants that flood the ingress; None if no router reads ahead. Raises BrokerUnavailable."""
    found = noted(client, keys.FLOODS)
    if found is None:
        return None
    try:
        return _decode(found)
    except DAMAGED:  # somebody has written here
        return None
