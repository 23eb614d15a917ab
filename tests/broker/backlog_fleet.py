"""A fleet in one thread: routers, workers, sweeper, recorder and unparker, each of which may die or sleep.

Comes in: what happens next. Goes out: what it did to a real Redis, told to the mirrors, which refuse what
the rules of a backlog do not allow.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import redis

from tests.broker.backlog_mirror import Chunk, Mirror
from tests.broker.backlog_stand_ins import Ledger, ParkedPage, carry, event
from tests.broker.backlog_truth import Truth, now_ms, turn_on
from tests.broker.shared import whole_look
from worker.broker import keys
from worker.broker.backlog import Backlog, Timing
from worker.broker.formats import Format
from worker.broker.ingress import Ingress, RoutedChunk, RoutingResult
from worker.broker.outcomes import Outcomes
from worker.broker.packing import unpack_chunk
from worker.broker.parking import Parking
from worker.broker.replaying import Replaying
from worker.broker.shared_chunks import ChunkSweep
from worker.broker.snapshot import publish_integrations
from worker.ledger.results import IntegrationRecord
from worker.model.batches import Batch
from worker.model.breaker import BreakerPolicy
from worker.model.deliveries import Settlement
from worker.model.errors import LeaseLost
from worker.model.events import QueuedEvent
from worker.model.orders import WorkOrder
from worker.model.parking import PARKED_DOWN_TO, BacklogRoom, Cap
from worker.model.replays import Page

BREAKER = BreakerPolicy(failures=4, first_probe=5, longest_probe=20)
TIMING = Timing(lease=30, order_lease=10, retry_grace=5, breaker=BREAKER)
CAP = Cap(events=12, size=150)
#: Claims, clocks and limits of workers may stray so far from the moment that a test looked at them (ms).
_CLOSE = 200
_EARLY = 1000


class Fleet:
    """All roles, their messages and their memories."""

    def __init__(self, client: redis.Redis, ids: Sequence[str]) -> None:
        """Begin with an empty Redis and these integrations."""
        client.flushall()
        self._client = client
        self.backlog = Backlog(client, TIMING)
        self.parking = Parking(client, CAP)
        self._ingress = Ingress(client, "router", 30)
        self._recorder = Outcomes(client, "recorder", 30)
        self._recorder.read(1, 1)
        self.chunk_sweep = ChunkSweep(client, look_every=0, look_again=0)
        client.set(keys.FORMATS, Format.SHARED_CHUNKS)
        self.truth = Truth(client)
        self.mirrors = [Mirror(one, BREAKER) for one in ids]
        self.appended: list[str] = []
        self.orders: list[WorkOrder] = []
        self.issued: list[WorkOrder] = []
        self.staying: list[WorkOrder] = []
        self.stays = self.replays = 0
        self.sending: list[Batch] = []
        self.repeated: list[tuple[Batch, Settlement]] = []
        self.ledger = Ledger()
        self._asleep: list[tuple[Mirror, BacklogRoom, ParkedPage]] = []
        self._revision = 0
        for mirror in self.mirrors:
            self.configure(mirror, active=True)
            client.hset(keys.state_key(mirror.id), mapping={"window": 4, "last_send_ms": 100})

    def check(self) -> None:
        """Compare all of Redis with the mirrors."""
        back = {name for mirror in self.mirrors for name in mirror.last_page}
        resting = [
            one.id
            for name, chunk in self.ledger.rows.items()
            if name not in back
            for one in unpack_chunk(chunk.packed)
        ]
        self.truth.check(self.mirrors, self.appended, resting)

    def configure(
        self,
        mirror: Mirror,
        *,
        active: bool,
        paused: bool = False,
        deleted: bool = False,
        slots: int = 4,
        batch_events: int = 4,
    ) -> None:
        """Make a change of the integration known, as the recorder does."""
        self._revision += 1
        batch_bytes = 60 if batch_events > 2 else 25
        document = {
            "id": mirror.id,
            "enabled": active,
            "paused": paused,
            "event_types": ["policy.deny"],
            "destination": {"type": "webhook", "batch_events": batch_events, "batch_bytes": batch_bytes},
        }
        record = IntegrationRecord(
            mirror.id, "webhook", json.dumps(document), self._revision, deleted=deleted
        )
        assert publish_integrations(self._client, [record], slots)
        mirror.most_slots, mirror.deleted = slots, deleted
        mirror.held = (paused or not active) and not deleted
        mirror.batch_events, mirror.batch_bytes = (500, 900_000) if deleted else (batch_events, batch_bytes)

    def append(self, mirrors: Sequence[Mirror], sizes: Sequence[int], *, urgent: bool) -> None:
        """Hand one chunk of fresh events over to these integrations; each of the sizes is an event's."""
        entry: Any = self._client.xadd("siem:events", {"event": b"{}"})
        first = len(self.appended)
        names = tuple(f"e{first + place}" for place in range(len(sizes)))
        events = [event(name, size) for name, size in zip(names, sizes, strict=True)]
        for mirror in mirrors:
            self.appended += names
            mirror.lane(urgent=urgent).append(Chunk(names, sum(len(one.raw) for one in events)))
        routed_chunk = RoutedChunk([mirror.id for mirror in mirrors], urgent, events)
        self._ingress.hand_over(RoutingResult(routed_chunks=[routed_chunk], done=[entry]))

    def look_for_wrong_counts(self) -> None:
        """Let the sweeper look at shared chunks: twice, and nothing is wrong with them."""
        for _ in range(2):
            assert not whole_look(self.chunk_sweep)

    def pass_time(self, ms: int) -> None:
        """Let time pass, for Redis and for every worker's memory of when it claimed what."""
        turn_on(self._client, self.mirrors, ms)
        self.sending = [replace(one, claimed_ms=one.claimed_ms - ms) for one in self.sending]
        self.repeated = [
            (replace(batch, claimed_ms=batch.claimed_ms - ms), settlement)
            for batch, settlement in self.repeated
        ]
        for mirror in self.mirrors:
            for slot in mirror.slots.values():
                slot.since -= ms

    def wake(self) -> None:
        """Wake all integrations."""
        self._issue(self.backlog.wake([mirror.id for mirror in self.mirrors]))

    def sweep(self) -> None:
        """Issue again the orders of all slots whose lease ran out: every one of them, and no other."""
        before = now_ms(self._client)
        leases: Any = self._client.zrange(keys.LEASES, 0, -1, withscores=True)
        due = {name.decode() for name, at in leases if at <= before}
        possible = {name.decode() for name, at in leases if at <= before + _CLOSE}
        # However slow the machine is, that is no suspension.
        found = self.backlog.reissue(sweep_interval=3600)
        named = {f"{order.integration_id}/{order.slot}" for order, _, _ in found}
        assert {name for name in due if self._must_go(name)} <= named <= possible
        for order, was, _ in found:
            mirror = self._mirror(order.integration_id)
            if mirror.may_become_probe(order.slot):
                self._see_probe_due(mirror)
            mirror.reissued(order, was)
            self._send_out(order)

    def claim(self, order: WorkOrder, *, stays: bool = False) -> None:
        """Bear an order, good or not; but first a copy of the one that its slot had before.

        A worker that `stays` waits for a moment; if nothing comes, it claims as any other.
        """
        mirror = self._mirror(order.integration_id)
        words = self._expected(mirror, order)
        self._outwait(mirror, order)
        if mirror.is_good(order):
            assert self.backlog.claim(replace(order, epoch=order.epoch - 1)) == "stale"
        found = self.backlog.claim_next(order, 0.001) if stays else self.backlog.claim(order)
        if stays and mirror.is_good(order):
            assert (found == "nothing") != mirror.holds_anything()
        if found == "nothing":
            found = self.backlog.claim(order)
        assert (found if isinstance(found, str) else "batch") in words
        if isinstance(found, str):
            if found == "held":
                mirror.turned_away(order.slot)
            elif found == "empty":
                mirror.claims += 1
                mirror.give_back(order.slot)
            return
        mirror.claimed(found.batch)
        self.sending.append(found.batch)
        self._issue([found.further] if found.further else [])

    def settle(self, batch: Batch, replay_result: Sequence[str], *, stay: bool = False) -> None:
        """Let a worker end its sending: in what it wanted, or in finding that the batch is not its own.

        One that would stay has been quick.
        """
        settlement = carry(batch, replay_result)
        self.sending.remove(batch)
        mirror = self._mirror(batch.order.integration_id)
        if not mirror.is_claim_of(batch):
            self.repeat(batch, settlement)
            return
        mirror.must_hold(settlement)
        if stay:
            batch = self._claimed_just_now(mirror, batch)
        further = self.backlog.settle(batch, settlement, stay=stay)
        mirror.settled(batch, settlement)
        self.repeated.append((batch, settlement))
        if further and further.stays:
            mirror.stayed(further)
            self.staying.append(further)
            self.stays += 1
        else:
            self._issue([further] if further else [])
        if settlement.retry is not None:
            self._send_out(batch.order)

    def end_stay(self, order: WorkOrder) -> None:
        """Let a worker that stays look what there is, and take it."""
        self.staying.remove(order)
        self.claim(order, stays=True)

    def replay(self, *, overtaken: bool) -> None:
        """Send dead letters again that can be sent, unless another replayer has just handed a page over."""
        self.truth.read_the_ended()
        chosen: dict[str, list[QueuedEvent]] = {}
        for one, dead in self.truth.dead_letters:
            assert one is not None
            if self._takes_replays(self._mirror(one)):
                chosen.setdefault(one, []).append(dead)
        page = Page("replay", len(self.appended), [], [], 0)
        with Replaying(self._client).hand() as hand:
            if overtaken:
                self._client.hset(keys.REPLAYS, "another", len(self.appended))
            chunks = [RoutedChunk([one], urgent=False, events=events) for one, events in chosen.items()]
            assert hand.over(page, chunks) is not overtaken
        if overtaken:
            return
        self.truth.dead_letters = [one for one in self.truth.dead_letters if one[0] not in chosen]
        for one, events in chosen.items():
            names = tuple(event.id for event in events)
            self.appended += names
            self.replays += 1
            self._mirror(one).bulk.append(Chunk(names, sum(len(event.raw) for event in events)))

    def repeat(self, batch: Batch, settlement: Settlement) -> None:
        """Settle what is settled, or was lost: it must be refused."""
        try:
            self.backlog.settle(batch, settlement)
        except LeaseLost:
            return
        raise AssertionError("a claim of another was settled")

    def park(self, mirror: Mirror, cap: Cap) -> None:
        """Take out of a backlog what is above the cap."""
        parking = Parking(self._client, cap)
        expected: list[tuple[bool, Chunk]] = []
        names = ("unclaimed_events", "unclaimed_bytes")
        if parking.is_over(*(int(one or 0) for one in self._client.hmget(keys.state_key(mirror.id), names))):
            expected = mirror.park(cap.events * PARKED_DOWN_TO, cap.size * PARKED_DOWN_TO)
            assert expected
            assert parking.park(mirror.id) == sum(len(chunk.names) for _, chunk in expected)
        entries: Any = self._client.xrevrange(keys.PARKED, count=len(expected)) if expected else []
        assert [
            (fields[b"lane"] == b"urgent", tuple(one.id for one in unpack_chunk(fields[b"events"])))
            for _, fields in reversed(entries)
        ] == [(urgent, chunk.names) for urgent, chunk in expected]

    def record(self) -> None:
        """Move into the ledger what is on its way there."""
        self.truth.read_the_ended()
        while len(settled := self._recorder.read(100, 1)):
            self.ledger.rows.update(settled.parked)
            self._recorder.finish(settled)

    def unpark(self, mirror: Mirror, then: str) -> None:
        """Bring a page back; the unparker may fall asleep before, or die before it says so in the ledger."""
        room = self.parking.room(mirror.id)
        assert room.last_page == mirror.last_page
        self.ledger.forget(room.last_page)
        page = self.ledger.oldest(mirror.id, room)
        if then in {"sleeps", "is overtaken"}:
            self._asleep.append((mirror, room, page))
        if then != "sleeps":
            self._put_back(mirror, room, page)
        if then == "is overtaken":
            self.wake_unparker()
        if then == "goes on":
            self.ledger.forget([name for name, _ in page])

    def wake_unparker(self) -> None:
        """Let an unparker that slept go on with what it had in hand."""
        if self._asleep:
            self._put_back(*self._asleep.pop())

    def _put_back(self, mirror: Mirror, room: BacklogRoom, page: ParkedPage) -> None:
        """Put a page back, unless another came first."""
        if not page:
            return
        done = self.parking.unpark(room, page)
        assert done == (room.last_page == mirror.last_page)
        if done:
            mirror.last_page = tuple(name for name, _ in page)
            for _, chunk in page:
                names = tuple(one.id for one in unpack_chunk(chunk.packed))
                mirror.lane(urgent=chunk.urgent).append(Chunk(names, chunk.size))

    def _takes_replays(self, mirror: Mirror) -> bool:
        """Say whether dead letters may be sent again to it; that it would take them is known of Redis."""
        ready = mirror.id in Replaying(self._client).ready([mirror.id])
        assert ready == (not mirror.held and not mirror.breaker_open)
        return ready and not mirror.deleted

    def _claimed_just_now(self, mirror: Mirror, batch: Batch) -> Batch:
        """Let no time have passed since the claim, however slow this machine is."""
        number, now = batch.order.slot, now_ms(self._client)
        self._client.hset(f"{keys.slot_prefix(mirror.id)}{number}", "since", now)
        mirror.slots[number].since = now
        return replace(batch, claimed_ms=now)

    def _must_go(self, lease: str) -> bool:
        one, _, slot = lease.rpartition("/")
        mirror = self._mirror(one)
        return not mirror.waits_in_vain(int(slot)) and not mirror.may_become_probe(int(slot))

    def _mirror(self, integration_id: str) -> Mirror:
        return next(mirror for mirror in self.mirrors if mirror.id == integration_id)

    def _issue(self, orders: Sequence[WorkOrder]) -> None:
        for order in orders:
            mirror = self._mirror(order.integration_id)
            if mirror.breaker_open:
                self._see_probe_due(mirror)
            mirror.leased(order)
            self._send_out(order)

    def _send_out(self, order: WorkOrder) -> None:
        self.orders.append(order)
        self.issued.append(order)

    def _see_probe_due(self, mirror: Mirror) -> None:
        found: Any = self._client.hget(keys.state_key(mirror.id), "probe_at")
        assert int(found or 0) <= now_ms(self._client), "a probe before its time"

    def _expected(self, mirror: Mirror, order: WorkOrder) -> set[str]:
        """Say what may be answered to the bearer of an order; two words, if it depends on the moment."""
        if not mirror.is_good(order):
            return {"stale"}
        slot, now = mirror.slots[order.slot], now_ms(self._client)
        words = set()
        if slot.state == "waiting":
            due: Any = self._client.hget(f"{keys.slot_prefix(mirror.id)}{order.slot}", "due")
            if int(due) > now + _EARLY:
                words = {"early"}
                if int(due) > now + _EARLY + _CLOSE:
                    return words
        rests: Any = self._client.hget(keys.state_key(mirror.id), "rests_until")
        left = 0 if slot.names() else int(rests or 0) - now
        blocked = mirror.breaker_open and mirror.probe != order.slot
        if mirror.held or blocked or left > _CLOSE:
            return {*words, "held"}
        words |= {"held"} if left > 0 else set()
        return {*words, "batch" if slot.names() or mirror.waiting() else "empty"}

    def _outwait(self, mirror: Mirror, order: WorkOrder) -> None:
        """Let the clock go on since the slot's last claim: its millisecond differs from the next one's."""
        while mirror.is_good(order) and now_ms(self._client) <= mirror.slots[order.slot].since:
            pass
