"""Keys of a CEF extension and their values, as bytes.

Text becomes bytes early, for a message with one letter beyond Latin in it would else be wide as a whole. What
must not stand as it is, is looked for by scans that C makes: of bytes they cost a fifth of those of text.
"""

import msgspec

from worker.destinations.syslog_cef.mapping import KEYS
from worker.destinations.syslog_cef.values import escaped, extension_value, json_value, lines, plain_json
from worker.model.untrusted_json import DAMAGED

#: What stands before the value of each key, and how many characters the value may have.
LEADS = {key.name: (key.lead, key.most) for key in KEYS}

_COMPACT = -1
#: The longest JSON of what is no object: `null`.
_SHORTEST = 4
_NO_OBJECT = frozenset({b"null", b"{}"})
_NUMBER = b"0123456789+-.eE"


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
        data = _escaped(data)
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
    if len(digits) > most or digits.strip(_NUMBER):
        if digits in {b"null", b'""'}:
            return b""
        raise TooLong
    return digits


def as_published(raw: msgspec.Raw) -> str | None:
    """Return a number by its own digits, and a string's text; nothing for null, or if there is none."""
    if len(raw) == 0:
        return None
    text = str(raw, "utf-8", "replace")
    if text.startswith('"'):
        return msgspec.json.decode(raw, type=str)
    return None if text == "null" else text


def delta(raw: msgspec.Raw, key: tuple[bytes, int]) -> bytes:
    """Return the change of the behaviour, a number or a text, behind its key. Raises TooLong."""
    if bytes(raw)[:1] == b'"':
        published = as_published(raw)
        return text(published, key) if published else b""
    digits = digits_of(raw, key[1])
    return key[0] + digits if digits else b""


def text(value: str, key: tuple[bytes, int]) -> bytes:
    """Return a text, which is not empty, behind its key, escaped; nothing if it is blank. Raises TooLong."""
    lead, most = key
    data = value.encode("utf-8", "replace")
    if data.translate(None, _SAFE) or len(data) > most or data[0] == _BLANK or data[-1] == _BLANK:
        if len(value) > most:
            raise TooLong
        data = extension_value(value).encode("utf-8", "replace")
    return lead + data if data else b""


def json_object(raw: msgspec.Raw, key: tuple[bytes, int]) -> bytes:
    """Return an object of the event as compact JSON behind its key. Raises TooLong."""
    lead, most = key
    try:
        compact = msgspec.json.format(raw, indent=_COMPACT)
    except DAMAGED:
        return lead + _object_in_full(plain_json(str(raw, "utf-8", "replace")), most)
    if len(compact) <= _SHORTEST and compact in _NO_OBJECT:
        return b""
    is_plain = b"\x7f" not in compact if compact.isascii() else _is_plain(compact)
    if is_plain and len(compact) <= most:
        return lead + _escaped(compact)
    return lead + _object_in_full(json_value(compact), most)


def _is_plain(data: bytes) -> bool:
    """Whether it is UTF-8 without a control character: each begins with one of these bytes, as others do."""
    if b"\x7f" in data or b"\xc2" in data or b"\xd8" in data or b"\xe2" in data or b"\xef" in data:
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
    except msgspec.MsgspecError:
        return "true"


def _escaped(data: bytes) -> bytes:
    r"""Return UTF-8 on one line with each backslash and equals sign escaped as values have them."""
    if b"\\" in data:
        data = data.replace(b"\\", b"\\\\")
    return data.replace(b"=", b"\\=") if b"=" in data else data
