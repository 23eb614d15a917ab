"""Which events go first when more wait than can be routed in time: one pass over the ingress, pure.

Input: entry after entry, from the head of the ingress stream on. Output: the entries to route at once,
the smallest flows first. A flow is a tenant's urgent events, or its others (`worker.model.flows`); a tenant
that floods the ingress has the greatest flow, and all others overtake it.

What is promised: within one pass, events of one flow come out in the order in which they went in. Once an
event of a flow is left behind, all later ones of this flow are left as well, until readers of the stream
have come past the last of them.
"""

from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from worker.broker.frames import frame_head
from worker.broker.ingress import EVENTS_FIELD, FRAME_FIELD, payload_of
from worker.broker.streams import Entry
from worker.model.errors import InvalidEvent
from worker.model.event_lines import bounded_lines
from worker.model.flows import UNREADABLE, Flow, flow_of

#: Of one flow no more is taken out of turn in one pass: the rest waits for its turn, or for the next pass.
MOST_EVENTS, MOST_BYTES = 5000, 4 << 20
#: Bytes of events that a pass keeps in memory at the most; the greatest flows are left behind beyond it.
MOST_KEPT = 32 << 20
#: So many flows are remembered that were left behind.
MOST_FLOWS = 100_000
#: A flow of no more events than this goes first, whether it may wait or not.
_SMALL = 100
#: In a greater flow, an event that may wait weighs as much as so many that may not.
_PATIENCE = 4
#: Bytes of memory that an entry takes beside its event.
_ENTRY_BYTES = 200
#: Routing an event costs as much as so many bytes of events.
_BYTES_AN_EVENT = 2000
#: A flow is much smaller than the greatest if the greatest has so many times its events.
_MUCH_SMALLER = 2


@dataclass(slots=True)
class _Found:
    """What is to be routed at once of one flow."""

    entries: list[Entry] = field(default_factory=list)
    events: int = 0
    size: int = 0


@dataclass(slots=True)
class _Left:
    """What is left of one flow: the id of its last entry, and how many events there are."""

    last_id: bytes
    events: int = 0


class IngressPass:
    """One pass; a new one sees again what this one left behind."""

    def __init__(self, head: bytes) -> None:
        """Begin after the entry `head`, which is the last one that a reader was given."""
        self.cursor = head
        self._found: dict[Flow, _Found] = {}
        self._left: dict[Flow, _Left] = {}
        self._kept = 0

    def add(self, entries: Sequence[Entry]) -> int:
        """Sort the next entries of the stream; return how many bytes of events they hold."""
        size = 0
        for entry in entries:
            weighed = _weighed(entry[1])
            size += weighed.size
            if len(weighed.flows) > 1:
                self._leave_mixed(entry[0], weighed.flows)
                continue
            [(flow, events)] = weighed.flows.items()
            left = self._left.get(flow)
            if left is None:
                self._find(entry, flow, events, weighed.size)
            else:
                left.last_id = entry[0]
                left.events += events
        if entries:
            self.cursor = entries[-1][0]
        if self._kept > MOST_KEPT:
            self._shed()
        return size

    def _find(self, entry: Entry, flow: Flow, events: int, size: int) -> None:
        found = self._found.get(flow)
        if found is None:
            found = self._found[flow] = _Found()
        elif found.events + events > MOST_EVENTS or found.size >= MOST_BYTES:
            self._left[flow] = _Left(entry[0], events)
            return
        found.entries.append(entry)
        found.events += events
        found.size += _ENTRY_BYTES + size
        self._kept += _ENTRY_BYTES + size

    def _leave_mixed(self, entry_id: bytes, flows: dict[Flow, int]) -> None:
        """Leave an entry with events of several flows: routed with one, it would overtake those of others."""
        for flow, events in flows.items():
            left = self._left.setdefault(flow, _Left(entry_id))
            left.last_id = entry_id
            left.events += events

    def take(self) -> Iterator[Entry]:
        """Return what is to be routed at once, the smallest flows first; `finish` says what was."""
        greatest = self._greatest()
        for flow in self._by_weight():
            if flow != greatest:
                yield from self._found[flow].entries

    def has_found(self) -> bool:
        """Whether there is anything to take."""
        return next(self.take(), None) is not None

    def finish(self, routed: Container[bytes]) -> None:
        """Forget what was routed, by the ids of the entries; the rest is to be taken again."""
        for flow, found in tuple(self._found.items()):
            self._keep(flow, found, [entry for entry in found.entries if entry[0] not in routed])

    def come_past(self, head: bytes) -> None:
        """Readers have been given all entries up to this one: what was left up to there is in their hands."""
        place = ordinal(head)
        if place > ordinal(self.cursor):
            self.cursor = head
        for flow in [flow for flow, left in self._left.items() if ordinal(left.last_id) <= place]:
            del self._left[flow]
        for flow, found in tuple(self._found.items()):
            if ordinal(found.entries[0][0]) <= place:
                self._keep(flow, found, [entry for entry in found.entries if ordinal(entry[0]) > place])

    def _keep(self, flow: Flow, found: _Found, entries: list[Entry]) -> None:
        if len(entries) == len(found.entries):
            return
        weighed = [_weighed(fields) for _, fields in entries]
        size = sum(_ENTRY_BYTES + one.size for one in weighed)
        self._kept += size - found.size
        found.entries, found.size = entries, size
        found.events = sum(sum(one.flows.values()) for one in weighed)
        if not entries:
            del self._found[flow]

    def floods(self) -> list[str]:
        """Return the tenants of which more is left than one pass takes of a flow; UNREADABLE has none."""
        return sorted(
            {flow[0] for flow, left in self._left.items() if left.events >= MOST_EVENTS and flow[0]}
        )

    def is_crowded(self) -> bool:
        """Whether so many flows were left that they are too many to remember."""
        return len(self._left) > MOST_FLOWS

    def has_small_rest(self) -> bool:
        """Whether a flow was left that is much smaller than the greatest: the next pass may take it."""
        counts = [left.events for left in self._left.values()]
        return bool(counts) and min(counts) * _MUCH_SMALLER <= max(counts)

    def _leave(self, flow: Flow) -> None:
        found = self._found.pop(flow)
        self._kept -= found.size
        # It may have left later ones already.
        left = self._left.setdefault(flow, _Left(found.entries[-1][0]))
        left.events += found.events

    def _greatest(self) -> Flow | None:
        """Return the flow that readers of the stream meet anyway: it has more than half of what waits."""
        counts = {flow: left.events for flow, left in self._left.items()}
        if not counts:
            return None
        greatest = max(counts, key=counts.__getitem__)
        return greatest if counts[greatest] * 2 > sum(counts.values()) else None

    def _by_weight(self) -> list[Flow]:
        return sorted(self._found, key=self._weight)

    def _weight(self, flow: Flow) -> tuple[bool, int, bool]:
        found, may_wait = self._found[flow], not flow[1]
        is_great = found.events > _SMALL
        weight = found.events * _BYTES_AN_EVENT + found.size
        return is_great, weight * _PATIENCE if is_great and may_wait else weight, may_wait

    def _shed(self) -> None:
        """Leave the greatest flows behind until half of what may be kept is left."""
        for flow in reversed(self._by_weight()):
            self._leave(flow)
            if self._kept <= MOST_KEPT // 2:
                return


class _Weighed(NamedTuple):
    """What an entry weighs: bytes of events, and how many events of which flow."""

    size: int
    flows: dict[Flow, int]


def _weighed(fields: list[bytes]) -> _Weighed:
    form, raw = payload_of(fields)
    size = len(raw or b"")
    if raw is not None and form == FRAME_FIELD:
        head = frame_head(raw)
        return _Weighed(size, {UNREADABLE: 1} if head is None else {head.flow: head.events})
    if raw is None or form != EVENTS_FIELD:
        return _Weighed(size, {flow_of(raw): 1})
    try:
        return _Weighed(size, Counter(map(flow_of, bounded_lines(raw))))
    except InvalidEvent:
        return _Weighed(size, {UNREADABLE: 1})


def ordinal(entry_id: bytes) -> tuple[int, int]:
    """Return what entry ids are ordered by: milliseconds and sequence."""
    milliseconds, _, sequence = entry_id.partition(b"-")
    return int(milliseconds), int(sequence or 0)
