"""Values of CEF: escaped, and cut to fit their key or the message, so that a reader can see it.

Text ends in a mark, an object stays JSON and says that it is not whole, and an id is never cut: two of them
would become one. Its digest stands for it.

Text to what CEF lets stand in a header field, or in the value of an extension.

The two escape differently (ArcSight CEF standard, "Character Encoding"): a pipe ends a header field and is
nothing special in a value; an equals sign is the other way about. Both are stripped, because blanks around
a value do not survive a parser. Nothing that ends a line or a message comes out: no C0 control, no DEL, no
C1 control, no U+2028, no U+2029. Nor does anything that has a reader see another text than is there: no
bidirectional control (Unicode, `Bidi_Control`), no byte order mark, no interlinear annotation.
"""

import hashlib
import re

import msgspec

from worker.model.untrusted_json import DAMAGED
from worker.model.untrusted_text import MARK, shortened

_MISLEADING = r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb"
_CONTROL = rf"\x00-\x1f\x7f-\x9f\u2028\u2029{_MISLEADING}"
_CONTROLS = re.compile(f"[{_CONTROL}]+")
_CONTROL_THAT_ENDS_NO_LINE = re.compile(rf"[\x00-\x08\t\x0e-\x1f\x7f-\x84\x86-\x9f{_MISLEADING}]")
#: What some reader or other takes for the end of a line.
_LINE_END = re.compile(r"\r\n|[\n\v\f\r\x85\u2028\u2029]")


def one_line(text: str) -> str:
    """Return the text on one line, stripped, with one space for each run of control characters."""
    return without_controls(text).strip()


def without_controls(text: str) -> str:
    """Return the text with one space for each run of control characters."""
    return text if text.isprintable() else _CONTROLS.sub(" ", text)


def lines(text: str) -> str:
    r"""Return the text stripped, with `\n` for each end of a line, and a space for each other control."""
    if not text.isprintable():
        text = _LINE_END.sub("\n", _CONTROL_THAT_ENDS_NO_LINE.sub(" ", text))
    return text.strip()


def header_value(text: str) -> str:
    """Return the text as a header field has it: on one line, as the standard allows no second one."""
    return one_line(text).replace("\\", "\\\\").replace("|", "\\|")


def extension_value(text: str) -> str:
    r"""Return the text as an extension's value: the end of a line is a backslash and an `n`."""
    return escaped(lines(text))


def escaped(text: str) -> str:
    r"""Return the text with each backslash, equals sign and `\n` escaped as values have them."""
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    if "=" in text:
        text = text.replace("=", "\\=")
    return text.replace("\n", "\\n") if "\n" in text else text


def json_value(json: bytes) -> str:
    r"""Return compact JSON as text that is still the same once it is a value; it is not escaped for CEF yet.

    A control character that JSON lets stand in a string becomes its `\u` escape, so no reader loses it.
    """
    text = str(json, "utf-8", "replace")
    # Of the lower controls, JSON has none in a string, and compact JSON none elsewhere.
    return text if json.isascii() and b"\x7f" not in json else plain_json(text)


def plain_json(text: str) -> str:
    r"""Return JSON in which no control character stands but as its `\u` escape."""
    return text if text.isprintable() else _CONTROLS.sub(_as_json_escapes, text)


def _as_json_escapes(found: re.Match[str]) -> str:
    return "".join(f"\\u{ord(character):04x}" for character in found[0])


#: The last member of an object that is not whole.
_MEMBER = f'"{MARK}":"truncated"'
#: What is left of a text inside an object, in characters, or it is left out.
_TELLING = 24


def id_or_digest(text: str, most: int) -> str:
    """Return the id of an event if a key of `most` characters carries it whole, else its digest.

    Blanks around a value do not survive a parser, so that an id with some is not carried whole either.
    """
    return text if len(text) <= most and text == lines(text) else digest(text)


def digest(text: str) -> str:
    """Return `sha256:` and the first 32 hexadecimal digits of the SHA-256 of the text in UTF-8."""
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:32]}"


def cut_text(text: str, most: int) -> str:
    """Return the beginning of a text that is longer than `most` characters, and the mark."""
    return shortened(lines(text), most)


def cut_id(text: str, _most: int) -> str:
    """Return what stands for an id that is too long."""
    return digest(text)


def cut_number(text: str, most: int) -> str:
    """Return a number of fewer digits: the double that is nearest."""
    try:
        return str(float(text))
    except ValueError:
        return cut_text(text, most)


def cut_object(json: str, most: int) -> str:
    """Return the JSON of an object that is longer than `most` characters with what of it fits, and the mark.

    Members stand in their order; a text that does not fit is cut, with the mark, and what else does not fit
    is left out. What is no object any more leaves the mark alone.
    """
    members: list[str] = []
    room = most - len("{}") - len(_MEMBER)
    for name, value in _members(json).items():
        lead = plain_json(_encoded(name)) + ":"
        member = lead + value
        if len(member) >= room:
            member = lead + _cut_string(value, room - len(lead) - len(","))
        if member != lead:
            members.append(member)
            room -= len(member) + len(",")
    return "{" + ",".join([*members, _MEMBER]) + "}"


def _members(json: str) -> dict[str, str]:
    try:
        found = msgspec.json.decode(json, type=dict[str, msgspec.Raw])
    except DAMAGED:
        return {}
    return {name: bytes(raw).decode() for name, raw in found.items() if name != MARK}


def _cut_string(json: str, most: int) -> str:
    """Return a JSON string cut to at most `most` characters, quotes included; nothing if that says little."""
    if not json.startswith('"') or most < _TELLING:
        return ""
    try:
        text = msgspec.json.decode(json, type=str)[:most]
    except DAMAGED:
        return ""
    while (excess := len(cut := plain_json(_encoded(text.rstrip() + MARK))) - most) > 0:
        text = text[: -max(1, excess // len(r"\u0000"))]
    return cut


def _encoded(text: str) -> str:
    return msgspec.json.encode(text).decode()


def cut_escaped(escaped: str, size: int) -> str:
    """Cut text that is escaped to at most `size` bytes, 3 or more, the mark included.

    It is never cut inside an escape or a character.
    """
    whole = escaped.encode("utf-8", "replace")
    if len(whole) <= size:
        return escaped
    cut = whole[: max(0, size - len(MARK.encode()))].decode("utf-8", "ignore")
    if _trailing_backslashes(cut) % 2:
        cut = cut[:-1]
    while (stripped := _without_blank_end(cut)) != cut:
        cut = stripped
    return cut + MARK


def _without_blank_end(escaped: str) -> str:
    r"""Take blanks off the end, or the end of a line; but `\\n` is a backslash and an n."""
    if escaped.endswith("\\n") and _trailing_backslashes(escaped[:-1]) % 2:
        return escaped[:-2]
    return escaped.rstrip()


def _trailing_backslashes(text: str) -> int:
    return len(text) - len(text.rstrip("\\"))
