"""Keys of a CEF extension and their values, as bytes.

Text becomes bytes early, for a message with one letter beyond Latin in it would else be wide as a whole. What
must not stand as it is, is looked for by scans that C makes: of bytes they cost a fifth of those of text.
"""

import re
from contextlib import suppress

import msgspec

from worker.destinations.syslog_cef.mapping import KEYS
from worker.destinations.syslog_cef.values import escaped, extension_value, json_value, lines, plain_json
from worker.model.untrusted_json import DAMAGED

#: What stands before the value of each key, and how many characters the value may have.
LEADS = {key.name: (key.lead, key.most) for key in KEYS}

_COMPACT = -1
_NO_OBJECT = frozenset({b"null", b"{}"})
#: The controls above ASCII that a value must not hold (`worker.destinations.syslog_cef.values`) in UTF-8,
#: behind the bytes that they begin with: most texts hold none of these.
_CONTROLS = [
    (b"\xc2", re.compile(rb"\xc2[\x80-\x9f]")),
    (b"\xd8", re.compile(rb"\xd8\x9c")),
    (b"\xe2", re.compile(rb"\xe2(?:\x80[\x8e\x8f\xa8-\xae]|\x81[\xa6-\xa9])")),
    (b"\xef", re.compile(rb"\xef(?:\xbb\xbf|\xbf[\xb9-\xbb])")),
]
NUMBER = b"0123456789+-.eE"


class TooLong(Exception):
    """A value may be too long for its key."""


def lead_of(key: str) -> tuple[bytes, int]:
    """Return what stands before the value of a key, and how many characters the value may have."""
    lead, most = LEADS[key]
    return lead.encode(), most


#: All of ASCII that needs no look: no control, no escape.
_SAFE = bytes(set(range(0x20, 0x7F)) - set(b"\\="))
_BLANK = 0x20


def written(key: str, value: str | None) -> str:
    """Return the key and its value, escaped; nothing without one: it would be a mistake to some parsers.

    Raises TooLong.
    """
    if not value:
        return ""
    lead, most = LEADS[key]
    if len(value) > most:
        raise TooLong
    text = extension_value(value)
    return lead + text if text else ""


def plain_id(event_id: str, most: int) -> bytes:
    """Return the id as bytes, escaped. Raises TooLong where it is empty or not carried whole."""
    data = event_id.encode("utf-8", "replace")
    if data.translate(None, _SAFE) or len(data) > most:
        if len(event_id) > most or event_id != lines(event_id):
            raise TooLong
        data = escaped_bytes(data)
    if not data or data[0] == _BLANK or data[-1] == _BLANK:
        raise TooLong
    return data


def digits_of(raw: msgspec.Raw, most: int) -> bytes:
    """Return the digits of a number as they were published; nothing for null, or if there is none.

    Raises TooLong for what is no number, and for more digits than `most`.
    """
    if len(raw) == 0:
        return b""
    digits = bytes(raw)
    if len(digits) > most or digits.strip(NUMBER):
        if digits in {b"null", b'""'}:
            return b""
        raise TooLong
    return digits


def as_published(raw: msgspec.Raw) -> str | None:
    """Return a number by its own digits, and a string's text; nothing for null, or if there is none.

    A string that cannot be read any more stays as it stands there.
    """
    if len(raw) == 0:
        return None
    text = str(raw, "utf-8", "replace")
    if text.startswith('"'):
        with suppress(*DAMAGED):
            return msgspec.json.decode(text, type=str)
    return None if text == "null" else text


def delta(raw: msgspec.Raw, most: int) -> bytes:
    """Return the change of the behaviour, a number or a text; nothing for null. Raises TooLong."""
    if bytes(raw)[:1] != b'"':
        return digits_of(raw, most)
    published = as_published(raw)
    return text(published, most) if published else b""


def text(value: str, most: int) -> bytes:
    """Return a text, which is not empty, escaped; nothing if it is blank. Raises TooLong."""
    data = value.encode("utf-8", "replace")
    if data.translate(None, _SAFE) or len(data) > most or data[0] == _BLANK or data[-1] == _BLANK:
        if len(value) > most:
            raise TooLong
        data = extension_value(value).encode("utf-8", "replace")
    return data


def json_object(raw: msgspec.Raw, most: int) -> bytes:
    """Return an object of the event as compact JSON; nothing for an empty one or null. Raises TooLong."""
    if len(raw) <= len("{}"):
        return b""
    try:
        compact = msgspec.json.format(raw, indent=_COMPACT)
    except DAMAGED:
        return _object_in_full(plain_json(str(raw, "utf-8", "replace")), most)
    if compact in _NO_OBJECT:
        return b""
    if len(compact) <= most and is_plain(compact):
        return escaped_bytes(compact)
    return _object_in_full(json_value(compact), most)


def is_compact(members: bytes) -> bool:
    """Whether in JSON values with commas between them no white space stands that says nothing."""
    array = b"[%b]" % members
    try:
        return msgspec.json.format(array, indent=_COMPACT) == array
    except DAMAGED:
        return False


def is_plain(data: bytes) -> bool:
    """Whether it is UTF-8 without DEL and without what `_CONTROLS` has."""
    if b"\x7f" in data:
        return False
    if data.isascii():
        return True
    for first, control in _CONTROLS:
        if first in data and control.search(data):
            return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _object_in_full(json: str, most: int) -> bytes:
    if len(json) > most:
        raise TooLong
    return escaped(json).encode("utf-8", "replace")


def as_json(raw: msgspec.Raw) -> str | None:
    """Return an object of the event as compact JSON; nothing if it is empty or missing."""
    if len(raw) <= len("{}"):
        return None
    try:
        compact = msgspec.json.format(raw, indent=_COMPACT)
    except DAMAGED:
        return plain_json(str(raw, "utf-8", "replace"))
    return None if compact in _NO_OBJECT else json_value(compact)


def repairs(raw: msgspec.Raw) -> str | None:
    """Return what was repaired, separated by commas; `true` for anything else that stands there."""
    if len(raw) == 0:
        return None
    try:
        return ",".join(msgspec.json.decode(raw, type=list[str]))
    except DAMAGED:
        return "true"


def escaped_bytes(data: bytes) -> bytes:
    r"""Return UTF-8 on one line with each backslash and equals sign escaped as values have them."""
    if b"\\" in data:
        data = data.replace(b"\\", b"\\\\")
    return data.replace(b"=", b"\\=") if b"=" in data else data
