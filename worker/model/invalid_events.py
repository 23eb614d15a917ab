"""Invalid events: which field is wrong, and what of them can be read all the same.

The decoder's own words stay here: of them only the place counts, and the value is read from the bytes.

Whose an event is that is not valid: what can be read of it all the same, off the way of valid ones.

A name counts only where it stands in the event itself, never within `context` or another member: what a
tenant put there must not show its event to another one.
"""

import datetime as dt
import re

import msgspec

from worker.model.errors import InvalidEvent
from worker.model.events import EventType
from worker.model.time import EPOCH, LATEST_MS
from worker.model.untrusted_json import levelled, members_of, read_members
from worker.model.untrusted_text import plain, shortened

WHOLE = "event"
WHOLE_HINT = "give one JSON object in UTF-8, of at most 256 KiB"
HINTS = {
    "id": "give a string of 1 to 128 printable characters",
    "type": "give one of " + ", ".join(EventType),
    "timestamp": "give RFC 3339 with a zone, like 2026-11-22T10:11:12.345Z",
    "tenant_id": "give a string of 1 to 128 characters, or leave it out",
    "policy": "give an object with id, name and version, or leave it out",
    "policy.version": "give a string or a number, or leave it out",
    "decision": "give one of allow, deny, alert, hold, or leave it out",
    "drift_score": "give a number up to 1.7e308, or leave it out",
    "behavioral_hash_delta": "give a number or a string, or leave it out",
    "hold": "give an object, or leave it out",
    "context": "give an object, or leave it out",
}
_TEXT_HINT = "give a string, or leave it out"

#: How msgspec ends its complaint of a number that no double, or no integer of Python, holds.
OUT_OF_RANGE = "out of range"
_LONGEST_VALUE = 100
#: The decoder names a byte, or the one after it; so many are shown before and behind.
_AROUND = 15
_LONGEST_NAME = 128
_MISSING = re.compile(r"Object missing required field `(\w+)`")
#: What stands before the place, which is the last that the decoder says; before it, it may repeat a value.
_AT = " - at `$."
_PLACE = re.compile(r"(\w++)(\.\w++)?[^`]*+`")
_BYTE = re.compile(r"\(byte (\d+)\)\Z")
_ZONE = re.compile(r"(?:[zZ]|[+-]\d\d:\d\d)\Z")
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?\Z")
_KINDS = {"[": "an array", '"': "a string", "t": "true", "f": "false", "n": "null"}


def hint_for(field: str) -> str:
    """Return what would be right in that field."""
    return HINTS.get(field, _TEXT_HINT)


def refuse_field(field: str, reason: str) -> InvalidEvent:
    """Refuse an event for what its field is."""
    return InvalidEvent(field, reason, hint_for(field))


def repeated(field: str) -> InvalidEvent:
    """Refuse an event for a field that is given more than once."""
    return InvalidEvent(field, "is given more than once", "give each field once")


def not_utf8(raw: bytes, error: UnicodeDecodeError) -> InvalidEvent:
    """Refuse what is not UTF-8."""
    return InvalidEvent(WHOLE, f"is not UTF-8 after its first {error.start} of {len(raw)} bytes", WHOLE_HINT)


def not_json(raw: bytes, error: msgspec.DecodeError) -> InvalidEvent:
    """Refuse what is not JSON."""
    if not raw.strip():
        return InvalidEvent(WHOLE, "is empty", WHOLE_HINT)
    if raw.startswith(b"\xef\xbb\xbf"):
        return InvalidEvent(WHOLE, "begins with a byte order mark", WHOLE_HINT)
    place = _BYTE.search(str(error))
    if place is None:
        return InvalidEvent(WHOLE, f"ends before its JSON does, after {len(raw)} bytes", WHOLE_HINT)
    at = int(place[1])
    around = plain(raw[max(0, at - _AROUND) : at + _AROUND].decode("utf-8", "replace"))
    return InvalidEvent(WHOLE, f"is not JSON around its byte {at}, at {around}", WHOLE_HINT)


def not_an_event(raw: bytes, error: msgspec.ValidationError) -> InvalidEvent:
    """Refuse JSON that is not an event."""
    complaint = str(error)
    if missing := _MISSING.fullmatch(complaint):
        return refuse_field(missing[1], "is missing")
    _, at, rest = complaint.rpartition(_AT)
    place = _PLACE.fullmatch(rest)
    if complaint.endswith(OUT_OF_RANGE):
        return InvalidEvent(WHOLE, "has a number that cannot be read", "give numbers up to 1.7e308")
    if not at or place is None:
        first = raw.lstrip()[:1].decode("ascii", "replace")
        return InvalidEvent(WHOLE, f"is {_KINDS.get(first, 'a number')}, not an object", WHOLE_HINT)
    name, inner = place[1], place[2] or ""
    field = name + inner if name == "policy" else name
    value = dict(read_members(raw)).get(name, b"")
    if name == "policy" and inner:
        value = dict(read_members(value)).get(inner[1:], b"")
    return refuse_field(field, _reason(field, value))


def _reason(field: str, value: bytes) -> str:
    """Return what came in place of what is right."""
    text = value.decode("utf-8", "replace")
    try:
        string = msgspec.json.decode(value, type=str)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return f"is {_shown(field, text)}"
    if not string:
        return "is empty"
    if field in {"id", "tenant_id"} and len(string) > _LONGEST_NAME:
        return f"is {len(string)} characters long"
    if field == "timestamp" and _DATE_TIME.match(string) and not _ZONE.search(string):
        return f"is {text}, which names no zone"
    return f"is {_shown(field, text)}"


def _shown(field: str, text: str) -> str:
    if text.startswith(("{", "[")):
        return "an object" if text.startswith("{") and field not in {"hold", "context"} else _KINDS["["]
    return shortened(plain(text), _LONGEST_VALUE)


#: Of an event that is larger than any may be, this much is read.
_MOST_BYTES = 64 * 1024
_LONGEST_ID = 128
_TYPES = frozenset(EventType)


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
    return text if len(text) <= _LONGEST_ID and text.isprintable() else ""


def _milliseconds(value: bytes | None) -> int:
    """Return a timestamp as milliseconds since 1970 UTC, 0 for what is none of the years until 9999."""
    try:
        moment = msgspec.json.decode(value or b"", type=dt.datetime)
        milliseconds = (moment - EPOCH) // dt.timedelta(milliseconds=1)
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError):  # TypeError: it names no zone
        return 0
    return milliseconds if 0 <= milliseconds <= LATEST_MS else 0
