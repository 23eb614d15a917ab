"""That no recorder can write to the database, and why: what a recorder says in Redis for whoever reports.

A database whose disk is full, or that is read-only, answers those who only read. The key expires by itself,
and a recorder that wrote it, or has just started, removes it once it can record. The release before
this one neither writes nor reads it.
"""

import logging
from typing import TYPE_CHECKING, Any

import msgspec

from worker.broker import keys
from worker.broker.connection import broker_errors, noted
from worker.broker.oom import ask_when_full
from worker.model.errors import BrokerUnavailable, OutageError
from worker.model.untrusted_json import DAMAGED

if TYPE_CHECKING:
    import redis

#: How long a stall is told after a recorder met it last, in seconds: it tries again every few.
LASTS = 30

log = logging.getLogger(__name__)


class Stall(msgspec.Struct, frozen=True):
    """Why recorders wait: in words for operators, and in words for anybody."""

    words: str
    public: str


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Stall).decode


class RecorderStall:
    """What one recorder says of it; runs in one thread."""

    def __init__(self, client: "redis.Redis") -> None:
        """Use the client."""
        self._client = client

    def note(self, error: OutageError) -> None:
        """Say why nothing can be recorded; while Redis is away as well, say nothing."""
        told = _encode(Stall(str(error), error.public))
        self._try("SET", keys.RECORDER_STALL, told, "EX", LASTS)

    def clear(self) -> None:
        """Take back what any recorder has said: something could be recorded."""
        self._try("DEL", keys.RECORDER_STALL)

    def _try(self, *command: Any) -> None:
        try:
            with broker_errors():
                ask_when_full(self._client, *command)
        except BrokerUnavailable as error:
            log.debug("whether recorders can write is not told: %s", error)


def recorder_stall(client: "redis.Redis") -> Stall | None:
    """Return why recorders cannot write; None while they can. Raises BrokerUnavailable."""
    found = noted(client, keys.RECORDER_STALL)
    try:
        return None if found is None else _decode(found)
    except DAMAGED:
        return None  # damaged: it is told again, or expires
