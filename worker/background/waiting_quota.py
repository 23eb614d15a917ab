"""Holds tenants to the bytes of events that may wait for them, in Redis and in the ledger together.

What is over is written down for the API, which takes no more events of that tenant until less waits. Nothing
that was accepted is touched.
"""

import logging
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from worker.broker.integration_documents import Subscription
from worker.broker.notices import note_full_tenants
from worker.ledger.parked import ParkedStore, ParkedTotals
from worker.model.parking import UnclaimedEvents

log = logging.getLogger(__name__)

#: How often the sizes of parked events are added up, in seconds; between, their number is multiplied.
ADD_EVERY = 60.0


class WaitingQuota:
    """The quota of every tenant; one thread. Raises BrokerUnavailable, LedgerUnavailable."""

    def __init__(self, client: Any, ledger: ParkedStore, most: int) -> None:
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
        # Also that nobody is: else what somebody else has written there would stand for ever.
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
            log.warning(
                "%d MB of events of tenant %r wait, and SIEM_TENANT_WAITING_BYTES is %d MB: "
                "POST /events takes no more of them until less waits",
                *(full[tenant] // 1_000_000, tenant, self._most // 1_000_000),
            )
        for tenant in sorted(self._full - full.keys()):
            log.warning("less of the events of tenant %r waits now: POST /events takes them again", tenant)
        self._full = frozenset(full)
