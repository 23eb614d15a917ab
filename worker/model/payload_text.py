r"""The bytes of an event as text to read and to correct.

The text says what the bytes say: every name, number and escape stands as it was published, also a name that
stands twice. A reader of JSON would keep the last of two names (RFC 8259, 4) and cut the digits of numbers.
What cannot be printed stands by its code of JSON, as `\u202e` does: nothing hides, and the text stays JSON.
"""

import json
import re

import msgspec

#: Text that is longer than this, in bytes as it comes in or characters as it goes out, is not indented: the
#: indents of what is nested deeply would be many times as long, and too long for an event.
MOST_INDENTED = 64 << 10
_LINE_BREAK = re.compile(r"\r\n?")


def payload_text(payload: bytes) -> str:
    r"""Return the payload for people: JSON with indents, anything else as it is; all of it printable.

    What is no UTF-8 is shown as `\xff` is, which is no JSON either.
    """
    text = payload.decode(errors="backslashreplace")
    return "\n".join(map(_printable, (_indented(text) or _LINE_BREAK.sub("\n", text)).split("\n")))


def _indented(text: str) -> str | None:
    """Return JSON with indents, its tokens as they are; None if it is no JSON, or would be too long."""
    if len(text) > MOST_INDENTED:
        return None
    try:
        indented = msgspec.json.format(text, indent=2)
    except (msgspec.DecodeError, RecursionError):
        return None
    return indented if len(indented) <= MOST_INDENTED else None


def _printable(line: str) -> str:
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() or char == "\t" else json.dumps(char)[1:-1] for char in line)
