"""The senders of a worker process: one for each integration in use, as it is configured now."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from worker.destinations import Sender
from worker.integrations.integration import Integration
from worker.model.batches import Batch
from worker.model.errors import InvalidIntegration

#: A sender that was not asked for in this many seconds is closed; longer than any sending lasts.
SENDER_IDLE = 60.0
#: How often to look for senders that are not needed any more, in seconds.
LOOK_EVERY = 10.0

_RENEWED = "Redis was written to: a recorder renews the copy within seconds"
#: Makes a sender of an integration's sealed JSON. Raises SecretUnreadable or InvalidIntegration.
OpenSender = Callable[[bytes], tuple[Integration, Sender]]
#: The sealed JSON of integrations as it stands in Redis, by id. Raises BrokerUnavailable.
Documents = Callable[[Sequence[str]], Mapping[str, bytes]]


class _Switch(msgspec.Struct):
    enabled: bool = True


@dataclass(slots=True)
class _Known:
    """A sender, what it was made of, and when it was last asked for (monotonic seconds)."""

    configuration: bytes
    integration: Integration
    sender: Sender
    used: float = 0.0


class Senders:
    """The senders of a process, one for each integration that is in use, as it is configured now."""

    def __init__(self, open_sender: OpenSender) -> None:
        """Begin without any."""
        self._open = open_sender
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}
        #: Those that were closed, and when (monotonic seconds): a batch that had one may connect after that.
        self._closed: list[tuple[float, Sender]] = []
        self._next_look = time.monotonic() + SENDER_IDLE

    def of(self, batch: Batch) -> tuple[Integration, Sender]:
        """Return the integration of a batch and its sender. Raises what `OpenSender` raises."""
        with self._lock:
            known, replaced = self._current(batch)
            known.used = time.monotonic()
            unused = [*replaced, *self._take_idle(known.used)]
            self._retire(known.used, unused)
        for sender in unused:
            sender.close()
        return known.integration, known.sender

    def close(self) -> None:
        """Close them all."""
        with self._lock:
            known = list(self._known.values())
            self._known.clear()
        for one in known:
            one.sender.close()

    def close_unused(self, standing: Documents) -> None:
        """Close those whose integration is not configured so any more, or not enabled, and idle ones.

        Raises BrokerUnavailable, having closed none.
        """
        with self._lock:
            seen = {key: known.configuration for key, known in self._known.items()}
        documents = standing(list(seen)) if seen else {}
        outdated = {
            key: configuration
            for key, configuration in seen.items()
            if documents.get(key) != configuration or not _is_enabled(configuration)
        }
        now = time.monotonic()
        with self._lock:
            # One that was made again since is what a batch has just brought.
            unused = [
                self._known.pop(key).sender
                for key, configuration in outdated.items()
                if key in self._known and self._known[key].configuration == configuration
            ]
            self._retire(now, [*unused, *self._take_idle(now)])
            closed = [sender for _, sender in self._closed]
        for sender in closed:
            sender.close()

    def _retire(self, now: float, senders: Sequence[Sender]) -> None:
        """Remember these, to close them again while a batch may still use them."""
        self._closed = [one for one in self._closed if now - one[0] <= SENDER_IDLE]
        self._closed += [(now, sender) for sender in senders]

    def _current(self, batch: Batch) -> tuple[_Known, list[Sender]]:
        integration_id = batch.order.integration_id
        before = self._known.get(integration_id)
        if before is not None and before.configuration == batch.configuration:
            return before, []
        integration, sender = self._open(batch.configuration)
        if integration.id != integration_id:
            sender.close()
            raise InvalidIntegration("id", "is another one than that of the copy in Redis", _RENEWED)
        made = self._known[integration_id] = _Known(batch.configuration, integration, sender)
        return made, [before.sender] if before is not None else []

    def _take_idle(self, now: float) -> list[Sender]:
        """Now and then, forget senders that are not asked for: each may hold connections open."""
        if now < self._next_look:
            return []
        self._next_look = now + SENDER_IDLE
        idle = [key for key, known in self._known.items() if now - known.used > SENDER_IDLE]
        return [self._known.pop(key).sender for key in idle]


def _is_enabled(configuration: bytes) -> bool:
    return msgspec.json.decode(configuration, type=_Switch).enabled
