"""Removes what Redis holds of deleted integrations, once nothing can refer to it any more.

Runs beside every recorder; a lock in Redis lets one of them work at a time. Each removal is one script, so a
process may be killed at any step, and the next look finds what is left to do. Until then a deleted
integration drains: what waits becomes dead letters with the cause `deleted`, whatever held it before.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from worker.broker.deletions import DeletedKeys, Removal
from worker.broker.integration_documents import StoredState
from worker.broker.locks import LeaderLock
from worker.broker.snapshot import Snapshot
from worker.model.availability import Dependencies, run_forever_pausing
from worker.model.log_events import INTEGRATION_ORPHAN_KEYS, INTEGRATION_REMOVED

log = logging.getLogger(__name__)

#: Between two looks, in seconds.
INTERVAL = 5.0
#: Another process takes over when the one at work was silent for this long, in seconds.
TURN = 15.0
#: Between two looks for notes that are too old, in seconds.
NOTES_EVERY = 3600.0

#: The integrations of these ids, and perhaps others. Raises LedgerUnavailable, SchemaOutdated.
Records = Callable[[Collection[str]], Sequence[StoredState]]
#: The ids of integrations with parked events, which are still to come back. Raises as Records.
Parked = Callable[[], Collection[str]]


class Cleanup:
    """Removes deleted integrations from Redis; runs in one thread."""

    def __init__(
        self,
        deleted: DeletedKeys,
        snapshot: Snapshot,
        records: Records,
        parked: Parked,
        turn: LeaderLock,
        *,
        interval: float = INTERVAL,
    ) -> None:
        """Look every `interval` seconds."""
        self._deleted = deleted
        self._snapshot = snapshot
        self._records = records
        self._parked = parked
        self._turn = turn
        self._interval = interval
        self._reported: set[str] = set()
        self._next_notes = 0.0

    def run(self, stopping: threading.Event, dependencies: Dependencies | None = None) -> None:
        """Clean up until stopped; outlive any absence of Redis or the database."""
        with self._turn.passed_on_at_the_end():
            run_forever_pausing(self.step, stopping, dependencies or Dependencies(log), log)

    def step(self) -> float:
        """Look once; return for how many seconds to rest then.

        Raises BrokerUnavailable, LedgerUnavailable; what was left undone is then done by the next step.
        """
        if not self._turn.is_mine():
            return self._interval
        known = self._snapshot.subscriptions()
        leftovers = self._deleted.leftovers(known)
        tombstones = [one.id for one in known.values() if one.deleted]
        if tombstones or leftovers:
            self._remove(tombstones, leftovers)
        if time.monotonic() >= self._next_notes:
            self._next_notes = time.monotonic() + NOTES_EVERY
            self._deleted.forget_old_notes()
        return self._interval

    def _remove(self, tombstones: Sequence[str], leftovers: Mapping[str, int]) -> None:
        records = {one.id: one for one in self._records([*tombstones, *leftovers])}
        # What lives in the ledger is for a recorder: it publishes it, or keeps the more careful state.
        dead = [one for one in leftovers if one not in records or records[one].deleted]
        kinds = self._deleted.kinds(dead) | {one: records[one].type for one in dead if one in records}
        going = [*(one for one in tombstones if one not in records or records[one].deleted), *kinds]
        revisions = {one: records[one].revision if one in records else 0 for one in going}
        results = self._deleted.remove(revisions, leftovers, self._parked())
        if removed := sum(result is Removal.REMOVED for result in results.values()):
            INTEGRATION_REMOVED.log(log, count=removed)
        # What came into a backlog that was gone is to become dead letters as well.
        self._deleted.set_tombstones({one: kinds[one] for one in kinds if results[one] is Removal.BUSY})
        self._report(set(dead) - kinds.keys())

    def _report(self, strangers: Collection[str]) -> None:
        """Log once which keys belong to no known integration: their events are not removed."""
        for one in set(strangers) - self._reported:
            self._reported.add(one)
            INTEGRATION_ORPHAN_KEYS.log(log, integration=one)
