"""Notices that one process leaves in Redis for the others: they are true for seconds, then expire.

While tenants are named here, the events of all others are routed past theirs within a second. An earlier
release neither writes nor reads it.

Tenants of which so much waits that the API takes no more events of them: written down beside a recorder.

An earlier release neither writes nor reads it. What is written down is true for a short time only: without a
recorder no one is refused.

That no recorder can write to the database, and why: what a recorder says in Redis for reports.

A database whose disk is full, or that is read-only, answers those who only read. The key expires by itself,
and a recorder that wrote it, or has just started, removes it once it can record. The release before
this one neither writes nor reads it.
"""

import logging
import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from worker.broker import keys
from worker.broker.connection import broker_errors, noted
from worker.broker.oom import ask_when_full
from worker.model.errors import BrokerUnavailable, OutageError
from worker.model.log_events import RECORDER_STALL_NOT_PUBLISHED
from worker.model.untrusted_json import DAMAGED

if TYPE_CHECKING:
    import redis


#: What is written down is true for so many seconds, unless it is written again.
FLOODS_LAST = 10

_decode = msgspec.json.Decoder(frozenset[str]).decode


def note_floods(client: "redis.Redis", tenants: Collection[str]) -> None:
    """Write down the tenants that flood the ingress, if any does. Raises BrokerUnavailable."""
    with broker_errors():
        ask_when_full(client, "SET", keys.FLOODS, msgspec.json.encode(sorted(tenants)), "EX", FLOODS_LAST)


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
    except DAMAGED:  # overwritten
        return None


#: What is written down is true for so many seconds, unless it is written again.
FULL_LASTS = 30
#: How old may be what a process knows of it, in seconds.
FULL_FRESH = 1.0

_decode_full = msgspec.json.Decoder(dict[str, int]).decode


def note_full_tenants(client: "redis.Redis", waiting: Mapping[str, int]) -> None:
    """Write down these tenants, and how many bytes of each wait. Raises BrokerUnavailable."""
    with broker_errors():
        if waiting:
            ask_when_full(client, "SET", keys.FULL_TENANTS, msgspec.json.encode(waiting), "EX", FULL_LASTS)
        else:
            client.delete(keys.FULL_TENANTS)


class FullTenants:
    """The full tenants as one process knows them: asked for once a second, for all publishers.

    Its threads may share it: that two ask at once does no harm.
    """

    def __init__(self, client: "redis.Redis") -> None:
        """Use the client, which may be shared between threads."""
        self._client = client
        self._asked = float("-inf")
        self._known: dict[str, int] = {}

    def now(self) -> dict[str, int]:
        """Return them, each with how many bytes wait, at most a second old. Raises BrokerUnavailable."""
        if time.monotonic() - self._asked >= FULL_FRESH:
            self._known = _read_full(noted(self._client, keys.FULL_TENANTS))
            self._asked = time.monotonic()
        return self._known


def _read_full(found: bytes | None) -> dict[str, int]:
    try:
        return _decode_full(found) if found is not None else {}
    except DAMAGED:  # overwritten
        return {}


#: How long a stall is reported after a recorder met it last, in seconds: it tries again every few.
STALL_LASTS = 30

log = logging.getLogger(__name__)


class Stall(msgspec.Struct, frozen=True):
    """Why recorders wait: in words for operators, and in public words."""

    words: str
    public: str


_encode_stall = msgspec.json.Encoder().encode
_decode_stall = msgspec.json.Decoder(Stall).decode


class RecorderStall:
    """What one recorder says of it; runs in one thread."""

    def __init__(self, client: "redis.Redis") -> None:
        """Use the client."""
        self._client = client

    def note(self, error: OutageError) -> None:
        """Return why nothing can be recorded; while Redis is away as well, say nothing."""
        words = _encode_stall(Stall(str(error), error.public))
        self._try("SET", keys.RECORDER_STALL, words, "EX", STALL_LASTS)

    def clear(self) -> None:
        """Take back what any recorder has said: something could be recorded."""
        self._try("DEL", keys.RECORDER_STALL)

    def _try(self, *command: Any) -> None:
        try:
            with broker_errors():
                ask_when_full(self._client, *command)
        except BrokerUnavailable as error:
            RECORDER_STALL_NOT_PUBLISHED.log(log, error=str(error))


def recorder_stall(client: "redis.Redis") -> Stall | None:
    """Return why recorders cannot write; None while they can. Raises BrokerUnavailable."""
    found = noted(client, keys.RECORDER_STALL)
    try:
        return None if found is None else _decode_stall(found)
    except DAMAGED:
        return None  # damaged: it is written again, or expires


class PruningRefusals:
    """What retention does not delete, and why, in words: by kind, or by "" for all kinds.

    Every method raises BrokerUnavailable.
    """

    def __init__(self, client: "redis.Redis") -> None:
        """Use the client, which may be shared between threads."""
        self._client = client

    def all(self) -> dict[str, str]:
        """Return them."""
        with broker_errors():
            found: Any = self._client.hgetall(keys.RETENTION_REFUSED)
        return {
            name.decode(errors="replace"): words.decode(errors="replace") for name, words in found.items()
        }

    def replace(self, refusals: dict[str, str]) -> None:
        """Let these be all."""
        with broker_errors():
            pipeline = self._client.pipeline(transaction=True)
            pipeline.delete(keys.RETENTION_REFUSED)
            if refusals:
                pipeline.hset(keys.RETENTION_REFUSED, mapping=refusals)  # type: ignore[arg-type]  # redis-py's dict is invariant
            pipeline.execute()
