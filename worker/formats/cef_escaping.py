"""Text to what CEF lets stand in a header field, or in the value of an extension.

The two escape differently (ArcSight CEF standard, "Character Encoding"): a pipe ends a header field and is
nothing special in a value; an equals sign is the other way about. Both are stripped, because blanks around
a value do not survive a parser. Nothing that ends a line or a message comes out: no C0 control, no DEL, no
C1 control, no U+2028, no U+2029. Nor does anything that has a reader see another text than is there: no
bidirectional control (Unicode, `Bidi_Control`), no byte order mark, no interlinear annotation.
"""

import re

_MISLEADING = r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb"
_CONTROL = rf"\x00-\x1f\x7f-\x9f\u2028\u2029{_MISLEADING}"
_CONTROLS = re.compile(f"[{_CONTROL}]+")
_CONTROL_THAT_ENDS_NO_LINE = re.compile(rf"[\x00-\x08\t\x0e-\x1f\x7f-\x84\x86-\x9f{_MISLEADING}]")
#: What some reader or other takes for the end of a line.
_LINE_END = re.compile(r"\r\n|[\n\v\f\r\x85\u2028\u2029]")


def one_line(text: str) -> str:
    """Return the text on one line, stripped, with one space for each run of control characters."""
    return (text if text.isprintable() else _CONTROLS.sub(" ", text)).strip()


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
    text = lines(text)
    if "\\" not in text and "=" not in text and "\n" not in text:
        return text
    return text.replace("\\", "\\\\").replace("=", "\\=").replace("\n", "\\n")


def json_value(json: bytes) -> str:
    r"""Return JSON as text that is still the same JSON once it is a value; it is not escaped for CEF yet.

    A control character that JSON lets stand in a string becomes its `\u` escape, so no reader loses it.
    """
    return plain_json(str(json, "utf-8", "replace"))


def plain_json(text: str) -> str:
    r"""Return JSON in which no control character stands but as its `\u` escape."""
    return text if text.isprintable() else _CONTROLS.sub(_as_json_escapes, text)


def _as_json_escapes(found: re.Match[str]) -> str:
    return "".join(f"\\u{ord(character):04x}" for character in found[0])
