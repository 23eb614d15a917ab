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

    def add_all(self, tenant_id: str, events: Sequence[QueuedEvent]) -> int:
        """Add events of one tenant, in their order; return how many no integration wants."""
        sizes: dict[str, list[int]] = {}
        for event in events:
            sizes.setdefault(event.type, []).append(len(event.raw))
        bundles = {kind: self._counted((kind, tenant_id), found) for kind, found in sizes.items()}
        first = bundles[events[0].type]
        if all(bundle is first for bundle in bundles.values()):
            if first is None:
                return len(events)
            first.extend(events)
            return 0
        for event in events:
            if (bundle := bundles[event.type]) is not None:
                bundle.append(event)
        return sum(len(sizes[kind]) for kind, bundle in bundles.items() if bundle is None)

    def _counted(self, kind: tuple[str, str], sizes: Sequence[int]) -> list[QueuedEvent] | None:
        """Count events of this type and tenant; return where they go, None if no integration wants them."""
        if kind not in self._by_kind:
            self._by_kind[kind] = self._bundle(*kind), Volume()
        bundle, volume = self._by_kind[kind]
        volume.events += len(sizes)
        volume.size += sum(sizes)
        return bundle

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
        start = 0
        while start < len(events):
            chunk = events[start : start + most_events]
            if sum([len(event.raw) for event in chunk]) > most_bytes:
                chunk = _leading(chunk, most_bytes)
            yield chunk
            start += len(chunk)


def _leading(events: list[QueuedEvent], most_bytes: int) -> list[QueuedEvent]:
    """Return the first of these, as many as fit; one at the least."""
    size = 0
    for place, event in enumerate(events):
        size += len(event.raw)
        if place and size > most_bytes:
            return events[:place]
    return events
