"""Whether the Redis of this process holds the events of its own ledger, asked at most once a second.

Events that were published into another ledger's Redis would go to the SIEMs of that one's integrations.
"""

import threading
import time
from contextlib import suppress
from typing import Any

from worker.broker.connection import Client
from worker.broker.locks import TRUSTED, check_claim
from worker.ledger.engine import ledger_id
from worker.model.errors import LedgerUnavailable, SchemaOutdated

#: How long to go on without the ledger's id before the database is asked again, in seconds.
ASK_AGAIN = 30.0


class Ownership:
    """May be shared between threads."""

    def __init__(self, engine: Any, client: Client) -> None:
        """Compare this ledger with what Redis says."""
        self._engine = engine
        self._client = client
        self._lock, self._asking = threading.Lock(), threading.Lock()
        self._ledger_id: str | None = None
        self._asked_until = self._trusted_until = 0.0

    def require(self) -> None:
        """Raise WrongLedger if Redis holds another ledger's events. Raises BrokerUnavailable.

        While the database has been away since this process began, its ledger is unknown: nothing is refused.
        """
        own = self._known()
        if own is None:
            return
        with self._lock:
            if time.monotonic() >= self._trusted_until:
                check_claim(self._client, own)
                self._trusted_until = time.monotonic() + TRUSTED

    def _known(self) -> str | None:
        """Return the ledger's id; a database that hangs holds up one publisher, once in a while."""
        was_asked = self._asked_until > 0
        if self._ledger_id is None and self._asking.acquire(blocking=not was_asked):
            try:
                self._ask()
            finally:
                self._asking.release()
        return self._ledger_id

    def _ask(self) -> None:
        if time.monotonic() < self._asked_until:
            return
        with suppress(LedgerUnavailable, SchemaOutdated):
            self._ledger_id = ledger_id(self._engine)
        self._asked_until = time.monotonic() + ASK_AGAIN
