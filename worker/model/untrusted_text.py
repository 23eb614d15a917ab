"""Text and numbers from untrusted writers, made safe to look at, and short enough.

Words of others (a SIEM's answer, a certificate, an error of Redis) are cleaned at the door: in a
`Failure`, a `RedisCheck`, an error of ours. What was missed there is cleaned at the exit: in the log
(`worker.logging`) and on the terminal (`PrintableStream`).
"""

import re
from typing import Any, TextIO

#: What ends a text that is not whole.
MARK = "…"
# Blanks are looked at from the first of them on: else each would be tried as a beginning.
_BREAKS = re.compile(r"(?<![ \t])[ \t]*+[\r\n]\s*+")


def shortened(text: str, most: int) -> str:
    """Return the text, or as much of its beginning as fits into `most` characters with a mark behind it."""
    return text if len(text) <= most else text[: most - 1].rstrip() + MARK


def plain(text: str) -> str:
    r"""Return the text with its codes for what cannot be printed: `\x1b`, `\n`, `\u202e`."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _code(char) for char in text)


def in_one_line(text: str) -> str:
    """Return the text so cleaned, with a blank for each line break and the white space around it."""
    return text if text.isprintable() else plain(_BREAKS.sub(" ", text.strip()))


def plain_lines(text: str) -> str:
    """Return the text so cleaned, but for its line feeds and tabs."""
    return "\n".join("\t".join(map(plain, line.split("\t"))) for line in text.split("\n"))


def _code(char: str) -> str:
    return char.encode("unicode_escape").decode()


class PrintableStream:
    """A stream of text that shows codes for what is not printable; line feeds and tabs go through.

    `unfiltered` gives back the stream behind it to those who draw with a terminal's own sequences, and who
    clean what they draw.
    """

    def __init__(self, stream: TextIO) -> None:
        """Write to this stream."""
        self.stream = stream

    def write(self, text: str) -> int:
        """Write the text; return its length, as it was given."""
        self.stream.write(plain_lines(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        """Give what else the stream has: its buffer, its encoding, whether it is a terminal."""
        return getattr(self.stream, name)


def unfiltered(stream: TextIO) -> TextIO:
    """Return the stream behind a PrintableStream; any other stream as it is."""
    return stream.stream if isinstance(stream, PrintableStream) else stream


#: More digits than this no number has that we take: so many always fit into 64 bits.
MOST_DIGITS = 18


def number_in(text: str | bytes) -> int | None:
    """Return the number that stands there in digits alone; None for anything else or a longer one."""
    is_number = text.isdigit() if isinstance(text, bytes) else text.isdecimal()
    return int(text) if is_number and len(text) <= MOST_DIGITS else None
