"""What a backlog must hold after all that was done to it: the same rules as the scripts', in plain Python.

Comes in: what was done, and what the scripts answered. Goes out: where each event must be. An answer that
the rules do not allow is an AssertionError.
"""

from dataclasses import dataclass, field

from worker.model.batches import SETTLED, Batch
from worker.model.breaker import BreakerPolicy
from worker.model.deliveries import BreakerSignal, Settlement, Status
from worker.model.orders import WorkOrder

#: Every so many claims the bulk lane comes first.
BULK_TURN = 8
#: So many failures open a breaker while more waits.
EARLY = 3


@dataclass(frozen=True, slots=True)
class Chunk:
    """Events that were appended together: their names, and their bytes."""

    names: tuple[str, ...]
    size: int


@dataclass(slots=True)
class Slot:
    """One slot; `counts` says how many requests carried each of its events, or SETTLED."""

    state: str = "free"
    epoch: int = 0
    since: int = 0
    urgent: list[Chunk] = field(default_factory=list)
    bulk: list[Chunk] = field(default_factory=list)
    counts: bytearray = field(default_factory=bytearray)

    def names(self) -> list[str]:
        """Name the events that it has claimed."""
        return [name for chunk in (*self.urgent, *self.bulk) for name in chunk.names]

    def open_names(self) -> list[str]:
        """Name those that are neither delivered nor dead."""
        return [name for name, count in zip(self.names(), self.counts, strict=True) if count != SETTLED]

    def free(self) -> None:
        """Give it back."""
        self.state, self.urgent, self.bulk, self.counts = "free", [], [], bytearray()

    def lose(self) -> None:
        """Count a request for what its worker died with, and expect another bearer."""
        for place, count in enumerate(self.counts):
            self.counts[place] = count if count == SETTLED else min(count + 1, SETTLED - 1)
        self.epoch += 1


@dataclass(slots=True)
class Mirror:
    """One integration: its two lanes (what no slot has claimed), its slots, its breaker, its limits."""

    id: str
    policy: BreakerPolicy
    most_slots: int = 4
    batch_events: int = 4
    batch_bytes: int = 60
    held: bool = False
    deleted: bool = False
    breaker_open: bool = False
    failures: int = 0
    probe: int | None = None
    claims: int = 0
    last_page: tuple[str, ...] = ()
    urgent: list[Chunk] = field(default_factory=list)
    bulk: list[Chunk] = field(default_factory=list)
    slots: dict[int, Slot] = field(default_factory=lambda: {number: Slot() for number in range(1, 5)})

    def lane(self, *, urgent: bool) -> list[Chunk]:
        """Return what waits in one lane, oldest first."""
        return self.urgent if urgent else self.bulk

    def waiting(self) -> list[Chunk]:
        """Return what no slot has claimed."""
        return [*self.urgent, *self.bulk]

    def leased(self, order: WorkOrder) -> None:
        """Take note of an order that a script gave out: it must have been free to do so."""
        slot = self.slots[order.slot]
        assert not self.held, "an order for what is held"
        if self.breaker_open:
            assert self.probe is None, "a second probe"
            self.probe = order.slot
        if self.breaker_open and slot.state == "waiting":
            assert order.epoch == slot.epoch
        else:
            assert slot.state == "free", "a slot was leased twice"
            assert self.waiting(), "an order for nothing"
            assert order.slot <= self.most_slots
            slot.epoch += 1
        assert order == WorkOrder(self.id, order.slot, slot.epoch)
        slot.state = "ordered"

    def stayed(self, order: WorkOrder) -> None:
        """Take note of a slot that was given to who freed it: the lanes are empty, and nothing is held up."""
        slot = self.slots[order.slot]
        assert not self.held
        assert not self.breaker_open
        assert slot.state == "free"
        assert order.slot <= self.most_slots
        assert not self.holds_anything()
        slot.epoch += 1
        assert order == WorkOrder(self.id, order.slot, slot.epoch)
        slot.state = "ordered"

    def holds_anything(self) -> bool:
        """Say whether an entry stands in a lane, claimed or not."""
        return bool(self.waiting()) or any(slot.names() for slot in self.slots.values())

    def reissued(self, order: WorkOrder, was: str) -> None:
        """Take note of an order that the sweeper gave out again."""
        slot = self.slots[order.slot]
        assert slot.state == was != "free"
        assert not self.waits_in_vain(order.slot)
        if was == "sending":
            slot.lose()
        elif was == "waiting" and self.breaker_open:
            self.probe = order.slot
        assert order == WorkOrder(self.id, order.slot, slot.epoch)
        slot.state = "ordered"

    def waits_in_vain(self, number: int) -> bool:
        """Say whether an order for the slot would be turned away."""
        blocked = self.held or (self.breaker_open and self.probe not in {None, number})
        return blocked and self.slots[number].state == "waiting"

    def may_become_probe(self, number: int) -> bool:
        """Say whether the slot's batch tries the destination, if it is issued now."""
        return self.breaker_open and self.probe is None and self.slots[number].state == "waiting"

    def is_good(self, order: WorkOrder) -> bool:
        """Say whether the order is the one that its slot awaits."""
        slot = self.slots.get(order.slot)
        return slot is not None and slot.state in {"ordered", "waiting"} and slot.epoch == order.epoch

    def turned_away(self, number: int) -> None:
        """Take note of an order whose integration takes nothing at present."""
        if self.slots[number].names():
            self.slots[number].state = "waiting"
        else:
            self.give_back(number)

    def give_back(self, number: int) -> None:
        """Free a slot; a probe ends with it."""
        self.slots[number].free()
        if self.probe == number:
            self.probe = None

    def claimed(self, batch: Batch) -> None:
        """Take note of a batch: it must be what the slot held, or what was next in both lanes."""
        slot = self.slots[batch.order.slot]
        if not slot.names():
            self._claim_new(slot)
        assert [event.id for event in batch.events] == slot.names()
        assert list(batch.request_counts) == list(slot.counts), "requests were counted wrongly"
        assert (len(batch.urgent), len(batch.bulk)) == (len(slot.urgent), len(slot.bulk))
        assert batch.probing == (self.breaker_open and self.probe == batch.order.slot)
        slot.state, slot.since = "sending", batch.claimed_ms

    def is_claim_of(self, batch: Batch) -> bool:
        """Say whether the batch still belongs to the worker that claimed it."""
        slot = self.slots[batch.order.slot]
        return (slot.state, slot.epoch, slot.since) == ("sending", batch.order.epoch, batch.claimed_ms)

    def must_hold(self, settlement: Settlement) -> None:
        """See that what the settlement ends is still open in a slot."""
        ended = [
            trace.id
            for outcome in settlement.outcomes
            if outcome.status != Status.RETRYING
            for trace in outcome.events
        ]
        still_open = {name for slot in self.slots.values() for name in slot.open_names()}
        assert settlement.settled == len(ended) == len(set(ended) & still_open)

    def settled(self, batch: Batch, settlement: Settlement) -> None:
        """Take note of what became of a batch."""
        number = batch.order.slot
        slot = self.slots[number]
        self.held |= settlement.disable
        if settlement.retry is not None:
            slot.state, slot.counts = "waiting", bytearray(settlement.retry.request_counts)
        self._note(number, settlement.health)
        if settlement.retry is None:
            self.give_back(number)

    def park(self, most_events: float, most_bytes: float) -> list[tuple[bool, Chunk]]:
        """Take out the oldest until so much is left: the bulk lane first. Answers (urgent, chunk)."""
        taken = []
        while self.waiting() and (
            sum(len(chunk.names) for chunk in self.waiting()) > round(most_events)
            or sum(chunk.size for chunk in self.waiting()) > round(most_bytes)
        ):
            urgent = not self.bulk
            taken.append((urgent, self.lane(urgent=urgent).pop(0)))
        return taken

    def _claim_new(self, slot: Slot) -> None:
        self.claims += 1
        events, size, untouched = self.batch_events, self.batch_bytes, True
        bulk_first = self.claims % BULK_TURN == 0
        for urgent in (not bulk_first, bulk_first):
            lane, taken = self.lane(urgent=urgent), slot.urgent if urgent else slot.bulk
            while lane and events > 0 and size > 0:
                chunk = lane[0]
                if not untouched and (len(chunk.names) > events or chunk.size > size):
                    break
                taken.append(lane.pop(0))
                events, size, untouched = events - len(chunk.names), size - chunk.size, False
        slot.counts = bytearray(len(slot.names()))

    def _note(self, number: int, health: BreakerSignal) -> None:
        if health is BreakerSignal.WELL:
            self.failures, self.breaker_open, self.probe = 0, False, None if self.breaker_open else self.probe
        elif health is not BreakerSignal.UNKNOWN:
            self._note_ill(number, health)

    def _note_ill(self, number: int, health: BreakerSignal) -> None:
        self.failures += 1
        if self.breaker_open:
            self.probe = None if self.probe == number else self.probe
            return
        threshold = min(EARLY, self.policy.failures) if self.waiting() else self.policy.failures
        self.breaker_open = health is BreakerSignal.MISCONFIGURED or self.failures >= threshold
