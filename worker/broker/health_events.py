"""Publishes that an integration is in another health state: `siem:health`.

A change is published on the channel `siem:health` as one JSON object, and stands in the hash
`siem:health:states` under the integration's id until the next one, so that a late subscriber (or one that
was away: a channel remembers nothing) reads there the state of all:

    {"integration_id": "int_1", "tenant_id": "default", "name": "splunk", "type": "…",
     "state": "failing", "previous": "healthy", "at": "2026-11-23T14:02:07.123Z",
     "reason": "circuit breaker open since 2026-11-23 14:02:07Z: connection refused (next try in …)"}

`state` and `previous` are `healthy`, `degraded`, `failing`, `paused`, `idle` or `disabled`; `previous` is
null when the integration is new. `reason` is for people, and as of `at`.
"""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from worker.broker import keys
from worker.broker.connection import broker_errors, single_script
from worker.model.health import StateChange
from worker.model.untrusted_json import DAMAGED

if TYPE_CHECKING:
    import redis


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(StateChange).decode


class HealthEvents:
    """What was published of each integration, and what the webhook still lacks. Raises BrokerUnavailable."""

    def __init__(self, client: "redis.Redis") -> None:
        """Use the client, which may be shared between threads."""
        self._client = client
        self._mark_sent = single_script(client, "mark_sent")

    def known(self) -> dict[str, StateChange]:
        """Return what was published last of each integration, by id; without what cannot be read."""
        with broker_errors():
            found: Any = self._client.hgetall(keys.HEALTH_STATES)
        return {
            key.decode(errors="replace"): change for key, value in found.items() if (change := _read(value))
        }

    def announce(self, changes: Sequence[StateChange], *, to_webhook: bool) -> None:
        """Publish and keep all of them, or none; what is for the webhook waits for `unsent`."""
        if not changes:
            return
        pipeline = self._client.pipeline(transaction=True)
        for change in changes:
            encoded = _encode(change)
            pipeline.hset(keys.HEALTH_STATES, change.integration_id, encoded)
            pipeline.publish(keys.HEALTH, encoded)
            if to_webhook:
                pipeline.hset(keys.HEALTH_UNSENT, change.integration_id, encoded)
        with broker_errors():
            pipeline.execute()

    def keep(self, changes: Sequence[StateChange]) -> None:
        """Keep what need not be announced."""
        if changes:
            with broker_errors():
                pipeline = self._client.pipeline(transaction=True)
                for change in changes:
                    pipeline.hset(keys.HEALTH_STATES, change.integration_id, _encode(change))
                pipeline.execute()

    def forget(self, integration_ids: Collection[str]) -> None:
        """Keep nothing of integrations that are not there any more."""
        if integration_ids:
            with broker_errors():
                self._client.hdel(keys.HEALTH_STATES, *integration_ids)
                self._client.hdel(keys.HEALTH_UNSENT, *integration_ids)

    def unsent(self) -> dict[str, bytes]:
        """Return what the webhook does not know yet, the latest of each integration, as JSON by id."""
        with broker_errors():
            found: Any = self._client.hgetall(keys.HEALTH_UNSENT)
        return {key.decode(errors="replace"): value for key, value in found.items()}

    def mark_sent(self, integration_id: str, encoded: bytes) -> None:
        """Note that the webhook has this; what is newer stays unsent."""
        with broker_errors():
            self._mark_sent(keys=[keys.HEALTH_UNSENT], args=[integration_id, encoded])


def _read(encoded: bytes) -> StateChange | None:
    try:
        return _decode(encoded)
    except DAMAGED:
        return None
