"""Judges the entries of the ingress: which events they hold, and what becomes of what is no valid event.

That becomes a dead letter with the reason and its bytes, a megabyte of them at the most. Of an entry of
several lines, a line that is not valid dies alone. A damaged frame (`worker.broker.frames`) dies as a whole,
with a letter for each of its events that can still be read: which of them were damaged is not known. Of one
that was written by hand, what is no JSON object dies alone: destinations are sent the bytes as they are, and
would lose what stands around them.
"""

import logging
import time
from collections.abc import Iterable, Iterator

from worker.broker.chunks import salvage_chunk
from worker.broker.framed_chunks import events_apart
from worker.broker.frames import (
    MOST_EVENTS,
    MOST_FRAME_BYTES,
    InvalidFrame,
    dated,
    frame_head,
    frame_remains,
    not_an_object,
    not_objects,
    read_frame,
)
from worker.broker.ingress import EVENT_FIELD, EVENTS_FIELD, IngressEntry
from worker.model.deliveries import Cause, DeadLetter, Failure
from worker.model.errors import InvalidEvent
from worker.model.event_decoder import accept_event
from worker.model.event_lines import bounded_lines
from worker.model.events import MAX_EVENT_BYTES, QueuedEvent
from worker.model.failures import FailureCode
from worker.model.invalid_events import Salvaged, salvage_event
from worker.model.log_events import EVENT_VALIDATION_FAILED

log = logging.getLogger(__name__)

#: Bytes that are kept of what is no valid event: all of one that is only somewhat too large.
MOST_KEPT = 4 * MAX_EVENT_BYTES

#: Events of one tenant, in their order.
OfTenant = tuple[str, list[QueuedEvent]]


def judged_events(entry: IngressEntry, dead: list[DeadLetter]) -> Iterable[OfTenant]:
    """Return the events of an entry; what is not valid is added to `dead`."""
    try:
        if entry.form == EVENT_FIELD:
            return [_judged(entry.event_bytes(), entry.published_ms)]
        if entry.form == EVENTS_FIELD:
            return list(_of_lines(entry, dead))
        return _of_frame(entry, dead)
    except InvalidFrame as error:
        dead.extend(_dead_frame(entry, error))
    except InvalidEvent as error:
        dead.append(_dead(entry, error))
    return ()


def _judged(raw: bytes, published_ms: int) -> OfTenant:
    """Judge one event. Raises InvalidEvent, also for a fault of ours that it brings to light."""
    try:
        event, accepted = accept_event(raw)
    except InvalidEvent:
        raise
    except Exception:  # noqa: BLE001 - it is logged with its traceback
        # It must not hold up all that stand behind this one.
        EVENT_VALIDATION_FAILED.log(log, exc_info=True)
        raise InvalidEvent("event", "could not be judged", "report this with the router's log") from None
    return event.tenant_id, [QueuedEvent(event.id, event.type, event.time_ms, published_ms, accepted)]


def _of_lines(entry: IngressEntry, dead: list[DeadLetter]) -> Iterator[OfTenant]:
    for number, line in enumerate(bounded_lines(entry.event_bytes()), 1):
        try:
            yield _judged(line, entry.published_ms)
        except InvalidEvent as error:
            named = InvalidEvent(error.field, f"{error.reason} (line {number} of its entry)", error.hint)
            dead.append(_letter(line, named, salvage_event(line), entry.published_ms))


def _of_frame(entry: IngressEntry, dead: list[DeadLetter]) -> list[OfTenant]:
    """Return the events of a frame, without those that are no JSON. Raises InvalidFrame."""
    if entry.packed is not None:
        tenant_id, events = events_apart(entry.event_bytes(), entry.packed, entry.published_ms)
    else:
        tenant_id, events = read_frame(entry.event_bytes(), entry.published_ms)
    wrong = not_objects(events)
    for one in [events[place] for place in sorted(wrong)]:
        known = Salvaged(one.id, one.type, one.time_ms, tenant_id)
        dead.append(_letter(one.raw, not_an_object(one.raw), known, entry.published_ms))
    if wrong:
        events = [one for place, one in enumerate(events) if place not in wrong]
    return [(tenant_id, events)] if events else []


def _dead(entry: IngressEntry, error: InvalidEvent) -> DeadLetter:
    raw = entry.packed or (entry.raw if entry.raw is not None else b" ".join(entry.fields))
    # Lines may be of several tenants: none is shown what is another's.
    known = salvage_event(raw) if entry.form == EVENT_FIELD else Salvaged()
    return _letter(raw, error, known, entry.published_ms)


def _dead_frame(entry: IngressEntry, error: InvalidFrame) -> Iterator[DeadLetter]:
    frame = entry.event_bytes()
    if len(frame) + len(entry.packed or b"") > MOST_FRAME_BYTES:
        yield _dead(entry, error)
        return
    remains = frame_remains(frame, entry.published_ms)
    if entry.packed:
        remains = dated(entry.packed, entry.published_ms)
    found = salvage_chunk(remains, MOST_EVENTS)
    for one in found:
        # Its tenant is what its own bytes say, not what a damaged head does.
        known = salvage_event(one.raw)
        named = Salvaged(known.id or one.id, known.type or one.type, known.time_ms, known.tenant_id)
        yield _letter(one.raw, error, named, entry.published_ms)
    head = frame_head(frame)
    if not found or head is None or len(found) < head.events:
        yield _dead(entry, error)


def _letter(raw: bytes, error: InvalidEvent, known: Salvaged, published_ms: int) -> DeadLetter:
    kept = raw[:MOST_KEPT]
    cut = f"; of its {len(raw)} bytes the first {len(kept)} are kept" if len(kept) < len(raw) else ""
    failure = Failure(FailureCode.INVALID_EVENT, f"{error.field}: {error.reason}{cut}", error.hint)
    event = QueuedEvent(known.id, known.type, known.time_ms, published_ms, kept)
    # Not when it was published: health looks at what was judged lately, however long it waited before.
    dead_ms = time.time_ns() // 1_000_000
    return DeadLetter(None, Cause.INVALID.value, failure, dead_ms, [event], [0], known.tenant_id)
