"""Publishes the records of the audit trail, each at least once, and takes in those that wait in Redis.

Runs beside every recorder; a lock in Redis lets one of them work at a time. A record leaves the ledger's
outbox once it stands in Redis, and Redis' inbox once it is in the ledger: who is killed in between does it
once more.
"""

import logging
import threading
from collections.abc import Callable

from worker.broker import keys
from worker.broker.audit import PAGE, AuditInbox, AuditStream
from worker.broker.connection import Client
from worker.broker.locks import LeaderLock, LedgerClaim
from worker.ledger.audit import AuditTrail
from worker.ledger.engine import Ledger
from worker.model.audit import AuditRecord
from worker.model.availability import Dependencies, run_forever_pausing
from worker.model.log_events import AUDIT_RECORDS_DROPPED, AUDIT_SUBSCRIBER_BEHIND
from worker.settings import Settings
from worker.vault.vault import open_vault

log = logging.getLogger(__name__)

#: Between two looks, in seconds.
INTERVAL = 1.0
#: Another process takes over when the one at work was silent for this long, in seconds.
TURN = 15.0
_FORGED = "no process of this fleet has written them to siem:audit:inbox"


Document = Callable[[AuditRecord], bytes]


def publisher_of(
    config: Settings, engine: Ledger, client: Client, claim: LedgerClaim, document: Document
) -> "AuditPublisher":
    """Return what publishes the trail of this ledger, each record as that document."""
    inbox = AuditInbox(client, open_vault(config).proofs)
    turn = LeaderLock(client, keys.AUDIT_LOCK, TURN, claim)
    return AuditPublisher(AuditTrail(engine), inbox, AuditStream(client), turn, document)


class AuditPublisher:
    """Publishes; runs in one thread."""

    def __init__(
        self,
        trail: AuditTrail,
        inbox: AuditInbox,
        stream: AuditStream,
        turn: LeaderLock,
        document: Document,
    ) -> None:
        """Publish each record as the document that this returns."""
        self._trail = trail
        self._inbox = inbox
        self._stream = stream
        self._turn = turn
        self._document = document
        self._is_behind = False

    def run(self, stopping: threading.Event, dependencies: Dependencies | None = None) -> None:
        """Publish until stopped; outlive any absence of Redis or the database."""
        with self._turn.passed_on_at_the_end():
            run_forever_pausing(self.step, stopping, dependencies or Dependencies(log), log)

    def step(self) -> float:
        """Take in and publish a page; return for how many seconds to rest then.

        Raises BrokerUnavailable, LedgerUnavailable.
        """
        if not self._turn.is_mine():
            return INTERVAL
        taken, published = self._take_in(), self._publish()
        return 0.0 if max(taken, published) >= PAGE else INTERVAL

    def _take_in(self) -> int:
        found = self._inbox.waiting()
        if not found:
            return 0
        records = [record for _, record in found if record is not None]
        if records:
            self._trail.take_in(records)
        if refused := len(found) - len(records):
            AUDIT_RECORDS_DROPPED.log(log, count=refused, reason=_FORGED)
        self._inbox.remove([entry for entry, _ in found])
        return len(found)

    def _publish(self) -> int:
        waiting = self._trail.unpublished(PAGE)
        if not waiting:
            self._is_behind = False
            return 0
        some = waiting[: self._stream.make_room(len(waiting))]
        if some:
            self._stream.publish([self._document(one) for one in some])
            self._trail.note_published([one.id for one in some])
        if len(some) < len(waiting) and not self._is_behind:
            AUDIT_SUBSCRIBER_BEHIND.log(log)
        self._is_behind = len(some) < len(waiting)
        return len(some)
