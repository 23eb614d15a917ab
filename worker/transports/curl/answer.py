"""The answers of an HTTP/1.1 server, from the bytes that come. Pure (RFC 9112).

Input: what was received, in pieces of any length. Output: status, the beginning of the body, Retry-After, and
whether the connection may carry another request. Where it is open to doubt how an answer ends, it may not.
"""

import re
import time
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache

from worker.transports.http_response import MOST_BODY

#: A body up to this long, in bytes, is read to its end although its end is thrown away: that costs less
#: than another connection. A longer one costs its connection.
LONGEST_BODY = 200_000
#: No longer, in bytes, are the heads of one answer, interim ones and the fields behind its chunks among them.
LONGEST_HEAD = 300_000
_LONGEST_SIZE_LINE = 4_096
#: Nor has a head more fields.
_MOST_FIELDS = 5_000
#: What is kept for the next answer that is just the same: no more than so many bytes of each.
SMALL = 1_024

_SWITCHING, _FIRST_FINAL, _NO_CONTENT, _NOT_MODIFIED = 101, 200, 204, 304
_MOST_DIGITS = 18
#: An answer may be asked to wait for so many seconds at most: what is longer is obeyed as this.
_LONGEST_WISH = 21_600.0

_START = re.compile(rb"HTTP/1\.([01]) ([1-9]\d\d)(?:[ \t][^\0]*)?")
_END = re.compile(rb"\r?\n\r?\n")
_FOLD = re.compile(rb"\r?\n[ \t]+")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")


Fields = tuple[tuple[bytes, bytes], ...]


class NotHttp(Exception):
    """What came is no answer of HTTP/1.1, or how it ends cannot be told."""


@dataclass(frozen=True, slots=True)
class CurlResponse:
    """What the other side answered: its status, the first 20 000 bytes of the body, its Retry-After.

    `retry_after` is in seconds, whichever form it had, and None for none or for zero.
    """

    status: int
    body: bytes
    retry_after: float | None


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """A head: how its body ends is its `length`, or `is_chunked`, or with neither the connection's end.

    `keeps`: the connection may carry another request behind it. `wish` is its Retry-After as it stands,
    `fields` are all of its fields, with their names in lower case.
    """

    status: int
    length: int | None
    is_chunked: bool
    keeps: bool
    wish: str
    fields: Fields = ()

    @property
    def is_final(self) -> bool:
        """Whether no other head follows; behind 101 the connection speaks something else."""
        return self.status >= _FIRST_FINAL or self.status == _SWITCHING


def parse_head(head: bytes) -> AnswerHead:
    """Read a head, up to and with its empty line. Raises NotHttp."""
    start, *lines = _FOLD.sub(b" ", head.rstrip(b"\r\n")).split(b"\n")
    found = _START.fullmatch(start.rstrip(b"\r"))
    if found is None or b"\0" in head or len(lines) > _MOST_FIELDS:
        raise NotHttp
    fields = tuple(_field(line) for line in lines)
    status = int(found[2])
    codings = _members(fields, b"transfer-encoding")
    length = _length(fields)
    options = _members(fields, b"connection")
    keeps = b"keep-alive" in options if found[1] == b"0" else b"close" not in options
    wish = next((value for name, value in fields if name == b"retry-after"), b"").decode("latin-1")
    if status < _FIRST_FINAL or status in {_NO_CONTENT, _NOT_MODIFIED}:
        return AnswerHead(status, 0, is_chunked=False, keeps=keeps, wish=wish, fields=fields)
    if codings:
        # Two ways to tell where it ends may be told apart by others than us (RFC 9112, 6.3).
        is_chunked = codings[-1] == b"chunked"
        return AnswerHead(status, None, is_chunked, keeps and is_chunked and length is None, wish, fields)
    keeps = keeps and length is not None
    return AnswerHead(status, length, is_chunked=False, keeps=keeps, wish=wish, fields=fields)


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not colon:
        raise NotHttp
    return name.strip().lower(), value.strip(b" \t\r")


def _members(fields: Fields, name: bytes) -> list[bytes]:
    """Return the members of a field that is a list, over all its lines (RFC 9110, 5.6.1)."""
    members = [part.strip().lower() for key, value in fields if key == name for part in value.split(b",")]
    return [member for member in members if member]


def _length(fields: Fields) -> int | None:
    lengths = set(_members(fields, b"content-length"))
    if not lengths:
        return None
    value = lengths.pop()
    if lengths or not value.isdigit() or len(value) > _MOST_DIGITS:
        raise NotHttp
    return int(value)


def wished_seconds(wish: str) -> float | None:
    """Return a Retry-After in seconds, whichever form it has (RFC 9110, 10.2.3); None for none or zero."""
    if wish.isascii() and wish.isdigit():
        seconds = float(wish[:_MOST_DIGITS])
    else:
        try:
            moment = parsedate_to_datetime(wish)
        except (ValueError, OverflowError):
            return None
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - int(time.time())
    return min(float(round(seconds)), _LONGEST_WISH) if seconds > 0 else None


def small_whole(received: bytes) -> tuple[AnswerHead, bytes] | None:
    """Return head and body if these bytes are an answer, small, whole, plain, and with nothing behind it.

    The connection may be used again behind such a one, and it has no wish.
    """
    end = received.find(b"\r\n\r\n") + 4
    if end < len(b"\r\n\r\n"):
        return None
    try:
        head = parse_head(received[:end])
    except NotHttp:
        return None
    is_whole = head.status >= _FIRST_FINAL and head.length == len(received) - end
    return (head, received[end:]) if is_whole and head.keeps and not head.wish else None


@lru_cache(maxsize=256)
def _small_answer(received: bytes) -> CurlResponse | None:
    found = small_whole(received)
    return found and CurlResponse(found[0].status, found[1], None)


def small_answer(received: bytes) -> CurlResponse | None:
    """Return the answer if these bytes are one, whole and small, and the connection may be used again.

    Most are, and the same but for the second in their date. What is not needs an AnswerReader.
    """
    return _small_answer(received) if len(received) <= SMALL else None


@dataclass(slots=True)
class AnswerReader:
    """Reads one answer, interim ones before it included."""

    head: AnswerHead | None = None
    #: Whether a byte of it has come, and whether its end has.
    has_begun: bool = False
    is_over: bool = False
    #: Whether the connection may carry another request; to be asked when it is over.
    keeps: bool = False
    _pending: bytearray = field(default_factory=bytearray)
    _body: bytearray = field(default_factory=bytearray)
    _received: int = 0
    _around: int = 0
    #: What is left of the body or of the chunk; None before a chunk's size.
    _left: int | None = None
    _in_trailer: bool = False

    def feed(self, piece: bytes) -> None:
        """Take what came next. Raises NotHttp."""
        self.has_begun = True
        self._pending += piece
        while self._pending and not self.is_over and self._goes_on():
            pass
        if self.is_over and self._pending:
            self.keeps = False  # what stands behind it is no answer to anything that was asked

    def end(self) -> bool:
        """Take it that no more comes; return whether the answer is whole."""
        head = self.head
        if head is not None and head.length is None and not head.is_chunked:
            self.is_over = True
        return self.is_over

    @property
    def body(self) -> bytes:
        """The beginning of the body, as far as it came."""
        return bytes(self._body)

    def answer(self) -> CurlResponse:
        """Return what came; to be asked when it is over."""
        assert self.head is not None  # noqa: S101 - an answer that is over has one
        return CurlResponse(self.head.status, bytes(self._body), wished_seconds(self.head.wish))

    def _goes_on(self) -> bool:
        """Take one step; return False if that takes more than has come."""
        if self.head is None:
            return self._read_head()
        if not self.head.is_chunked:
            return self._read_plain()
        return self._read_trailer() if self._in_trailer else self._read_chunk()

    def _read_head(self) -> bool:
        end = _END.search(self._pending)
        size = len(self._pending) if end is None else end.end()
        if self._around + size > LONGEST_HEAD or not self._pending.startswith(
            b"HTTP/1."[: len(self._pending)]
        ):
            raise NotHttp
        if end is None:
            return False
        head = parse_head(bytes(self._pending[:size]))
        self._around += size
        del self._pending[:size]
        if head.is_final:
            self.head, self._left, self.keeps = head, head.length, head.keeps
            self.is_over = head.length == 0
        return True

    def _read_plain(self) -> bool:
        self._take(len(self._pending) if self._left is None else min(self._left, len(self._pending)))
        self.is_over = self.is_over or self._left == 0
        return True

    def _read_chunk(self) -> bool:
        if self._left is None:
            return self._read_size()
        if self._left:
            self._take(min(self._left, len(self._pending)))
            return True
        # The line end behind a chunk.
        if self._pending[:1] == b"\r" and len(self._pending) == 1:
            return False
        if not self._pending.startswith((b"\r\n", b"\n")):
            raise NotHttp
        del self._pending[: 2 if self._pending[:1] == b"\r" else 1]
        self._left = None
        return True

    def _read_size(self) -> bool:
        found = _CHUNK.match(self._pending)
        if found is None:
            if b"\n" in self._pending or len(self._pending) > _LONGEST_SIZE_LINE:
                raise NotHttp
            return False
        self._left = int(found[1], 16)
        self._in_trailer = self._left == 0
        del self._pending[: found.end()]
        return True

    def _read_trailer(self) -> bool:
        line, found, _ = self._pending.partition(b"\n")
        if self._around + len(line) > LONGEST_HEAD:
            raise NotHttp
        if found:
            self._around += len(line) + 1
            del self._pending[: len(line) + 1]
            self.is_over = not line.rstrip(b"\r")
        return bool(found)

    def _take(self, count: int) -> None:
        room = MOST_BODY - len(self._body)
        if room > 0:
            self._body += self._pending[: min(count, room)]
        del self._pending[:count]
        self._received += count
        if self._left is not None:
            self._left -= count
        if self._received > LONGEST_BODY:
            self.is_over, self.keeps = True, False
