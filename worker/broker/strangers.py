"""Integrations that stand in Redis, and what is done with those that nobody can read nor knows."""

import logging
from collections.abc import Container
from typing import TYPE_CHECKING, Any

from worker.broker import keys
from worker.broker.connection import broker_errors
from worker.broker.integration_documents import is_subscription_readable
from worker.broker.oom import append_whole

if TYPE_CHECKING:
    import redis

log = logging.getLogger(__name__)

_REASON = "what Redis holds of this integration is damaged, and the ledger does not know it"


def standing_ids(client: "redis.Redis") -> set[str]:
    """Return the ids of the integrations in Redis, tombstones included. Raises BrokerUnavailable."""
    with broker_errors():
        found: Any = client.hkeys(keys.INTEGRATIONS)
    return {key.decode(errors="replace") for key in found}


def drop_unreadable(client: "redis.Redis", known: Container[bytes]) -> None:
    """Move documents that cannot be read, and whose ids are not known, to where a person finds them.

    Raises BrokerUnavailable.
    """
    with broker_errors():
        standing: Any = client.hkeys(keys.INTEGRATIONS)
        names = [name for name in standing if name not in known]
        found: Any = client.hmget(keys.INTEGRATIONS, names) if names else []
        for name, document in zip(names, found, strict=True):
            if document is not None and not is_subscription_readable(document):
                _set_aside(client, name, document)


def _set_aside(client: "redis.Redis", name: bytes, document: bytes) -> None:
    log.error("integration %r in Redis is damaged, and the ledger does not know it: set aside", name)
    pipeline = client.pipeline(transaction=True)
    pipeline.xadd(
        keys.UNRECORDABLE,
        {"stream": keys.INTEGRATIONS, "entry": name, "raw": document, "reason": _REASON},
    )
    pipeline.hdel(keys.INTEGRATIONS, name)
    append_whole(pipeline)
