"""A strict reader of CEF, written from the ArcSight CEF standard alone and from no code of ours.

It refuses whatever the standard forbids and whatever some reader in the field stumbles over: a control
character, an escape that does not exist where it stands, an unescaped equals sign in a value, an empty or
padded value, a key twice, a key that the dictionary lacks, a value longer than the dictionary allows, a
custom key without its label, a time that is not epoch milliseconds.
"""

import re
import unicodedata
from dataclasses import dataclass

#: The header's fields behind the version, and their longest values in characters (standard, "Header").
_HEADER_SIZES = (63, 63, 31, 1023, 512, 2)

#: The longest value in characters of every key in use (standard, "ArcSight Extension Dictionary").
_DICTIONARY = {
    "rt": 20,
    "act": 63,
    "outcome": 63,
    "externalId": 40,
    "devicePayloadId": 128,
    "suid": 1023,
    "suser": 1023,
    "src": 1023,
    "cat": 1023,
    "deviceExternalId": 255,
    "requestContext": 2048,
    "reason": 1023,
    "msg": 1023,
    "flexString1": 1023,
    "flexString1Label": 128,
    "flexString2": 1023,
    "flexString2Label": 128,
    "cfp1": 400,
    "cfp1Label": 1023,
} | {f"cs{number}{label}": 1023 if label else 4000 for number in range(1, 7) for label in ("", "Label")}

_IN_HEADER = {"\\": "\\", "|": "|"}
_IN_EXTENSION = {"\\": "\\", "=": "=", "n": "\n", "r": "\r"}


class NotCef(ValueError):
    """The text breaks a rule of CEF."""


@dataclass(frozen=True)
class CefEvent:
    """What a reader makes of a message: values are no longer escaped."""

    vendor: str
    product: str
    version: str
    event_class: str
    name: str
    severity: int
    extension: dict[str, str]


def parse_cef(message: bytes) -> CefEvent:
    """Read one message that begins with `CEF:0|`; raises NotCef or UnicodeDecodeError."""
    text = message.decode("utf-8")
    for character in text:
        if unicodedata.category(character) in {"Cc", "Zl", "Zp", "Cs"}:
            raise NotCef(f"control character {character!r}")
    if not text.startswith("CEF:0|"):
        raise NotCef("does not begin with CEF:0|")
    *fields, rest = _header_fields(text.removeprefix("CEF:0|"))
    for field, size in zip(fields, _HEADER_SIZES, strict=True):
        _check_value("header field", field, size)
    if not fields[5].isdecimal() or not 0 <= int(fields[5]) <= 10:
        raise NotCef(f"severity {fields[5]!r}")
    return CefEvent(fields[0], fields[1], fields[2], fields[3], fields[4], int(fields[5]), _extension(rest))


def _header_fields(text: str) -> list[str]:
    """Split at the first six pipes that are not escaped; what follows the last is not touched."""
    fields: list[str] = []
    field, at = "", 0
    while at < len(text) and len(fields) < 6:
        if text[at] == "\\":
            at += 1
            field += _unescaped(text[at : at + 1], _IN_HEADER)
        elif text[at] == "|":
            fields.append(field)
            field = ""
        else:
            field += text[at]
        at += 1
    if len(fields) < 6:
        raise NotCef("fewer than seven fields in the header")
    return [*fields, text[at:]]


def _extension(text: str) -> dict[str, str]:
    """Read the pairs: an unescaped equals sign ends a key, which begins behind the blank before it."""
    starts = _unescaped_equals(text)
    pairs: dict[str, str] = {}
    begins = [text.rfind(" ", 0, at) + 1 for at in starts]
    if (begins or [0])[0] != 0 or (text and not starts):
        raise NotCef("text before the first key")
    ends = [*begins[1:], len(text) + 1] if begins else []
    for begin, at, end in zip(begins, starts, ends, strict=True):
        key, raw = text[begin:at], text[at + 1 : end - 1]
        value = re.sub(r"\\(.?)", lambda found: _unescaped(found[1], _IN_EXTENSION), raw)
        if key in pairs:
            raise NotCef(f"key {key} twice")
        _check_pair(key, value)
        pairs[key] = value
    _check_labels(pairs)
    return pairs


def _unescaped_equals(text: str) -> list[int]:
    places, at = [], 0
    while at < len(text):
        if text[at] == "=":
            places.append(at)
        at += 2 if text[at] == "\\" else 1
    return places


def _unescaped(character: str, known: dict[str, str]) -> str:
    if character not in known:
        raise NotCef(f"no such escape here: backslash {character!r}")
    return known[character]


def _check_pair(key: str, value: str) -> None:
    if key not in _DICTIONARY:
        raise NotCef(f"unknown key {key!r}")
    _check_value(key, value, _DICTIONARY[key])
    if key == "rt" and not re.fullmatch(r"[0-9]{1,15}", value):
        raise NotCef(f"rt is not epoch milliseconds: {value!r}")
    if key == "cfp1":
        float(value)


def _check_value(place: str, value: str, size: int) -> None:
    if not value or value != value.strip():
        raise NotCef(f"{place} is empty or padded: {value!r}")
    if len(value) > size:
        raise NotCef(f"{place} has {len(value)} characters, {size} are allowed")


def _check_labels(pairs: dict[str, str]) -> None:
    for key in pairs:
        custom = re.fullmatch(r"((?:cs|cfp|flexString)\d)(Label)?", key)
        if custom and {custom[1], f"{custom[1]}Label"} - pairs.keys():
            raise NotCef(f"{custom[1]} and its label do not stand together")
