"""The head of an HTTP/1.1 answer, read where http.client reads too little or gives up too soon.

http.client reads past 100 alone of the interim answers, refuses an answer with a hundred header fields, and
waits for an end that never comes where a length is told twice. What it parses is cleared of all that before.
"""

import re
from collections.abc import Iterable
from http.client import HTTPException, HTTPResponse
from io import BufferedIOBase, BufferedReader, BytesIO

from worker.model.untrusted_text import number_in

#: So many interim answers are read past; no head may be longer than so many bytes.
MOST_INTERIM = 1000
LONGEST_HEAD = 1024 * 1024
_LONGEST_LINE = 65_536
#: One less than http.client takes, which counts the empty line.
_MOST_FIELDS = 99

_INTERIM = re.compile(rb"HTTP/1\.\d 1(?!01)\d\d(?!\d)")
_NO_CONTENT = 204
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: RFC 9112, 2.2 and 5.2: what may not stand in a value, and how a folded line goes on, read as spaces.
_BREAKS = re.compile(rb"[\0\r\n]+")
_LENGTH, _TRANSFER = b"content-length", b"transfer-encoding"
#: Which fields are kept where there are too many: first those that frame the body, then those that are read.
_RANKS = dict.fromkeys((_TRANSFER, _LENGTH, b"connection"), 0) | dict.fromkeys(
    (b"content-encoding", b"date", b"location", b"retry-after", b"set-cookie"), 1
)

#: A field's name in lower case, and its value.
_Field = tuple[bytes, bytes]


class HeadTooLarge(HTTPException):
    """The head of an answer is longer than anybody needs."""


class FinalResponse(HTTPResponse):
    """The final answer to a request, whatever comes before it and however many fields it has."""

    def begin(self) -> None:
        """Read past interim answers, asked for or not, then the head of the final one (RFC 9110, 15.2)."""
        stream = self.fp
        self.fp = BufferedReader(BytesIO(_final_head(stream)))
        try:
            super().begin()
        finally:
            self.fp = stream
        if self.status == _NO_CONTENT:
            self._expect_content()

    def _expect_content(self) -> None:
        """Make ready to read what a 204 says that it carries, which it must not (RFC 9110, 15.3.5).

        Left unread, it would be taken for the answer to the next request.
        """
        told = self.headers.get("Content-Length", "")
        if self.chunked or told.strip("0"):
            self.length = number_in(told)
            self.will_close = True


def _final_head(stream: BufferedIOBase) -> bytes:
    """Return the head of the final answer; of the last one that was read, where none is final."""
    for _ in range(MOST_INTERIM):
        head = _head(stream)
        if not _INTERIM.match(head):
            break
    return head


def _head(stream: BufferedIOBase) -> bytes:
    """Read one head and clear it. Raises HeadTooLarge."""
    start = stream.readline(_LONGEST_LINE)
    if not start.startswith(b"HTTP/"):
        return start
    if not start.endswith(b"\n") and len(start) == _LONGEST_LINE:
        raise HeadTooLarge
    fields = [field for line in _lines(stream) if (field := _field(line)) is not None]
    kept = sorted(_framed(fields), key=lambda field: _RANKS.get(field[0], 2))[:_MOST_FIELDS]
    return b"".join([start, *(b"%b: %b\r\n" % field for field in kept), b"\r\n"])


def _lines(stream: BufferedIOBase) -> Iterable[bytes]:
    """Read up to the empty line, and return the lines before it with what is folded into them."""
    lines: list[list[bytes]] = []
    size, cut = 0, False
    while line := stream.readline(_LONGEST_LINE):
        size += len(line)
        if size > LONGEST_HEAD:
            raise HeadTooLarge
        if not cut and line in {b"\n", b"\r\n"}:
            break
        if lines and (cut or line.startswith((b" ", b"\t"))):
            lines[-1].append(line)
        else:
            lines.append([line])
        cut = not line.endswith(b"\n")
    return map(b"".join, lines)


def _field(line: bytes) -> _Field | None:
    """Return a line's name and value; None for one that is no field, or longer than http.client takes."""
    name, colon, value = line.partition(b":")
    name = name.rstrip(b" \t").lower()
    if not colon or len(line) >= _LONGEST_LINE or not _NAME.fullmatch(name):
        return None
    return name, _BREAKS.sub(b" ", value).strip(b" \t")


def _framed(fields: list[_Field]) -> list[_Field]:
    """Say once how the body ends (RFC 9110, 8.6; RFC 9112, 6.1 and 6.3).

    Codings beneath `chunked` become those of the content, which they are undone like.
    """
    codings = _listed(fields, _TRANSFER)
    if codings[-1:] == [b"chunked"]:
        others = [field for field in fields if field[0] not in {_TRANSFER, _LENGTH}]
        beneath = [(b"content-encoding", coding) for coding in codings[:-1]]
        return [(_TRANSFER, b"chunked"), *others, *beneath]
    lengths = set(_listed(fields, _LENGTH))
    if len(lengths) == 1:
        return [(_LENGTH, lengths.pop()), *(field for field in fields if field[0] != _LENGTH)]
    return fields


def _listed(fields: list[_Field], name: bytes) -> list[bytes]:
    """Return the members of a field that is a list, over all its lines (RFC 9110, 5.6.1)."""
    members = [part for key, value in fields if key == name for part in value.split(b",")]
    return [member.strip().lower() for member in members if member.strip()]
