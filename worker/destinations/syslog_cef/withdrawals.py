"""Events that were counted as delivered and turned out lost: taken back from the ledger, and sent again.

A receiver that closes its connection right behind a sending may not have read what stood in its buffers.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import compress
from operator import not_

from worker.model.batches import Batch, DeliveryAttempt
from worker.model.deliveries import DeliveryResult, Failure, Verdict, Withdrawn
from worker.model.errors import SiemError
from worker.model.failures import FailureCode
from worker.model.log_events import DELIVERY_WITHDRAWAL_DEFERRED
from worker.transports.shortages import no_thread

log = logging.getLogger(__name__)

#: What no further sending has reported in so many seconds is written by itself.
WRITTEN_AFTER = 5.0


NOT_KEPT = Failure(
    FailureCode.CLOSED_UNCONFIRMED,
    "the receiver closed the connection just behind these events, which counted as sent until then",
    "if it lasts, look into the receiver's log: it may refuse one of these messages for its length",
)
REFUSED = Failure(
    FailureCode.CONNECT_FAILED,
    "the receiver's system refused datagrams just behind these events, which counted as sent until then",
    "see that the receiver runs: nothing listened on that UDP port",
)


@dataclass(frozen=True, slots=True)
class _Late:
    """A part that was taken back, the batch that it was in, and since when (monotonic seconds)."""

    part: Withdrawn
    batch: Batch | None
    since: float


class WithdrawnParts:
    """Parts that counted as sent, until the receiver hung up just behind them. Shared by threads.

    The next sending reports them, or, where none comes soon, `write` does.
    """

    def __init__(self, write: Callable[[Withdrawn], None] | None = None) -> None:
        """Begin without any."""
        self._write = write
        self._parts: list[_Late] = []
        self._lock = threading.Lock()
        self._is_timed = False

    def of(self, attempt: DeliveryAttempt, part: Sequence[int]) -> Callable[[], None]:
        """Return what is to be called when the receiver hangs up just behind this part."""
        return partial(self.add, attempt.batch, bytes(attempt.request_counts), part, NOT_KEPT)

    def add(self, batch: Batch, counts: bytes, part: Sequence[int], failure: Failure) -> None:
        """Take these back, of which so many requests (`counts`, by place) had carried each before."""
        events = [batch.events[place] for place in part]
        attempts = [counts[place] + 1 for place in part]
        self._add(Withdrawn(events, attempts, failure), batch)

    def results(self, batch: Batch) -> list[DeliveryResult]:
        """Return what is to be reported with this batch, once; what is of that batch itself comes later.

        Of two outcomes in one settlement the ledger would take the first.
        """
        return [
            DeliveryResult((), Verdict.RETRY, 0, withdrawn=part)
            for part in self._taken(lambda late: late.batch is not batch)
        ]

    def write_now(self, older: float = 0.0) -> None:
        """Write what no sending has reported in so many seconds; what cannot be is kept for later."""
        if self._write is None:
            return
        until = time.monotonic() - older
        for part in self._taken(lambda late: late.since <= until):
            try:
                self._write(part)
            except SiemError as error:
                self._add(part, None)
                DELIVERY_WITHDRAWAL_DEFERRED.log(log, events=len(part.events), error=str(error))

    def _add(self, part: Withdrawn, batch: Batch | None) -> None:
        with self._lock:
            self._parts.append(_Late(part, batch, time.monotonic()))
        self._set_timer()

    def _set_timer(self) -> None:
        """By one timer for all. When it ends, the batch itself is settled, so that this comes behind it."""
        with self._lock:
            if self._is_timed or not self._parts or self._write is None:
                return
            self._is_timed = True
            timer = threading.Timer(WRITTEN_AFTER, self._write_due)
            timer.daemon = True
            try:
                timer.start()
            except RuntimeError:  # the next sending reports, or the end of this sender
                self._is_timed = False
                no_thread("take events back")

    def _write_due(self) -> None:
        with self._lock:
            self._is_timed = False
        self.write_now(WRITTEN_AFTER / 2)
        self._set_timer()

    def _taken(self, wanted: Callable[[_Late], bool]) -> list[Withdrawn]:
        with self._lock:
            chosen = [wanted(late) for late in self._parts]
            parts, self._parts = self._parts, list(compress(self._parts, map(not_, chosen)))
        return [late.part for late in compress(parts, chosen)]
