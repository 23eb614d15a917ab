"""What Redis held when it was looked at last, and what is missing when it holds less. Pure.

Redis has an epoch, a random id that is gone when Redis is emptied, and a mark, a number that grows every few
seconds and goes backwards when Redis comes back with old data. Each mark stands in Redis and in the ledger,
with its figures. Moments are in milliseconds since 1970 UTC, by the clock of Redis.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec

from worker.model.fleet_health import Part
from worker.model.time import utc_text

#: The part of the fleet that shows losses.
LOSSES_PART = "redis-losses"
#: The streams whose last ids a mark holds, by their names in it.
EVENTS, OUTCOMES, DEAD_LETTERS, PARKED = "events", "outcomes", "dead_letters", "parked"


class Figures(msgspec.Struct, frozen=True):
    """What stood in Redis at one moment.

    `backlogs`: events that were routed and not settled, by integration; nothing of one without any.
    `waiting`: what was still to be done of each stream: events of `events` (estimated where many entries of
    several events wait), else entries, one of `outcomes` a batch. `first_ids`: the id of the oldest entry of
    each. `last_ids`: the id that each stream gave last, "0-0" before any; `added`: how many it has given (0
    before Redis 7). `published`: entries of `events` that were routed since the beginning. `renumbered`: how
    often routers began the stream `events` again because a publisher had chosen an id. `unaccounted`: entries
    of it that were added and neither wait nor were routed, plus a constant: None before Redis 7, and in a
    mark of the release before.
    """

    backlogs: dict[str, int] = msgspec.field(default_factory=dict)
    waiting: dict[str, int] = msgspec.field(default_factory=dict)
    first_ids: dict[str, str] = msgspec.field(default_factory=dict)
    last_ids: dict[str, str] = msgspec.field(default_factory=dict)
    added: dict[str, int] = msgspec.field(default_factory=dict)
    published: int = 0
    renumbered: int = 0
    unaccounted: int | None = None


class Mark(msgspec.Struct, frozen=True):
    """The figures of one moment, and the number of the mark; 0 before there was one."""

    epoch: str
    number: int = 0
    at_ms: int = 0
    figures: Figures = Figures()


class Epoch(msgspec.Struct, frozen=True):
    """What Redis itself holds: its latest mark, the epochs before its own, and whether its log was cut off.

    `truncated` is what the embedded server said of an append-only file that ended in the middle; else "".
    """

    mark: Mark
    before: tuple[str, ...] = ()
    truncated: str = ""


class LossKind(StrEnum):
    """What became of the data in Redis."""

    #: The epoch is gone: FLUSHALL, a lost volume, a start without the append-only file.
    EMPTIED = "emptied"
    #: Another epoch than any that the ledger knows: another server, or a copy of one.
    REPLACED = "replaced"
    #: An older mark: an old snapshot, a log that was cut off, a failover to a replica that lagged.
    ROLLED_BACK = "rolled_back"
    #: The embedded server found its log cut off and dropped the end.
    TRUNCATED = "truncated"
    #: A stream or a backlog is gone, and the rest is there: evicted, or deleted by hand.
    VANISHED = "vanished"


class Loss(msgspec.Struct, frozen=True):
    """What is missing. `since_ms` is the last mark before it, `found_ms` when it was noticed.

    `deliveries`: events that stood in backlogs at that mark, by integration, less those that were settled
    or parked afterwards and those that are there again: at the least. `waiting`: entries of the streams at
    that mark, less those that were recorded or are there again. What came after the mark is in neither,
    unless entries were `removed` from a stream that is still there: those are counted one by one.
    """

    kind: LossKind
    since_ms: int
    found_ms: int
    deliveries: dict[str, int]
    waiting: dict[str, int]
    note: str = ""
    #: The release before fails at a `kind` that it does not know, and skips this.
    removed: bool = False

    @property
    def events(self) -> int:
        """How many deliveries are missing, plus the events that no router read (if `removed`: entries)."""
        return sum(self.deliveries.values()) + self.waiting.get(EVENTS, 0)


def with_more(loss: Loss, more: Loss) -> Loss:
    """Return a loss with what was removed since: from the earlier mark to the later moment, and their sum."""
    names = {*loss.waiting, *more.waiting}
    return msgspec.structs.replace(
        loss,
        since_ms=min(loss.since_ms, more.since_ms),
        found_ms=max(loss.found_ms, more.found_ms),
        waiting={name: loss.waiting.get(name, 0) + more.waiting.get(name, 0) for name in sorted(names)},
    )


class MarkVerdict(StrEnum):
    """What the mark in Redis says beside the one that is known."""

    #: Neither side knows an epoch, or only Redis does.
    FIRST = "first"
    #: The ledger has begun an epoch that Redis does not know yet.
    UNKNOWN_EPOCH = "untold"
    #: The ledger is the older one: it was restored from a dump.
    LEDGER_IS_OLDER = "ledger_is_older"
    SAME = "same"
    LOST = "lost"


def compare(known: Mark | None, found: Epoch | None) -> MarkVerdict:
    """Compare what is known with what Redis holds."""
    if known is None:
        return MarkVerdict.FIRST
    same = found is not None and found.mark.epoch == known.epoch
    if known.number == 0:
        return MarkVerdict.SAME if same else MarkVerdict.UNKNOWN_EPOCH
    if found is not None and same:
        lost = found.mark.number < known.number or found.truncated
        return MarkVerdict.LOST if lost else MarkVerdict.SAME
    if found is not None and known.epoch in found.before:
        return MarkVerdict.LEDGER_IS_OLDER
    return MarkVerdict.LOST


def loss_kind(known: Mark, found: Epoch | None, *, was_ours: bool) -> LossKind:
    """Return what became of the data; `was_ours`: the ledger knows the epoch that Redis holds."""
    if found is None:
        return LossKind.EMPTIED
    if found.mark.epoch != known.epoch and not was_ours:
        return LossKind.REPLACED
    if found.truncated and found.mark.number >= known.number:
        return LossKind.TRUNCATED
    return LossKind.ROLLED_BACK


def missing(
    at_mark: Mapping[str, int],
    settled_since: Mapping[str, int],
    at_return: Mapping[str, int],
    settled_of_returned: Mapping[str, int],
) -> dict[str, int]:
    """Return how many of each are missing, at the least.

    Of those `at_mark`, some were settled since. Of those that stood in what came back, some had been settled
    after it was made: these are to be sent again, and are not missing.
    """
    lost = {}
    for one, count in at_mark.items():
        left = count - settled_since.get(one, 0)
        back = max(0, at_return.get(one, 0) - settled_of_returned.get(one, 0))
        if left > back:
            lost[one] = left - back
    return lost


def vanished_streams(known: Figures, found: Figures) -> dict[str, int]:
    """Return the streams that have begun again, with what waited in each at the mark.

    Their last id goes backwards, unless an entry came since; how many entries they have had always does.
    That a router began a stream again is no loss.
    """
    return {
        name: known.waiting.get(name, 0)
        for name, last_id in known.last_ids.items()
        if (name != EVENTS or known.renumbered == found.renumbered)
        and (
            _parts(found.last_ids.get(name, "0-0")) < _parts(last_id)
            or found.added.get(name, 0) < known.added.get(name, 0)
        )
    }


def removed_entries(known: Figures, found: Figures) -> int:
    """Return how many entries of `events` were removed between two marks before they were routed.

    Entries that a router is reading ahead may be among them, and be routed all the same.
    """
    if known.unaccounted is None or found.unaccounted is None or EVENTS in vanished_streams(known, found):
        return 0
    if found.published < known.published:
        return 0  # its count was damaged, and has begun again
    return max(0, found.unaccounted - known.unaccounted)


def loss_text(loss: Loss) -> str:
    """Return in a sentence what is missing, and how that is known."""
    became = _REMOVED if loss.removed else _BECAME[loss.kind]
    parts = [f"{became} between {utc_text(loss.since_ms)} and {utc_text(loss.found_ms)}"]
    gone = []
    if loss.deliveries:
        by_integration = ", ".join(f"{one} {count}" for one, count in sorted(loss.deliveries.items()))
        gone.append(
            f"at least {sum(loss.deliveries.values())} deliveries of routed events ({by_integration})"
        )
    entries = _ENTRIES | ({EVENTS: _REMOVED_ENTRIES} if loss.removed else {})
    gone += [f"up to {count} {entries[name]}" for name, count in loss.waiting.items() if count]
    parts.append(f"missing: {'; '.join(gone)}" if gone else "nothing is known to be missing")
    if not loss.removed:
        parts.append("what was accepted in between is not counted")
    return "; ".join([*parts, loss.note] if loss.note else parts)


def losses_part(losses: Sequence[Loss]) -> Part:
    """Return what readiness shows of the losses that are not acknowledged, the latest first."""
    if not losses:
        return Part(LOSSES_PART, ok=True, words="nothing is missing, as far as it is not acknowledged")
    more = f" (and {len(losses) - 1} more)" if len(losses) > 1 else ""
    hint = "`siem redis losses` shows more, `siem redis acknowledge` ends this message"
    missing = f"at least {sum(one.events for one in losses)} events and deliveries are missing in Redis"
    return Part(LOSSES_PART, ok=False, words=f"{loss_text(losses[0])}{more}: {hint}", public=missing)


_BECAME = {
    LossKind.EMPTIED: "Redis was emptied",
    LossKind.REPLACED: "Redis was replaced by another one",
    LossKind.ROLLED_BACK: "Redis came back with older data",
    LossKind.TRUNCATED: "Redis found its append-only file cut off and dropped the end",
    LossKind.VANISHED: "keys of Redis vanished",
}
_REMOVED = "entries of siem:events were removed before they were routed"
_REMOVED_ENTRIES = "entries of events that no router had read"
_ENTRIES = {
    EVENTS: "events that no router had read",
    OUTCOMES: "batches of outcomes that were not recorded",
    DEAD_LETTERS: "entries of dead letters that were not recorded",
    PARKED: "chunks of parked events that were not recorded",
}


def _parts(entry_id: str) -> tuple[int, int]:
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)
