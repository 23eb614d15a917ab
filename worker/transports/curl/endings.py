"""Why an exchange that ended without an answer may go again: what libcurl's code and words say of it.

An exchange comes in with libcurl's code and words for its end, an `Ending` goes out. The words are those of
libcurl 8: where a later one says it otherwise, an ending counts as one that may have been processed.
"""

from enum import Enum, auto

import pycurl

from worker.transports.curl.exchange import Exchange


class Ending(Enum):
    """What is known of a request that got no answer."""

    #: The kept connection that it was given was dead, and nothing was sent.
    NOT_SENT = auto()
    #: HTTP/2 says that it was not processed (RFC 9113, 8.7): it lies beyond the last stream of a GOAWAY,
    #: or was reset with REFUSED_STREAM or HTTP_1_1_REQUIRED.
    NOT_PROCESSED = auto()
    #: The kept connection that it was given ended before a byte of the answer (RFC 9112, section 9.3.1).
    CUT_OFF = auto()
    #: Anything else: it counts.
    FAILED = auto()


#: libcurl wants to send it again, which we do not let it, and has met no error before that: the stream was
#: refused. Behind an error of the connection it keeps the words for that.
_REFUSED_WORDS = "necessary data rewind was not possible"
_CONNECTION_ENDED = frozenset(
    {
        pycurl.E_HTTP2,
        pycurl.E_GOT_NOTHING,
        pycurl.E_SEND_ERROR,
        pycurl.E_RECV_ERROR,
        pycurl.E_SEND_FAIL_REWIND,
    }
)
#: So begin libcurl's words when the other side broke the rules of HTTP/2.
BAD_HTTP2 = ("nghttp2", "[HTTP2]", "process_pending_input")


def exchange_ending(exchange: Exchange, code: int, words: str) -> Ending:
    """Judge how the exchange ended."""
    if code == pycurl.E_ABORTED_BY_CALLBACK:
        return Ending.NOT_SENT
    if code == pycurl.E_SEND_FAIL_REWIND and _was_refused(exchange, words):
        return Ending.NOT_PROCESSED
    if code == pycurl.E_READ_ERROR:
        # libcurl obeys HTTP_1_1_REQUIRED by itself on a new connection, and finds that the body is read.
        return Ending.NOT_PROCESSED
    answered = exchange.easy.getinfo(pycurl.HEADER_SIZE)
    if code in _CONNECTION_ENDED and exchange.was_kept and not answered and not words.startswith(BAD_HTTP2):
        return Ending.CUT_OFF
    return Ending.FAILED


def _was_refused(exchange: Exchange, words: str) -> bool:
    """Whether libcurl wanted to send it again for want of a stream, not of a connection."""
    return not exchange.was_kept or (exchange.was_shared and words == _REFUSED_WORDS)
