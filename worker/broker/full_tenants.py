"""Tenants of which so much waits that the API takes no more events of them: written down beside a recorder.

An earlier release neither writes nor reads it. What is written down is true for a short time only: without a
recorder nobody is refused.
"""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from worker.broker import keys
from worker.broker.connection import broker_errors, noted
from worker.broker.oom import ask_when_full
from worker.model.untrusted_json import DAMAGED

if TYPE_CHECKING:
    import redis

#: What is written down is true for so many seconds, unless it is written anew.
LASTS = 30
#: How old may be what a process knows of it, in seconds.
FRESH = 1.0

_decode = msgspec.json.Decoder(dict[str, int]).decode


def note_full_tenants(client: "redis.Redis", waiting: Mapping[str, int]) -> None:
    """Write down these tenants, and how many bytes of each wait. Raises BrokerUnavailable."""
    with broker_errors():
        if waiting:
            ask_when_full(client, "SET", keys.FULL_TENANTS, msgspec.json.encode(waiting), "EX", LASTS)
        else:
            client.delete(keys.FULL_TENANTS)


class FullTenants:
    """The full tenants as one process knows them: asked for once a second, whoever publishes.

    Its threads may share it: that two ask at once does no harm.
    """

    def __init__(self, client: "redis.Redis") -> None:
        """Use the client, which may be shared between threads."""
        self._client = client
        self._asked = float("-inf")
        self._known: dict[str, int] = {}

    def now(self) -> dict[str, int]:
        """Return them, each with how many bytes wait, at most a second old. Raises BrokerUnavailable."""
        if time.monotonic() - self._asked >= FRESH:
            self._known = _read(noted(self._client, keys.FULL_TENANTS))
            self._asked = time.monotonic()
        return self._known


def _read(found: bytes | None) -> dict[str, int]:
    try:
        return _decode(found) if found is not None else {}
    except DAMAGED:  # somebody has written here
        return {}
