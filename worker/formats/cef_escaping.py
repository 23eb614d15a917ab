"""Text to what CEF lets stand in a header field, or in the value of an extension.

The two escape differently (ArcSight CEF standard, "Character Encoding"): a pipe ends a header field and is
nothing special in a value; an equals sign is the other way about. Both are stripped, because blanks around
a value do not survive a parser. Nothing that ends a line or a message comes out: no C0 control, no DEL, no
C1 control, no U+2028, no U+2029.
"""

import re

_CONTROL = r"\x00-\x1f\x7f-\x9f\u2028\u2029"
_CONTROLS = re.compile(f"[{_CONTROL}]+")
_CONTROL_THAT_ENDS_NO_LINE = re.compile(r"[\x00-\x08\t\x0e-\x1f\x7f-\x84\x86-\x9f]")
#: What some reader or other takes for the end of a line.
_LINE_END = re.compile(r"\r\n|[\n\v\f\r\x85\u2028\u2029]")


def one_line(text: str) -> str:
    """Return the text with one space for each run of control characters, ends of lines among them."""
    return text if text.isprintable() else _CONTROLS.sub(" ", text)


def header_value(text: str, most: int) -> str:
    """Return the text as a header field of at most `most` characters before they are escaped.

    It has one line: the standard allows no second one in the header.
    """
    text = one_line(text).strip()
    if len(text) > most:
        text = text[:most].rstrip()
    return text.replace("\\", "\\\\").replace("|", "\\|")


def extension_value(text: str, most: int) -> str:
    r"""Return the text as an extension's value of at most `most` characters before they are escaped.

    Each end of a line becomes `\n`, as the standard has it for values; each other control character a space.
    """
    if not text.isprintable():
        text = _LINE_END.sub("\n", _CONTROL_THAT_ENDS_NO_LINE.sub(" ", text))
    text = text.strip()
    if len(text) > most:
        text = text[:most].rstrip()
    if "\\" not in text and "=" not in text and "\n" not in text:
        return text
    return text.replace("\\", "\\\\").replace("=", "\\=").replace("\n", "\\n")


def json_value(json: bytes, most: int) -> str:
    r"""Return JSON as text of about `most` characters that is still the same JSON unless it was longer.

    A control character that JSON lets stand in a string becomes its `\u` escape, so no reader loses it.
    The text is not escaped for CEF yet.
    """
    text = str(json[: 4 * most], "utf-8", "replace")  # a character has four bytes at most
    return text if text.isprintable() else _CONTROLS.sub(_as_json_escapes, text)


def _as_json_escapes(found: re.Match[str]) -> str:
    return "".join(f"\\u{ord(character):04x}" for character in found[0])


def shortened(escaped: str, size: int) -> bytes:
    """Cut escaped text to at most `size` bytes, never inside an escape or a character, and strip its end."""
    whole = escaped.encode("utf-8", "replace")
    if len(whole) <= size:
        return whole
    cut = whole[:size].decode("utf-8", "ignore")
    if _trailing_backslashes(cut) % 2:
        cut = cut[:-1]
    while (stripped := _without_blank_end(cut)) != cut:
        cut = stripped
    return cut.encode()


def _without_blank_end(escaped: str) -> str:
    r"""Take blanks off the end, or the end of a line; but `\\n` is a backslash and an n."""
    if escaped.endswith("\\n") and _trailing_backslashes(escaped[:-1]) % 2:
        return escaped[:-2]
    return escaped.rstrip()


def _trailing_backslashes(text: str) -> int:
    return len(text) - len(text.rstrip("\\"))
