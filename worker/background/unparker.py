"""Moves parked events back into the backlogs, and watches how much each tenant has waiting.

Runs beside every recorder; a lock in Redis lets one of them work at a time. No page comes back twice,
whatever is killed and whichever process works: Redis keeps the name of the last page until the ledger has
forgotten it.

Holds tenants to the bytes of events that may wait for them, in Redis and in the ledger together.

What is over is written down for the API, which takes no more events of that tenant until less waits. Nothing
that was accepted is touched.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from worker.broker import keys
from worker.broker.connection import Client
from worker.broker.integration_documents import Subscription
from worker.broker.locks import LeaderLock, LedgerClaim
from worker.broker.notices import note_full_tenants
from worker.broker.parking import BacklogBudget, Parking
from worker.broker.snapshot import Snapshot
from worker.ledger.engine import Ledger
from worker.ledger.parked import ParkedStore, ParkedTotals
from worker.model.availability import Dependencies, run_forever_pausing
from worker.model.log_events import PARKED_RETURNED, TENANT_QUOTA_EXCEEDED, TENANT_QUOTA_RECOVERED
from worker.model.parking import UnclaimedEvents
from worker.settings import Settings

#: How often the sizes of parked events are added up, in seconds; between, their number is multiplied.
ADD_EVERY = 60.0


class WaitingQuota:
    """The quota of every tenant; one thread. Raises BrokerUnavailable, LedgerUnavailable."""

    def __init__(self, client: Client, ledger: ParkedStore, most: int) -> None:
        """Let `most` bytes of events wait for each tenant, over all its integrations."""
        self._client = client
        self._ledger = ledger
        self._most = most
        self._sizes: dict[str, float] = {}
        self._next_sum = 0.0
        self._full: frozenset[str] = frozenset()

    def look(
        self,
        parked: Mapping[str, ParkedTotals],
        known: Mapping[str, Subscription],
        in_redis: Iterable[UnclaimedEvents],
    ) -> None:
        """Write down which tenants are full; `parked` is what the ledger holds, by integration.

        `in_redis` is what waits there for each of the `known` ones.
        """
        waiting = Counter[str]()
        for one in in_redis:
            waiting[one.tenant_id] += one.size
        for integration_id, size in self._parked_sizes(parked).items():
            if integration_id in known and not known[integration_id].deleted:
                waiting[known[integration_id].tenant_id] += size
        waiting.pop("", None)  # of deleted integrations
        full = {tenant: size for tenant, size in waiting.items() if size > self._most}
        # Also that none is: else what others have written there would stay for ever.
        note_full_tenants(self._client, full)
        self._report(full)

    def _parked_sizes(self, parked: Mapping[str, ParkedTotals]) -> dict[str, int]:
        """Return about how many bytes are parked of each integration: as many an event as at the last sum."""
        if parked.keys() - self._sizes.keys() or time.monotonic() >= self._next_sum:
            sizes = self._ledger.sizes() if parked else {}
            self._sizes = {one: sizes.get(one, 0) / max(1, found.events) for one, found in parked.items()}
            self._next_sum = time.monotonic() + ADD_EVERY
        return {one: round(found.events * self._sizes[one]) for one, found in parked.items()}

    def _report(self, full: Mapping[str, int]) -> None:
        """Log who is full now, and who is not any more, once."""
        for tenant in sorted(full.keys() - self._full):
            TENANT_QUOTA_EXCEEDED.log(log, tenant=tenant, bytes=full[tenant], most=self._most)
        for tenant in sorted(self._full - full.keys()):
            TENANT_QUOTA_RECOVERED.log(log, tenant=tenant)
        self._full = frozenset(full)


class ParkedCounts:
    """What is parked, not much older than it takes to find out; for one thread.

    To count reads an entry of an index for each chunk: before each page of millions it would take most of the
    time. Meanwhile more may be parked, and what is told may have come back: neither does harm.
    """

    def __init__(self, ledger: ParkedStore) -> None:
        """Ask this ledger."""
        self._ledger = ledger
        self._known: dict[str, ParkedTotals] = {}
        self._next = 0.0

    def latest(self) -> dict[str, ParkedTotals]:
        """Return what is parked, by the integration's id. Raises LedgerUnavailable."""
        began = time.monotonic()
        if began >= self._next:
            self._known = self._ledger.counts()
            ended = time.monotonic()
            self._next = ended + (COUNT_PART * (ended - began) if ended - began > SHORT_COUNT else 0)
        return self._known


log = logging.getLogger(__name__)

#: A count that took longer than so many seconds is good for so many times as long.
SHORT_COUNT, COUNT_PART = 0.01, 20
#: How long to rest when nothing could be brought back, in seconds.
IDLE = 2.0
#: Another process takes over when the one at work was silent for this long, in seconds.
TURN = 5.0


class Unparker:
    """Brings parked events back; runs in one thread."""

    def __init__(
        self,
        ledger: ParkedStore,
        parking: Parking,
        budget: BacklogBudget,
        quota: WaitingQuota,
        snapshot: Snapshot,
        turn: LeaderLock,
    ) -> None:
        """Take chunks from the ledger, and put them into the backlogs, within the budget of all.

        `quota` gets what is parked: it says whose events are too many.
        """
        self._ledger = ledger
        self._parking = parking
        self._budget = budget
        self._quota = quota
        self._counts = ParkedCounts(ledger)
        self._snapshot = snapshot
        self._turn = turn

    def run(self, stopping: threading.Event, dependencies: Dependencies | None = None) -> None:
        """Bring back until stopped; outlive any absence of Redis or the database."""
        with self._turn.passed_on_at_the_end():
            run_forever_pausing(
                lambda: 0 if self.step() else IDLE, stopping, dependencies or Dependencies(log), log
            )

    def step(self) -> int:
        """Bring back a page for each integration that has room; return how many events.

        What waits for all integrations is asked for once, since to ask again for each would take the square
        of their number: what routers add meanwhile, the next step sees. Raises BrokerUnavailable,
        LedgerUnavailable; what was under way is then finished by the next step.
        """
        if not self._turn.is_mine():
            return 0
        parked = self._counts.latest()
        known = self._snapshot.subscriptions()
        waiting = {one.integration_id: one for one in self._budget.waiting(known)}
        self._quota.look(parked, known, waiting.values())
        brought = 0
        for one in sorted(parked):
            brought += self._bring_back(one, waiting)
            # Many pages may take longer than a turn lasts.
            if not self._turn.is_mine():
                break
        return brought

    def _bring_back(self, integration_id: str, waiting: dict[str, UnclaimedEvents]) -> int:
        """Bring a page back, and count it in what waits."""
        room = self._parking.room(integration_id)
        # The process that brought the last page back may have ended before it said so here.
        self._ledger.forget(room.last_page)
        room = self._budget.bounded(room, integration_id, waiting)
        page = self._ledger.oldest(integration_id, room)
        if not page or not self._parking.unpark(room, page):
            return 0
        self._ledger.forget([name for name, _ in page])
        events = sum(chunk.events for _, chunk in page)
        if before := waiting.get(integration_id):
            size = sum(chunk.size for _, chunk in page)
            waiting[integration_id] = replace(before, events=before.events + events, size=before.size + size)
        PARKED_RETURNED.log(log, events=events, integration=integration_id)
        return events


def unparker_of(config: Settings, engine: Ledger, client: Client, claim: LedgerClaim) -> Unparker:
    """Return the unparker of a recorder's process, with a client of its own."""
    parking, store = Parking(client, config.cap), ParkedStore(engine)
    budget = BacklogBudget(client, parking, config.waiting_bytes)
    quota = WaitingQuota(client, store, config.tenant_waiting_bytes)
    turn = LeaderLock(client, keys.UNPARKER_LOCK, TURN, claim)
    return Unparker(store, parking, budget, quota, Snapshot(client), turn)
