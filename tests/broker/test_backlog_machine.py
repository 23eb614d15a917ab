"""Whatever happens in whatever order: no event is lost, none is in two places, and the counts are exact."""

import sys
from collections import Counter
from collections.abc import Sequence

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.broker.backlog_fleet import CAP, Fleet
from tests.broker.backlog_mirror import Mirror
from tests.broker.backlog_stand_ins import FATES
from worker.broker import connection, shared_chunks
from worker.model.parking import Cap

pytestmark = pytest.mark.slow

IDS = ("a", "b", "c")
#: Milliseconds, around what the scripts wait for: a slot soon back, an order on its way, a retry, a lease.
SPANS = (30, 1_100, 6_000, 35_000, 400_000)
#: A cap that was lowered for a while.
SMALL = Cap(2, 100)
#: So many rounds of the whole fleet empty any backlog of these tests, once all is well.
ROUNDS = 60

#: So many messages, and so many settles, may come late at once.
LATE = 4

which = st.integers(0, len(IDS) - 1)
age = st.integers(0, 7)


class Machine(RuleBasedStateMachine):
    """Each rule is something that the fleet, a person or misfortune does."""

    client: redis.Redis
    #: What has happened in all histories together.
    seen: Counter[str]

    def __init__(self) -> None:
        """Begin with an empty Redis."""
        super().__init__()
        self.fleet = Fleet(self.client, IDS)

    @rule(
        chosen=st.sampled_from([(0,), (1,), (0, 1), (0, 1, 2)]),
        sizes=st.lists(st.sampled_from([3, 10, 40]), min_size=1, max_size=3),
        chunks=st.integers(1, 4),
        urgent=st.booleans(),
    )
    def append(self, chosen: Sequence[int], sizes: list[int], chunks: int, urgent: bool) -> None:  # noqa: FBT001 - hypothesis passes it by name
        """Let a router hand events over."""
        for _ in range(chunks):
            self.fleet.append([self.fleet.mirrors[one] for one in chosen], sizes, urgent=urgent)

    @rule()
    def wake(self) -> None:
        """Let a router or the sweeper wake who has a free slot."""
        self.fleet.wake()

    @rule(age=age)
    def claim(self, age: int) -> None:
        """Let a worker bear an order; the message may come again."""
        if orders := self.fleet.orders:
            self.fleet.claim(orders.pop(-1 - age % len(orders)))

    @rule(age=age, replay_result=st.lists(st.sampled_from(FATES), min_size=1, max_size=4))
    def settle(self, age: int, replay_result: list[str]) -> None:
        """Let a worker end a sending, in time or far too late."""
        if sending := self.fleet.sending:
            self.fleet.settle(sending[-1 - age % len(sending)], replay_result)

    @rule(
        replay_result=st.lists(st.sampled_from(FATES), min_size=1, max_size=4),
        span=st.sampled_from(SPANS),
        late=st.booleans(),
    )
    def deliver(self, replay_result: list[str], span: int, late: bool) -> None:  # noqa: FBT001 - hypothesis passes it by name
        """Let a worker claim, settle, and after a while claim again, while messages come late."""
        self.fleet.wake()
        self._bear_latest()
        if sending := self.fleet.sending:
            self.fleet.settle(sending[-1], replay_result)
        self.fleet.pass_time(span)
        if late:
            self._come_again()
        self._bear_latest()
        if late:
            self._come_again()

    @rule(
        one=which,
        meanwhile=st.sampled_from(["nothing", "an event", "a shared one", "a pause", "a deletion", "death"]),
        span=st.sampled_from(SPANS),
    )
    def stay(self, one: int, meanwhile: str, span: int) -> None:
        """Let a worker settle the last of a backlog and stay, and something happen before it looks again."""
        mirror = self._settle_last(one, ["accepted"])
        if not (staying := self.fleet.staying):
            return
        if meanwhile in {"an event", "a shared one"}:
            self.fleet.append([mirror] if meanwhile == "an event" else self.fleet.mirrors, [3], urgent=True)
        elif meanwhile in {"a pause", "a deletion"}:
            is_deleted = meanwhile == "a deletion"
            self.fleet.configure(mirror, active=True, paused=not is_deleted, deleted=is_deleted)
        elif meanwhile == "death":
            staying.clear()
        self.fleet.pass_time(span)
        self.fleet.wake()
        while staying:
            self.fleet.end_stay(staying[0])

    @rule(one=which, overtaken=st.booleans())
    def replay(self, one: int, overtaken: bool) -> None:  # noqa: FBT001 - hypothesis passes it by name
        """Let what several want die at one of them, and send dead letters again."""
        self._settle_last(one, ["refused"])
        self.fleet.replay(overtaken=overtaken)

    def _settle_last(self, one: int, replay_result: list[str]) -> Mirror:
        """Let an integration be rid of all that waits, and then of what all of them want."""
        mirror = self.fleet.mirrors[one]
        for _ in range(ROUNDS):
            if mirror.held or mirror.deleted or not mirror.holds_anything():
                break
            self.fleet.pass_time(400_000)
            self.fleet.sweep()
            self._settle_all_of(mirror, ["accepted"])
        self.fleet.append(self.fleet.mirrors, [3, 10], urgent=True)
        self.fleet.pass_time(400_000)
        self._settle_all_of(mirror, replay_result, stay=not mirror.deleted)
        return mirror

    def _settle_all_of(self, mirror: Mirror, replay_result: list[str], *, stay: bool = False) -> None:
        self.fleet.wake()
        for order in [one for one in self.fleet.orders if one.integration_id == mirror.id]:
            self.fleet.orders.remove(order)
            self.fleet.claim(order)
        for batch in [one for one in self.fleet.sending if one.order.integration_id == mirror.id]:
            self.fleet.settle(batch, replay_result, stay=stay)

    @rule(age=age)
    def crash(self, age: int) -> None:
        """Let a worker die with its batch."""
        if sending := self.fleet.sending:
            sending.pop(-1 - age % len(sending))

    @rule(span=st.sampled_from(SPANS))
    def pass_time(self, span: int) -> None:
        """Let time pass."""
        self.fleet.pass_time(span)

    @rule()
    def look_for_wrong_counts(self) -> None:
        """Let the sweeper look at what integrations share."""
        self.fleet.look_for_wrong_counts()

    @rule(span=st.sampled_from(SPANS))
    def sweep(self, span: int) -> None:
        """Let the sweeper look again, after a while."""
        self.fleet.pass_time(span)
        self.fleet.sweep()

    @rule(deaths=st.integers(1, 7))
    def die_of_it(self, deaths: int) -> None:
        """Let worker after worker die with whatever it claims."""
        for _ in range(deaths):
            self.fleet.pass_time(40_000)
            self.fleet.sweep()
            self._bear_all()
            self.fleet.sending.clear()

    @rule(
        one=which,
        status=st.sampled_from(["active", "active", "paused", "disabled"]),
        slots=st.integers(1, 4),
        batch_events=st.sampled_from([2, 4]),
    )
    def configure(self, one: int, status: str, slots: int, batch_events: int) -> None:
        """Change, pause, resume or switch an integration while an order is on its way."""
        mirror = self.fleet.mirrors[one]
        self.fleet.wake()
        if not mirror.deleted:
            self.fleet.configure(
                mirror,
                active=status != "disabled",
                paused=status == "paused",
                slots=slots,
                batch_events=batch_events,
            )
        self._bear_latest()

    @rule(one=which, sure=st.integers(0, 3))
    def delete(self, one: int, sure: int) -> None:
        """Delete an integration, once in a while."""
        if sure == 3:
            self.fleet.configure(self.fleet.mirrors[one], active=True, deleted=True)

    @rule(one=which, cap=st.sampled_from([CAP, SMALL, Cap(100, 60)]))
    def park(self, one: int, cap: Cap) -> None:
        """Let the sweeper park what a backlog has no room for."""
        self.fleet.park(self.fleet.mirrors[one], cap)

    @rule(one=which, then=st.sampled_from(["goes on", "dies", "sleeps", "is overtaken"]), flood=st.booleans())
    def unpark(self, one: int, then: str, flood: bool) -> None:  # noqa: FBT001 - hypothesis passes it by name
        """Let the recorder take what is parked, perhaps after a flood, and the unparker bring a page back."""
        mirror = self.fleet.mirrors[one]
        if flood:
            for urgent in (False, True, False):
                self.fleet.append([mirror], [3, 10], urgent=urgent)
            self.fleet.park(mirror, SMALL)
        self.fleet.record()
        self.fleet.unpark(mirror, then)
        if then == "goes on":
            self.fleet.wake_unparker()

    @invariant()
    def redis_is_as_it_must_be(self) -> None:
        """Compare all of Redis after each step."""
        self.fleet.check()

    def teardown(self) -> None:
        """See that everything comes to its end once nothing is wrong any more."""
        if sys.exc_info()[0] is None:
            self._mend_all()
            for _ in range(ROUNDS):
                if not self._is_left():
                    break
                self._go_round()
                self.fleet.check()
            assert not self._is_left(), "something waits for ever"
            self.seen.update(stays=self.fleet.stays, replays=self.fleet.replays)

    @rule()
    def come_again(self) -> None:
        """Let late messages arrive."""
        self._come_again()

    def _come_again(self) -> None:
        """Let late copies of orders arrive, and workers that missed a reply settle once more."""
        for order in self.fleet.issued[-LATE:]:
            self.fleet.claim(order)
        for batch, settlement in self.fleet.repeated[-LATE:]:
            self.fleet.repeat(batch, settlement)

    def _mend_all(self) -> None:
        self.fleet.sending.clear()
        self.fleet.orders.clear()
        self.fleet.staying.clear()
        for mirror in self.fleet.mirrors:
            if mirror.held:
                self.fleet.configure(mirror, active=True, slots=mirror.most_slots)

    def _go_round(self) -> None:
        self.fleet.pass_time(400_000)
        self.fleet.sweep()
        self.fleet.wake()
        self._bear_all()
        while self.fleet.sending:
            self.fleet.settle(self.fleet.sending[0], ["accepted"])
        self.fleet.record()
        for mirror in self.fleet.mirrors:
            self.fleet.unpark(mirror, "goes on")

    def _bear_latest(self) -> None:
        if orders := self.fleet.orders:
            self.fleet.claim(orders[-1])

    def _bear_all(self) -> None:
        while self.fleet.orders:
            self.fleet.claim(self.fleet.orders.pop())

    def _is_left(self) -> bool:
        mirrors: list[Mirror] = self.fleet.mirrors
        busy = any(slot.state != "free" for mirror in mirrors for slot in mirror.slots.values())
        return busy or bool(self.fleet.ledger.rows) or any(mirror.waiting() for mirror in mirrors)


@pytest.fixture
def machine(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> type[Machine]:
    """Give the machine for one server; they share the smallest chunks, and some go past the scripts."""
    monkeypatch.setattr(shared_chunks, "LEAST_SHARED", 1)
    monkeypatch.setattr(shared_chunks, "LEAST_ALONE", 80)
    whole = connection.script_text
    monkeypatch.setattr(connection, "script_text", lambda name: whole(name).replace("= 65536", "= 120"))
    return type("Machine", (Machine,), {"client": client, "seen": Counter()})


@pytest.mark.timeout(900)  # what fails is made as short as it can be
def test_nothing_is_lost_and_nothing_is_in_two_places(machine: type[Machine]) -> None:
    """Any history of a fleet leaves Redis as plain rules say, and every event comes to one end."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=15,
            stateful_step_count=40,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )

    assert machine.seen["stays"] > 0
    assert machine.seen["replays"] > 0
