"""Judges the events of a request: which may be published, and what is wrong with the others.

Input: a body of one event or of lines, and the tenant of the key. Output: the valid events, of which
each names that tenant, and a complaint about each other one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from worker.broker.frames import JudgedEvent, judge
from worker.model.errors import InvalidEvent
from worker.model.event_decoder import accept_event
from worker.model.events import MAX_EVENT_BYTES
from worker.views.publishing import MAX_LINE_ERRORS, LineError, line_error

DEFAULT_TENANT = "default"


@dataclass(slots=True)
class ValidatedLines:
    """The events that may be published, the lines that they stand in, and what is wrong with the others.

    `refused` counts the others; of the first MAX_LINE_ERRORS of them it is said what is wrong.
    """

    events: list[JudgedEvent] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    refused: int = 0
    errors: list[LineError] = field(default_factory=list)


class _Naming(msgspec.Struct):
    """What an event says of its tenant."""

    tenant_id: Any = msgspec.UNSET


_naming = msgspec.json.Decoder(_Naming)


def lines_of(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each line that is not blank, with its number."""
    for number, line in enumerate(body.split(b"\n"), 1):
        if text := line.strip():
            yield number, text


def validate_lines(lines: Iterable[tuple[int, bytes]], tenant_id: str) -> ValidatedLines:
    """Judge each event: it must be valid, and of this tenant; one that names none is given it."""
    judged = ValidatedLines()
    for number, line in lines:
        try:
            event = _of_tenant(line, tenant_id)
        except InvalidEvent as error:
            judged.refused += 1
            if judged.refused <= MAX_LINE_ERRORS:
                judged.errors.append(line_error(number, line, error))
        else:
            judged.events.append(event)
            judged.lines.append(number)
    return judged


def _of_tenant(raw: bytes, tenant_id: str) -> JudgedEvent:
    """Return what to publish: its bytes as they came, but for repairs and the tenant. Raises InvalidEvent."""
    judged = judge(raw)
    if judged.tenant_id == tenant_id:
        return judged
    ready = judged.event.raw
    # What only its repair makes too large is published as it came, and may not decode.
    text = ready if judged.is_whole else accept_event(raw)[1]
    if judged.tenant_id != DEFAULT_TENANT or _naming.decode(text).tenant_id is not msgspec.UNSET:
        raise InvalidEvent(
            "tenant_id",
            "is not the tenant of this API key",
            "leave it out, or publish with a key of that tenant",
        )
    begin = ready.index(b"{") + 1
    filled = b'%s"tenant_id":%s,%s' % (ready[:begin], msgspec.json.encode(tenant_id), ready[begin:])
    if len(filled) > MAX_EVENT_BYTES:
        raise InvalidEvent("event", f"is {len(filled)} bytes long with its tenant_id", "give at most 256 KiB")
    return JudgedEvent(tenant_id, msgspec.structs.replace(judged.event, raw=filled), judged.is_whole)
