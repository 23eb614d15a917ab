"""The body of an HTTP answer: up to a cap, as far as it came, decoded."""

import zlib
from http.client import HTTPException
from typing import Any

from urllib3.exceptions import HTTPError

from worker.model.errors import DeadlinePassed, TransportError
from worker.transports.deadline import seconds_left, within
from worker.transports.http_faults import http_fault

#: What is kept of a body, in bytes. The rest is not waited for.
MOST_BODY = 20_000
_NO_CONTENT = 204
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
    if raw.status != _NO_CONTENT:
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
