"""From the ledger back into the backlogs: what was parked, oldest first, as soon as there is room.

Runs beside every recorder; a lock in Redis lets one of them work at a time. No page comes back twice,
whatever is killed and whoever else works: Redis keeps the name of the last page until the ledger has
forgotten it.
"""

import logging
import threading
from contextlib import suppress
from dataclasses import replace
from typing import Any

from worker.background.waiting_quota import WaitingQuota
from worker.broker import keys
from worker.broker.locks import LeaderLock, LedgerClaim
from worker.broker.parking import BacklogBudget, Parking
from worker.broker.snapshot import Snapshot
from worker.ledger.parked import ParkedStore
from worker.model.availability import Dependencies, run_forever_pausing
from worker.model.errors import BrokerUnavailable
from worker.model.parking import UnclaimedEvents
from worker.settings import Settings

log = logging.getLogger(__name__)

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

        `quota` is told what is parked: it says whose events are too many.
        """
        self._ledger = ledger
        self._parking = parking
        self._budget = budget
        self._quota = quota
        self._snapshot = snapshot
        self._turn = turn

    def run(self, stopping: threading.Event, dependencies: Dependencies | None = None) -> None:
        """Bring back until told to stop; outlive any absence of Redis or the database."""
        run_forever_pausing(
            lambda: 0 if self.step() else IDLE, stopping, dependencies or Dependencies(log), log
        )
        with suppress(BrokerUnavailable):
            self._turn.pass_on()

    def step(self) -> int:
        """Bring back a page for each integration that has room; return how many events.

        What waits for all integrations is asked for once, since to ask again for each would take the square
        of their number: what routers add meanwhile, the next step sees. Raises BrokerUnavailable,
        LedgerUnavailable; what was under way is then finished by the next step.
        """
        if not self._turn.is_mine():
            return 0
        parked = self._ledger.counts()
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
        # Whoever brought the last page back may not have lived to say so here.
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
        log.info("%d parked events are back in the backlog of integration %s", events, integration_id)
        return events


def unparker_of(config: Settings, engine: Any, client: Any, claim: LedgerClaim) -> Unparker:
    """Return the unparker of a recorder's process, with a client of its own."""
    parking, store = Parking(client, config.cap), ParkedStore(engine)
    budget = BacklogBudget(client, parking, config.waiting_bytes)
    quota = WaitingQuota(client, store, config.tenant_waiting_bytes)
    turn = LeaderLock(client, keys.UNPARKER_LOCK, TURN, claim)
    return Unparker(store, parking, budget, quota, Snapshot(client), turn)
