"""Whose an event is that is not valid: what can be read of it all the same, off the way of valid ones.

A name counts only where it stands in the event itself, never within `context` or another member: what a
tenant put there must not show its event to another one.
"""

import datetime as dt

import msgspec

from worker.model.event_repair import levelled
from worker.model.event_types import EventType
from worker.model.time import LATEST_MS
from worker.model.untrusted_json import members_of, read_members

#: Of an event that is larger than any may be, this much is read.
_MOST_BYTES = 64 * 1024
_LONGEST_NAME = 128
_TYPES = frozenset(EventType)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Salvaged(msgspec.Struct, frozen=True):
    """What is known of an invalid event; empty, 0 or None is what cannot be read.

    `tenant_id` is None as well if two different ones are given, or one might stand in a part that is lost.
    """

    id: str = ""
    type: str = ""
    time_ms: int = 0
    tenant_id: str | None = None


def salvage_event(raw: bytes) -> Salvaged:
    """Read what can be read. Never raises."""
    begin = raw[:_MOST_BYTES]
    is_whole = len(begin) == len(raw) and _is_object(raw)
    found: dict[str, bytes | None] = {}
    for name, value in read_members(begin):
        found[name] = value if found.get(name, value) == value else None
    type_ = _text(found.get("type"))
    tenant_id = _text(found.get("tenant_id")) if "tenant_id" in found else "default" if is_whole else ""
    return Salvaged(
        _text(found.get("id")),
        type_ if type_ in _TYPES else "",
        _milliseconds(found.get("timestamp")),
        tenant_id or None,
    )


def _is_object(raw: bytes) -> bool:
    for text in (raw, levelled(raw) if b"\\u" in raw else None):
        try:
            if text is not None:
                return bool(members_of(text))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
    return False


def _text(value: bytes | None) -> str:
    """Return a string's text if it could be a name, else nothing."""
    try:
        text = msgspec.json.decode(levelled(value or b""), type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return text if len(text) <= _LONGEST_NAME and text.isprintable() else ""


def _milliseconds(value: bytes | None) -> int:
    """Return a timestamp as milliseconds since 1970 UTC, 0 for what is none of the years until 9999."""
    try:
        moment = msgspec.json.decode(value or b"", type=dt.datetime)
        milliseconds = (moment - _EPOCH) // dt.timedelta(milliseconds=1)
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError):  # TypeError: it names no zone
        return 0
    return milliseconds if 0 <= milliseconds <= LATEST_MS else 0
