"""An HTTP/1.1 answer: its head where http.client gives up too soon, its body within bounds, and its faults.

http.client reads past 100 alone of the interim answers, refuses an answer with a hundred header fields, and
waits for an end that never comes where a length is given twice. What it parses is cleared of all that before.

The body of an HTTP answer: up to a cap, as far as it came, decoded.

What urllib3 and http.client complain of, in the words of `worker.model.errors`.

An exception comes in with the causes that it wraps, one `TransportError` goes out. It repeats nothing
that was sent or received, for that may be a secret.
"""

import os
import re
import ssl
import zlib
from collections.abc import Iterable, Iterator
from http.client import BadStatusLine, HTTPException, HTTPResponse, IncompleteRead, RemoteDisconnected
from io import BufferedIOBase, BufferedReader, BytesIO
from typing import Any

from urllib3.exceptions import HTTPError, InvalidChunkLength, InvalidHeader

from worker.integrations import TlsOptions
from worker.model.errors import ConnectionLost, DeadlinePassed, KeptConnectionLost, TransportError
from worker.model.untrusted_text import number_in
from worker.transports.deadline import seconds_left, within
from worker.transports.tls_failures import handshake_failure

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
    """The head of an answer is too long."""


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
        given = self.headers.get("Content-Length", "")
        if self.chunked or given.strip("0"):
            self.length = number_in(given)
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


_NO_OPTIONS = TlsOptions()
_NOT_HTTP = "did not answer in HTTP: check that the url's port and scheme (http or https) are right"

#: So ends a connection before a byte of the answer.
_ENDS = (
    *(RemoteDisconnected, ssl.SSLEOFError, ssl.SSLZeroReturnError),
    *(ConnectionResetError, BrokenPipeError, ConnectionAbortedError),
)
#: The first row that fits a link of the chain is said.
_WORDS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (RemoteDisconnected, "closed the connection without an answer"),
    (ssl.SSLEOFError, "closed the connection without an answer"),
    (ssl.SSLZeroReturnError, "closed the connection without an answer"),
    ((ConnectionResetError, BrokenPipeError, ConnectionAbortedError), "reset the connection"),
    ((InvalidHeader, InvalidChunkLength, BadStatusLine), _NOT_HTTP),
    (HeadTooLarge, f"answered with more than {LONGEST_HEAD // 1024} KiB of headers"),
    (IncompleteRead, "broke off its answer half-way"),
    (HTTPException, _NOT_HTTP),
)


def http_fault(
    error: BaseException, peer: str, tls: TlsOptions = _NO_OPTIONS, *, kept: bool = False
) -> TransportError:
    """Name the fault: TlsFailed when the peer turned our TLS down, else ConnectionLost.

    `kept`: no answer had begun, over a connection that had served another request before.
    """
    for link in _chain(error):
        for kind, words in _WORDS:
            if isinstance(link, kind):
                lost = KeptConnectionLost if kept and isinstance(link, _ENDS) else ConnectionLost
                return lost(f"{peer} {words}")
        if isinstance(link, ssl.SSLError):
            # In TLS 1.3 a server judges the client's certificate after the handshake has ended.
            return handshake_failure(link, peer, tls)
        if isinstance(link, OSError) and link.errno:
            # Whatever was lacking here: the request may have arrived, so that this is no shortage.
            return ConnectionLost(f"the connection to {peer} broke: {os.strerror(link.errno)}")
    return ConnectionLost(f"the exchange with {peer} broke: {type(error).__name__}")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Walk from the wrapping to the wrapped, by both ways: urllib3 wraps some that were never raised."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        link = waiting.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            yield link
            waiting += (link.__context__, link.__cause__)


#: What is kept of a body, in bytes. The rest is not waited for.
MOST_BODY = 20_000
_EMPTY = 204
#: How long to wait for the content of an answer that must not have any, in seconds.
_UNLAWFUL_WAIT = 1.0

_GZIP = b"\x1f\x8b"
_GZIP_OR_ZLIB, _BARE_DEFLATE = 32 + zlib.MAX_WBITS, -zlib.MAX_WBITS
_CODINGS = {
    "gzip": (_GZIP_OR_ZLIB,),
    "x-gzip": (_GZIP_OR_ZLIB,),
    # RFC 9110, 8.4.1.2: many leave out the frame of zlib.
    "deflate": (_GZIP_OR_ZLIB, _BARE_DEFLATE),
}
_MOST_CODINGS = 3


def read_body(raw: Any, peer: str) -> tuple[bytes, TransportError | None]:
    """Read the body of a urllib3 response; return what came, and what broke it off, if anything did."""
    if raw.status != _EMPTY:
        return _read(raw, peer)
    left = seconds_left()
    with within(_UNLAWFUL_WAIT if left is None else min(left, _UNLAWFUL_WAIT), peer):
        return _read(raw, peer)[0], None


def _read(raw: Any, peer: str) -> tuple[bytes, TransportError | None]:
    body = bytearray()
    try:
        # What came before a fault must not be lost with it, as it would be with `read`.
        while len(body) <= MOST_BODY and (
            piece := raw.read1(MOST_BODY + 1 - len(body), decode_content=False)
        ):
            body += piece
    except DeadlinePassed as error:
        return bytes(body), error
    except (OSError, ValueError, HTTPException, HTTPError) as error:
        return bytes(body), http_fault(error, peer)
    return bytes(body[:MOST_BODY]), None


def decoded(body: bytes, encoding: str) -> bytes:
    """Undo the codings that Content-Encoding names, and gzip even where it does not; up to MOST_BODY.

    Nothing compressed is asked for, but some proxies compress all the same (RFC 9110, 12.5.3). What cannot
    be decoded is returned as it is.
    """
    codings = [coding.strip().lower() for coding in encoding.split(",") if coding.strip()]
    for coding in reversed(codings[-_MOST_CODINGS:]):
        body = _inflated(body, _CODINGS.get(coding, ()))
    return _inflated(body, _CODINGS["gzip"]) if body.startswith(_GZIP) else body


def _inflated(body: bytes, forms: tuple[int, ...]) -> bytes:
    for form in forms:
        try:
            return zlib.decompressobj(form).decompress(body, MOST_BODY)
        except zlib.error:
            continue
    return body
