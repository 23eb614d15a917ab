"""Whether a task stays with its integration once nothing waits for that, and for how long it then waits.

Another task of Celery costs as much as to deliver a hundred events: so one that has delivered all that waited
stays a little for what comes next, be it an event or a batch of hundreds.

A thread that waits is one that no other needs: half of the process's threads are free, and no order waits for
one (`ThreadShares.has_plenty`). Should that change, or the pool be asked to end, it waits no longer.
"""

import time
from collections.abc import Callable

from worker.broker.backlog import Claim
from worker.model.batches import Batch
from worker.model.deliveries import Settlement
from worker.model.orders import WorkOrder

#: For so long after the last event a task stays, and in all, in seconds. The first is less than the time for
#: which an order counts as on its way (slots.lua).
STAY, LONGEST_STAY = 0.5, 15.0
#: How long a task goes on with the batches that follow its own while its thread is not needed, in seconds:
#: then another process may have them.
CARRY_ON_WITH_PLENTY = 3.0
#: How often a task that waits looks whether its thread is needed, in seconds.
LOOK = 0.1

#: Claims what comes within so many seconds for an order; says `nothing` if nothing does.
ClaimNext = Callable[[WorkOrder, float], Claim | str]


class Staying:
    """How the tasks of one process stay; shared by its threads."""

    def __init__(self, may_stay: Callable[[], bool]) -> None:
        """Ask `may_stay` whether a thread may wait at present."""
        self._may_stay = may_stay

    def would(self, batch: Batch, settlement: Settlement, began: float) -> bool:
        """Whether a task that began then (monotonic seconds) stays behind this batch, if nothing waits."""
        is_plain = bool(batch.events) and not settlement.dead
        return is_plain and time.monotonic() < began + LONGEST_STAY and self._may_stay()

    def goes_on(self, began: float) -> bool:
        """Whether a task that began then goes on with what waits, although others have had their turn."""
        return time.monotonic() < began + CARRY_ON_WITH_PLENTY and self._may_stay()

    def claim(self, order: WorkOrder, claim_next: ClaimNext) -> Claim | str:
        """Claim what comes within STAY; say `nothing` if nothing did. Raises BrokerUnavailable."""
        until = time.monotonic() + STAY
        claim: Claim | str = "nothing"
        while claim == "nothing" and (left := until - time.monotonic()) > 0 and self._may_stay():
            claim = claim_next(order, min(left, LOOK))
        return claim


def never() -> bool:
    """Have no thread wait."""
    return False
