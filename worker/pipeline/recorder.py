"""From the outcomes in Redis to rows in the ledger, in large transactions.

On the side it brings the ledger's integrations back into Redis, should the copy there differ: at once
when an outcome has disabled one. An outcome is finished in Redis only once its rows are committed, and
recording it twice changes nothing. An entry is set aside only if the ledger takes others at that moment: a
database that refuses every entry is an outage, through which entries wait.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from worker.broker.outcomes import Outcomes, SettledEntries
from worker.ledger.results import Recorded
from worker.model.availability import Dependencies, run_forever
from worker.model.deliveries import DeadLetter, Outcome
from worker.model.errors import BrokerUnavailable, DataRefused, LedgerUnavailable, OutageError, SchemaOutdated
from worker.model.log_events import (
    INTEGRATION_DISABLED_GONE,
    RECORDER_BATCH_REFUSED,
    RECORDER_ENTRY_SET_ASIDE,
)
from worker.model.outages import OutageCause
from worker.model.parking import ParkedChunk

log = logging.getLogger(__name__)

#: Entries of one read and stream; an entry is a batch, of 500 events as a rule.
READ_COUNT = 32
READ_BLOCK_MS = 500
#: And of a read behind it, which takes what has come meanwhile.
LAST_BLOCK_MS = 1
#: Entries of one transaction at the most.
TRANSACTION = 64
#: How often the integrations in Redis are compared with the ledger's, in seconds.
RECONCILE_EVERY = 5.0
#: How often the ledger is written to while nothing comes that is to be recorded, in seconds.
WRITE_CHECK_EVERY = 15.0
NOTHING_IS_TAKEN = (
    "the ledger takes no entry at all ({}): see whether its tables were changed, and the server's log"
)

#: What is no fault of an entry: it waits.
NO_FAULT_OF_AN_ENTRY = (BrokerUnavailable, LedgerUnavailable, SchemaOutdated, MemoryError, OSError)

#: Writes settled entries to the ledger in one transaction. Raises LedgerUnavailable, SchemaOutdated,
#: DataRefused.
Record = Callable[
    [
        Sequence[tuple[str, list[Outcome]]],
        Sequence[tuple[str, DeadLetter]],
        Sequence[tuple[str, ParkedChunk]],
    ],
    Recorded,
]
#: Writes an entry of each kind and takes it back. Raises what Record raises.
Probe = Callable[[], None]
#: Writes to the ledger what stands there, with one statement. Raises LedgerUnavailable, SchemaOutdated.
CheckWrites = Callable[[], None]
#: Makes the integrations in Redis those of the ledger. Raises LedgerUnavailable, BrokerUnavailable.
Reconcile = Callable[[], bool]


class Stalling(Protocol):
    """Takes the news that nothing can be recorded, and that something was."""

    def note(self, error: OutageError) -> None:
        """Return why nothing can be recorded."""

    def clear(self) -> None:
        """Report that something could be recorded."""


class WriteCheck:
    """Writes to the ledger now and then while nothing is recorded; for one thread.

    A database that only answers would look well until the next outcome comes.
    """

    def __init__(self, check: CheckWrites, stall: Stalling) -> None:
        """Write by `check`, and report to `stall`."""
        self._check = check
        self._stall = stall
        self._failed = False
        self._next = 0.0

    def recorded(self) -> None:
        """Note that something was recorded just now: that is proof enough."""
        self._failed = False
        self._next = time.monotonic() + WRITE_CHECK_EVERY

    def when_due(self) -> None:
        """Write if that is due, at once after a failure. Raises LedgerUnavailable, SchemaOutdated."""
        if time.monotonic() < self._next:
            return
        try:
            self._check()
        except (LedgerUnavailable, SchemaOutdated) as error:
            self._failed = True
            self._stall.note(error)
            raise
        if self._failed:
            # Only what was reported here: outcomes may need more than this, such as room on the disk.
            self._stall.clear()
        self.recorded()


class Recorder:
    """One recorder; runs in one thread."""

    def __init__(
        self,
        outcomes: Outcomes,
        record: Record,
        probe: Probe,
        reconcile: Reconcile,
        linger: float,
        stall: Stalling | None = None,
        check_writes: CheckWrites | None = None,
    ) -> None:
        """Gather for `linger` seconds before a transaction that is not full; report the ledger to `stall`.

        With `check_writes`, a ledger that takes nothing is also found while there is nothing to record.
        """
        self._outcomes = outcomes
        self._record = record
        self._probe = probe
        self._reconcile = reconcile
        self._linger = linger
        self._stall = stall
        self._idle = WriteCheck(check_writes, stall) if check_writes and stall else None
        self._next_reconcile = 0.0

    def run(self, stopping: threading.Event, dependencies: Dependencies | None = None) -> None:
        """Record until stopped; outlive any absence of Redis or the database."""
        run_forever(partial(self.step, stopping), stopping, dependencies or Dependencies(log), log)

    def step(self, stopping: threading.Event) -> int:
        """Record what waits; return how many entries.

        Raises BrokerUnavailable, LedgerUnavailable, SchemaOutdated.
        """
        settled = self._gather(stopping)
        if settled:
            self._record_or_keep(settled)
            self._outcomes.finish(settled)
        elif self._idle:
            self._idle.when_due()
        if time.monotonic() >= self._next_reconcile:
            # Only after recording, which frees memory: Redis may be too full to take a change.
            self._reconcile()
            self._next_reconcile = time.monotonic() + RECONCILE_EVERY
        return len(settled)

    def _record_or_keep(self, settled: SettledEntries) -> None:
        """Record; what could not be recorded, nor set aside, is read again by the next step."""
        try:
            self._record_all(settled)
        except BaseException as error:
            self._outcomes.read_again()
            if self._stall and isinstance(error, LedgerUnavailable | SchemaOutdated):
                self._stall.note(error)
            raise
        if self._stall:
            self._stall.clear()
        if self._idle:
            self._idle.recorded()

    def _record_all(self, settled: SettledEntries) -> None:
        """Record in one transaction; if that cannot be, find the entries that are to blame."""
        try:
            recorded = self._record(settled.outcomes, settled.dead, settled.parked)
        except NO_FAULT_OF_AN_ENTRY:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, one entry may be the cause
            RECORDER_BATCH_REFUSED.log(log, error=_words(error), exc_info=_fault(error))
            self._record_each(settled)
        else:
            self._announce(recorded)

    def _record_each(self, settled: SettledEntries) -> None:
        """Record entry by entry, and set aside those that cannot be recorded."""
        for one in settled.singly():
            try:
                recorded = self._record(one.outcomes, one.dead, one.parked)
            except NO_FAULT_OF_AN_ENTRY:
                raise
            except Exception as error:  # noqa: BLE001 - the same
                self._set_aside(one, error)
            else:
                self._announce(recorded)

    def _set_aside(self, one: SettledEntries, error: Exception) -> None:
        """Set an entry aside, unless the ledger takes no other entry either: then raise LedgerUnavailable."""
        try:
            self._probe()
        except NO_FAULT_OF_AN_ENTRY:
            raise
        except Exception as refusal:
            words = NOTHING_IS_TAKEN.format(_words(refusal))
            raise LedgerUnavailable(words, OutageCause.REFUSED) from refusal
        RECORDER_ENTRY_SET_ASIDE.log(log, error=_words(error), exc_info=_fault(error))
        self._outcomes.set_aside(one, _words(error))

    def _announce(self, recorded: Recorded) -> None:
        """Return what was disabled, and let the copy in Redis follow at once."""
        for off in recorded.disabled_by_destination:
            # Without the destination's own words, which may repeat an event: those are in the ledger.
            INTEGRATION_DISABLED_GONE.log(log, integration=off.integration_id, name=off.name)
            self._next_reconcile = 0.0

    def _gather(self, stopping: threading.Event) -> SettledEntries:
        """Read until a transaction is full, or the time of the linger is over."""
        settled = self._outcomes.read(READ_COUNT, READ_BLOCK_MS)
        came, deadline = len(settled), time.monotonic() + self._linger
        while came and len(settled) < TRANSACTION:
            # While they come one by one, to read each as it comes would cost as much as to record it.
            left = deadline - time.monotonic()
            if left <= 0 or (came < READ_COUNT and stopping.wait(left)):
                break
            more = self._outcomes.read(TRANSACTION - len(settled), LAST_BLOCK_MS)
            came = len(more)
            settled.add(more)
        return settled


def _fault(error: Exception) -> Exception | None:
    """Return an error of ours, which is logged with its traceback; None for one of the database."""
    return None if isinstance(error, DataRefused) else error


def _words(error: Exception) -> str:
    """Return what went wrong in one line; an error of Python says more with its name."""
    words = str(error).partition("\n")[0]
    return words if isinstance(error, DataRefused) else f"{type(error).__name__}: {words}"
