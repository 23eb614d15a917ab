"""Sorts events by who wants them; which integrations do depends on type and tenant alone. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from worker.broker.ingress import RoutedChunk
from worker.broker.snapshot import Subscription
from worker.broker.volumes import Volume
from worker.model.events import BULK_EVENT_TYPES, QueuedEvent


@dataclass(frozen=True, slots=True)
class _Audience:
    """The integrations that want the same events in the same lane."""

    integration_ids: tuple[str, ...]
    urgent: bool


class Sorting:
    """Gathers events by audience; which get an event depends on its type and tenant alone."""

    def __init__(self, subscriptions: Mapping[str, Subscription]) -> None:
        """Sort by these."""
        self._subscriptions = subscriptions
        self._by_kind: dict[tuple[str, str], tuple[list[QueuedEvent] | None, Volume]] = {}
        self._by_audience: dict[_Audience, list[QueuedEvent]] = {}

    def add(self, event_type: str, tenant_id: str, event: QueuedEvent) -> bool:
        """Add the event; return whether any integration wants it."""
        kind = (event_type, tenant_id)
        try:
            bundle, volume = self._by_kind[kind]
        except KeyError:
            bundle, volume = self._by_kind[kind] = self._bundle(event_type, tenant_id), Volume()
        volume.events += 1
        volume.size += len(event.raw)
        if bundle is None:
            return False
        bundle.append(event)
        return True

    def add_all(self, tenant_id: str, events: Sequence[QueuedEvent]) -> int:
        """Add events of one tenant, in their order; return how many no integration wants."""
        first = events[0].type
        if len(events) == 1:
            return 0 if self.add(first, tenant_id, events[0]) else 1
        if any(event.type != first for event in events):
            return sum(not self.add(event.type, tenant_id, event) for event in events)
        wanted = self.add(first, tenant_id, events[0])
        bundle, volume = self._by_kind[first, tenant_id]
        volume.events += len(events) - 1
        volume.size += sum([len(event.raw) for event in events]) - len(events[0].raw)
        if bundle is not None:
            bundle.extend(events[1:])
        return 0 if wanted else len(events)

    def volumes(self) -> dict[tuple[str, str], Volume]:
        """Return how much came of each type and tenant."""
        return {kind: volume for kind, (_, volume) in self._by_kind.items()}

    def routed_chunks(self) -> list[RoutedChunk]:
        """Cut what was gathered into chunks of which every one fits into a single request."""
        return [
            RoutedChunk(audience.integration_ids, audience.urgent, chunk)
            for audience, events in self._by_audience.items()
            for chunk in self._chunks(audience, events)
        ]

    def _bundle(self, event_type: str, tenant_id: str) -> list[QueuedEvent] | None:
        ids = tuple(one.id for one in self._subscriptions.values() if one.wants(event_type, tenant_id))
        if not ids:
            return None
        return self._by_audience.setdefault(_Audience(ids, event_type not in BULK_EVENT_TYPES), [])

    def _chunks(self, audience: _Audience, events: list[QueuedEvent]) -> Iterator[list[QueuedEvent]]:
        limits = [self._subscriptions[one].destination for one in audience.integration_ids]
        most_events = min(one.batch_events for one in limits)
        most_bytes = min(one.batch_bytes for one in limits)
        if len(events) <= most_events and sum([len(event.raw) for event in events]) <= most_bytes:
            yield events
            return
        start = size = 0
        for at, event in enumerate(events):
            length = len(event.raw)
            if at > start and (at - start >= most_events or size + length > most_bytes):
                yield events[start:at]
                start, size = at, 0
            size += length
        yield events[start:]
