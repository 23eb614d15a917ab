"""Lines of a file or a pipe, as they arrive.

Comes in: a file descriptor. Goes out: batches of numbered lines, each batch what was there to be read,
so that a slow pipe is not held up and a fast one is taken in large bites. Memory stays bounded however
long a line is.
"""

import codecs
import os
from collections.abc import Iterator
from dataclasses import dataclass

from worker.model.events import MAX_EVENT_BYTES

#: Bytes of one read; a pipe gives less.
_BITE = 1 << 20
#: Of a line that is longer than any event, this much is kept: enough to show that.
_LONGEST = MAX_EVENT_BYTES + 1


@dataclass(frozen=True, slots=True)
class InputLine:
    """A line that is not blank, without the white space around it.

    `length` counts its bytes as they came; `text` is less of a line that is too long for an event.
    """

    number: int
    text: bytes
    length: int

    @property
    def is_cut(self) -> bool:
        """Whether `text` is only a part, which is longer than any event all the same."""
        return len(self.text) == _LONGEST


def arriving_lines(descriptor: int) -> Iterator[list[InputLine]]:
    """Yield the lines that each read completes. A byte order mark and a missing last newline are fine."""
    cutter = _Cutter()
    while bite := os.read(descriptor, _BITE):
        yield cutter.take(bite)
    yield cutter.take(b"\n")


class _Cutter:
    """Cuts bites into lines, and keeps the unfinished end of one for the next."""

    def __init__(self) -> None:
        self._number = 0
        self._rest = b""
        self._dropped = 0

    def take(self, bite: bytes) -> list[InputLine]:
        *ended, self._rest = (self._rest + bite).split(b"\n")
        lines = [line for text in ended if (line := self._line(text))]
        excess = len(self._rest) - _LONGEST
        if excess > 0:
            self._rest = self._rest[:_LONGEST]
            self._dropped += excess
        return lines

    def _line(self, text: bytes) -> InputLine | None:
        self._number += 1
        dropped, self._dropped = self._dropped, 0
        length = len(text) + dropped
        if dropped:
            # Not stripped: with its middle missing, it must stay too long to be taken for an event.
            return InputLine(self._number, text[:_LONGEST], length)
        if self._number == 1:
            text = text.removeprefix(codecs.BOM_UTF8)
        text = text.strip()
        return InputLine(self._number, text[:_LONGEST], length) if text else None
