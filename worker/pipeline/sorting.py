"""Sorts events by who wants them; which integrations do depends on type and tenant alone. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from worker.broker.framed_chunks import FramedChunk
from worker.broker.hand_over import FrameOfEntry
from worker.broker.ingress import RoutedChunk
from worker.broker.snapshot import Subscription
from worker.broker.volumes import Volume, Volumes
from worker.model.events import BULK_EVENT_TYPES, QueuedEvent


@dataclass(frozen=True, slots=True)
class Audience:
    """The integrations that want the same events in the same lane."""

    integration_ids: tuple[str, ...]
    urgent: bool


class Audiences:
    """Who wants events of which type and tenant, each found out once."""

    def __init__(self, subscriptions: Mapping[str, Subscription]) -> None:
        """Go by these."""
        self._subscriptions = subscriptions
        self._known: dict[tuple[str, str], Audience] = {}

    def of(self, event_type: str, tenant_id: str) -> Audience:
        """Return who wants these; it may be no one."""
        kind = event_type, tenant_id
        if kind not in self._known:
            ids = tuple(one.id for one in self._subscriptions.values() if one.wants(*kind))
            self._known[kind] = Audience(ids, event_type not in BULK_EVENT_TYPES)
        return self._known[kind]

    @property
    def known(self) -> int:
        """Of how many types and tenants it was found out."""
        return len(self._known)

    def limits(self, audience: Audience) -> tuple[int, int]:
        """Return how many events, and bytes of them, each of these takes in one request."""
        found = [self._subscriptions[one].destination for one in audience.integration_ids]
        return min(one.batch_events for one in found), min(one.batch_bytes for one in found)

    def of_frame(self, framed: FramedChunk) -> Audience | None:
        """Return who wants all events of a frame, in one request; None if they must be sorted one by one."""
        audiences = {self.of(kind.type, framed.tenant_id) for kind in framed.kinds}
        if len(audiences) > 1:
            return None
        [audience] = audiences
        if not audience.integration_ids:
            return audience
        most_events, most_bytes = self.limits(audience)
        return audience if framed.events <= most_events and framed.size <= most_bytes else None


#: Of so many types and tenants it is kept who wants them: who publishes may name any tenant.
MOST_KNOWN = 10_000


class KnownAudiences:
    """Who wants what, found out once while the integrations stand: with a thousand of them that takes 0.3 ms.

    Shared by the threads of a router.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self._latest: tuple[Mapping[str, Subscription], Audiences] | None = None

    def of(self, subscriptions: Mapping[str, Subscription]) -> Audiences:
        """Return the audiences of these; the same for the same object, which nothing changes."""
        latest = self._latest
        if latest is not None and latest[0] is subscriptions and latest[1].known < MOST_KNOWN:
            return latest[1]
        made = Audiences(subscriptions)
        self._latest = subscriptions, made
        return made


@dataclass(slots=True)
class _Bundle:
    """What one audience gets, in its order: events in `open_`, and before these some, or a frame."""

    open_: list[QueuedEvent] = field(default_factory=list)
    before: list[list[QueuedEvent] | FrameOfEntry] = field(default_factory=list)

    def add_frame(self, frame: FrameOfEntry) -> None:
        if self.open_:
            self.before.append(self.open_)
            self.open_ = []
        self.before.append(frame)


class Sorting:
    """Gathers events by audience; which get an event depends on its type and tenant alone."""

    def __init__(self, audiences: Audiences) -> None:
        """Sort by these."""
        self._audiences = audiences
        self._by_kind: dict[tuple[str, str], tuple[_Bundle | None, Volume]] = {}
        self._by_audience: dict[Audience, _Bundle] = {}

    def add_all(self, tenant_id: str, events: Sequence[QueuedEvent]) -> int:
        """Add events of one tenant, in their order; return how many no integration wants."""
        sizes: dict[str, list[int]] = {}
        for event in events:
            sizes.setdefault(event.type, []).append(len(event.raw))
        bundles = {
            kind: self._counted((kind, tenant_id), len(found), sum(found)) for kind, found in sizes.items()
        }
        first = bundles[events[0].type]
        if all(bundle is first for bundle in bundles.values()):
            if first is None:
                return len(events)
            first.open_.extend(events)
            return 0
        for event in events:
            if (bundle := bundles[event.type]) is not None:
                bundle.open_.append(event)
        return sum(len(sizes[kind]) for kind, bundle in bundles.items() if bundle is None)

    def add_frame(self, frame: FrameOfEntry) -> int:
        """Add a frame that has one audience (`Audiences.of_frame`); return how many events no one wants."""
        framed, bundle = frame.framed, None
        for kind in framed.kinds:
            bundle = self._counted((kind.type, framed.tenant_id), kind.events, kind.size)
        if bundle is None:
            return framed.events
        bundle.add_frame(frame)
        return 0

    def _counted(self, kind: tuple[str, str], events: int, size: int) -> _Bundle | None:
        """Count events of this type and tenant; return where they go, None if no integration wants them."""
        if kind not in self._by_kind:
            self._by_kind[kind] = self._bundle(*kind), Volume()
        bundle, volume = self._by_kind[kind]
        volume.events += events
        volume.size += size
        return bundle

    def volumes(self) -> Volumes:
        """Return how much came of each type and tenant."""
        return {kind: volume for kind, (_, volume) in self._by_kind.items()}

    def routed_chunks(self) -> list[RoutedChunk]:
        """Cut what was gathered into chunks of which every one fits into a single request."""
        return [
            chunk
            for audience, bundle in self._by_audience.items()
            for part in (*bundle.before, bundle.open_)
            for chunk in self._chunks(audience, part)
        ]

    def _bundle(self, event_type: str, tenant_id: str) -> _Bundle | None:
        audience = self._audiences.of(event_type, tenant_id)
        return self._by_audience.setdefault(audience, _Bundle()) if audience.integration_ids else None

    def _chunks(self, audience: Audience, part: list[QueuedEvent] | FrameOfEntry) -> Iterator[RoutedChunk]:
        if isinstance(part, FrameOfEntry):
            yield RoutedChunk(audience.integration_ids, audience.urgent, [], frame=part)
            return
        most_events, most_bytes = self._audiences.limits(audience)
        start = 0
        while start < len(part):
            chunk = part[start : start + most_events]
            if sum([len(event.raw) for event in chunk]) > most_bytes:
                chunk = _leading(chunk, most_bytes)
            yield RoutedChunk(audience.integration_ids, audience.urgent, chunk)
            start += len(chunk)


def _leading(events: list[QueuedEvent], most_bytes: int) -> list[QueuedEvent]:
    """Return the first of these, as many as fit; one at the least."""
    size = 0
    for place, event in enumerate(events):
        size += len(event.raw)
        if place and size > most_bytes:
            return events[:place]
    return events
