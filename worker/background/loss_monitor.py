"""Notices when Redis holds less than it did: emptied, replaced, rolled back, or with keys gone.

Runs beside every recorder; a lock in Redis lets one of them work at a time. Every few seconds it marks Redis
and keeps the mark in the ledger, so that the ledger knows what stood in Redis. What came between the last
mark and the loss cannot be counted: the interval bounds that.
"""

import logging
import threading
import time
import uuid

from worker.broker.locks import LeaderLock
from worker.broker.redis_server import Marked, RedisMarks
from worker.ledger.redis_losses import LossStore
from worker.ledger.redis_marks import MarkStore
from worker.model.availability import Dependencies, run_forever_pausing
from worker.model.errors import LedgerUnavailable
from worker.model.log_events import REDIS_DATA_LOST
from worker.model.redis_marks import (
    EVENTS,
    Epoch,
    Loss,
    LossKind,
    Mark,
    MarkVerdict,
    compare,
    loss_kind,
    loss_text,
    missing,
    removed_entries,
    vanished_streams,
)

log = logging.getLogger(__name__)

#: Between two marks, in seconds.
MARK_EVERY = 2.0
#: Another process takes over when the one at work was silent for this long, in seconds.
TURN = 10.0
_HOW_REMOVED = (
    "XADD with MAXLEN or MINID does that, and XTRIM or XDEL by hand: see who may publish with XADD, and have "
    "them use the HTTP API instead"
)
#: Seconds between two lines of the log about entries that are removed again and again.
_LOG_EVERY = 60.0
#: Steps from nothing known to a mark, with one to spare.
_ROUNDS = 4


class LossWatch:
    """Marks Redis and compares; runs in one thread."""

    def __init__(
        self,
        marks: RedisMarks,
        store: MarkStore,
        losses: LossStore,
        turn: LeaderLock,
        *,
        interval: float = MARK_EVERY,
    ) -> None:
        """Mark every `interval` seconds."""
        self._marks = marks
        self._store = store
        self._losses = losses
        self._turn = turn
        self._interval = interval
        self._seen: Mark | None = None
        self._reported: set[str] = set()
        self._next_line = 0.0

    def run(self, stopping: threading.Event, dependencies: Dependencies | None = None) -> None:
        """Watch until stopped; outlive any absence of Redis or the database."""
        with self._turn.passed_on_at_the_end():
            run_forever_pausing(self.step, stopping, dependencies or Dependencies(log), log)

    def step(self) -> float:
        """Compare and mark once; return for how many seconds to rest then.

        Raises BrokerUnavailable, LedgerUnavailable; what was under way is then done by the next step.
        """
        if not self._turn.is_mine():
            return self._interval
        try:
            # An epoch that has just begun is marked at once.
            for _ in range(_ROUNDS):
                if self._compare(self._known(), self._marks.found()):
                    break
        except LedgerUnavailable:
            self._mark_meanwhile()
            raise
        return self._interval

    def _mark_meanwhile(self) -> None:
        """While the database is away, remember what stands in Redis, as long as nothing is missing."""
        seen, found = self._seen, self._marks.found()
        if seen is None or found is None or compare(seen, found) is not MarkVerdict.SAME:
            return
        marked = self._marks.mark(found.mark)
        if marked and not marked.vanished and not _is_short(seen, marked.mark):
            self._seen = marked.mark

    def _known(self) -> Mark | None:
        """Return the latest mark: of the ledger, or of this process if the database was away since."""
        known, seen = self._store.latest(), self._seen
        if known is None or seen is None or seen.epoch != known.epoch:
            return known
        return max(known, seen, key=lambda mark: (mark.number, mark.at_ms))

    def _compare(self, known: Mark | None, found: Epoch | None) -> bool:
        """Do what the comparison asks for; return whether Redis was marked, or will be by another."""
        verdict = compare(known, found)
        if verdict is MarkVerdict.SAME and known is not None and found is not None:
            self._mark(known, found.mark)
            return True
        if verdict is MarkVerdict.LOST and known is not None:
            self._report(known, found)
        elif verdict is MarkVerdict.UNKNOWN_EPOCH and known is not None:
            self._marks.begin(known.epoch, found)
        elif found is not None:
            self._store.adopt(found.mark)
        else:
            self._store.adopt(Mark(uuid.uuid4().hex))
        return False

    def _mark(self, known: Mark, found: Mark) -> None:
        marked = self._marks.mark(found, self._reported)
        if marked is None:
            return
        self._report_vanished(known, marked)
        self._report_removed(known, marked.mark)
        self._seen, self._reported = marked.mark, set(marked.vanished)
        if marked.mark.number > known.number:
            self._store.note(marked.mark)

    def _report(self, known: Mark, found: Epoch | None) -> None:
        """Report what is missing, and begin another epoch, so that it is reported once."""
        returned = found.mark if found is not None else None
        was_ours = returned is not None and self._store.knows(returned.epoch)
        kind = loss_kind(known, found, was_ours=was_ours)
        back = returned if returned is not None and kind is not LossKind.REPLACED else None
        loss = Loss(
            kind,
            known.at_ms,
            self._marks.now_ms(),
            missing(
                known.figures.backlogs,
                self._store.settled(known),
                back.figures.backlogs if back else {},
                self._store.settled_again(back) if back else {},
            ),
            missing(known.figures.waiting, self._store.done(known), back.figures.waiting if back else {}, {}),
            _note(found, back),
        )
        epoch = uuid.uuid4().hex
        if loss_id := self._losses.report(loss, known.epoch, epoch):
            _tell(loss_id, loss)
            self._marks.begin(epoch, found)

    def _report_vanished(self, known: Mark, marked: Marked) -> None:
        """Report streams and backlogs that are gone although Redis has kept its epoch and its mark."""
        streams = vanished_streams(known.figures, marked.mark.figures)
        if not streams and not marked.vanished:
            return
        note = f"streams that are gone: {', '.join(streams)}" if streams else ""
        waiting = {name: count for name, count in streams.items() if count}
        loss = Loss(LossKind.VANISHED, known.at_ms, marked.mark.at_ms, marked.vanished, waiting, note)
        if loss_id := self._losses.report(loss, known.epoch, None):
            _tell(loss_id, loss)

    def _report_removed(self, known: Mark, found: Mark) -> None:
        """Report entries that were removed from the ingress before they were routed.

        Until that is acknowledged, it is one loss, and a line of the log now and then.
        """
        if count := removed_entries(known.figures, found.figures):
            waiting = {EVENTS: count}
            loss = Loss(LossKind.VANISHED, known.at_ms, found.at_ms, {}, waiting, _HOW_REMOVED, removed=True)
            kept = self._losses.report_removed(loss)
            if kept.loss == loss or time.monotonic() >= self._next_line:
                self._next_line = time.monotonic() + _LOG_EVERY
                _tell(kept.id, kept.loss)


def _is_short(known: Mark, found: Mark) -> bool:
    """Whether a stream, or a part of the ingress, is gone since."""
    return bool(
        vanished_streams(known.figures, found.figures) or removed_entries(known.figures, found.figures)
    )


def _tell(loss_id: str, loss: Loss) -> None:
    REDIS_DATA_LOST.log(log, loss=loss_id, details=loss_text(loss), kind=loss.kind.value)


def _note(found: Epoch | None, back: Mark | None) -> str:
    notes = [found.truncated] if found is not None and found.truncated else []
    if back is not None:
        notes.append("what was delivered since those data were written may be delivered again")
    return "; ".join(notes)
