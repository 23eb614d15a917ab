"""What libcurl complains of, in the words of `worker.model.errors`.

An exchange comes in with libcurl's code and words for its end, one `TransportError` goes out. It repeats
nothing that was sent or received, for that may be a secret.
"""

import errno
import logging
import os
import re
import ssl
from collections.abc import Callable

import pycurl

from worker.model.errors import (
    AddressRefused,
    ConnectFailed,
    ConnectionLost,
    ConnectTimedOut,
    DeadlinePassed,
    KeptConnectionLost,
    NameUnknown,
    NotProcessed,
    TlsFailed,
    TransportError,
)
from worker.model.log_events import HTTP_NOT_STARTED, HTTP_UNEXPECTED_END
from worker.model.outages import Resource
from worker.transports.budget import BUDGET
from worker.transports.curl.answer import CurlResponse
from worker.transports.curl.endings import BAD_HTTP2, Ending
from worker.transports.curl.exchange import Exchange
from worker.transports.dialer import failure, reason_for
from worker.transports.shortages import out_of, short_of_descriptors, shortage
from worker.transports.tls_failures import handshake_failure

log = logging.getLogger(__name__)

#: How OpenSSL writes its reason: "error:0A00045C:SSL routines::tlsv13 alert certificate required".
_OPENSSL_REASON = re.compile(r"error:[0-9A-F]{8}:SSL routines:[^:]*:([^,:]+)")
#: Of x509_vfy.h. libcurl compares names by itself, and leaves OpenSSL's verdict at the first.
_UNSPECIFIED, _OTHER_NAME = 1, 62
#: How libcurl names the error code of a stream that was reset (RFC 9113, section 7), which is no secret.
_STREAM_ERROR = re.compile(r"reset by server \(error 0x[0-9a-f]+ ([A-Z0-9_]+)\)")
_HTTP2_ERROR = re.compile(r"with error \d+: ([A-Z0-9_]+)")
_END_OF_FILE = "unexpected eof"
_FIRST_FINAL = 200  # of the statuses (RFC 9110, section 15)

_NOT_HTTP = "did not answer in HTTP: check that the url's port and scheme (http or https) are right"
_HALF_WAY = "broke off its answer half-way"
_NO_ANSWER = "closed the connection without an answer"
_BAD_HTTP2 = "broke the rules of HTTP/2"
_RESET = "reset the connection"
_RESETS = (errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED)
#: Of curl/curl.h: pycurl names neither.
_HTTP2_STREAM, _TOO_LARGE = 92, 100

_WORDS = {
    pycurl.E_ABORTED_BY_CALLBACK: "had closed the connection, and there was no time for another one",
    pycurl.E_GOT_NOTHING: _NO_ANSWER,
    # libcurl wanted to send it again over a new connection, which we do not let it.
    pycurl.E_SEND_FAIL_REWIND: _NO_ANSWER,
    pycurl.E_PARTIAL_FILE: _HALF_WAY,
    pycurl.E_UNSUPPORTED_PROTOCOL: _NOT_HTTP,
    pycurl.E_FTP_WEIRD_SERVER_REPLY: _NOT_HTTP,  # CURLE_WEIRD_SERVER_REPLY
    _TOO_LARGE: _NOT_HTTP,
    pycurl.E_SEND_ERROR: "closed the connection before it had taken the whole request",
    pycurl.E_RECV_ERROR: _NO_ANSWER,
}


def answered(exchange: Exchange) -> CurlResponse | TransportError:
    """Return the answer; a fault if it is no final one (RFC 9110, section 15.2)."""
    answer = exchange.answer()
    return answer if answer.status >= _FIRST_FINAL else not_final(exchange.route.peer, answer.status)


def not_final(peer: str, status: int) -> ConnectionLost:
    """Report that an interim status came in place of the final one."""
    return ConnectionLost(f"{peer} gave no final answer, only {status}")


def ended(exchange: Exchange, ending: Ending, code: int, words: str) -> TransportError:
    """Name the fault by which an exchange ended so, which is not sent again."""
    if ending is Ending.NOT_PROCESSED:
        return not_processed(exchange)
    fault = curl_fault(exchange, code, words)
    is_cut_off = ending is Ending.CUT_OFF and isinstance(fault, ConnectionLost)
    return KeptConnectionLost(str(fault)) if is_cut_off else fault


def curl_fault(exchange: Exchange, code: int, words: str) -> TransportError:
    """Name the fault; `code` and `words` are libcurl's.

    May ask the server once more for why it refuses TLS: libcurl does not know which certificates it showed,
    and stops at the reset that comes behind an alert.
    """
    fault = _fault(exchange, code, words)
    tls = exchange.route.tls
    if tls is None or not isinstance(fault, TlsFailed | ConnectionLost) or not exchange.has_no_word:
        return fault
    return tls.refusal(exchange.seconds_left()) or fault


def _fault(exchange: Exchange, code: int, words: str) -> TransportError:
    if code in _FAULTS:
        return _FAULTS[code](exchange, words)
    peer = exchange.route.peer
    if _END_OF_FILE not in words and (reason := _OPENSSL_REASON.search(words)) is not None:
        return _handshake_failure(reason[1], peer)
    return _lost(exchange, code, words)


def not_processed(exchange: Exchange) -> NotProcessed:
    """Report that the request was turned away again and again (RFC 9113, section 8.7)."""
    return NotProcessed(
        f"{exchange.route.peer} turned the request away unprocessed, at every try: "
        "by GOAWAY, REFUSED_STREAM or HTTP_1_1_REQUIRED of HTTP/2"
    )


def _unknown(exchange: Exchange, _words: str) -> NameUnknown:
    return NameUnknown(f"{exchange.route.host} does not resolve: check the name, or the DNS")


def _too_late(exchange: Exchange, words: str) -> DeadlinePassed:
    route, seconds = exchange.route, f"{exchange.seconds:.3g} s"
    easy = exchange.easy
    if exchange.tried and not easy.getinfo(pycurl.CONNECT_TIME_T) and not exchange.was_reached:
        silent = "; ".join(f"no answer from {address}" for address in exchange.tried)
        return ConnectTimedOut(f"no connection to {route.host} within {seconds}: {silent}")
    if exchange.tried and route.encrypts and not easy.getinfo(pycurl.APPCONNECT_TIME_T):
        return ConnectTimedOut(f"{route.peer} did not complete the TLS handshake within {seconds}")
    if words.startswith(BAD_HTTP2):
        # libcurl waits for an answer all the same.
        return DeadlinePassed(f"{route.peer} {_BAD_HTTP2}{_named(_HTTP2_ERROR, words)}, and gave no answer")
    is_sent = exchange.uploaded >= exchange.length
    return no_answer_in_time(route.peer, exchange.seconds, is_sent=is_sent, was_kept=exchange.was_kept)


def no_answer_in_time(peer: str, seconds: float, *, is_sent: bool, was_kept: bool) -> DeadlinePassed:
    """Report what a peer that was reached has not done within so many seconds."""
    undone = "answer in full" if is_sent else "take the whole request"
    kept = " over a connection that was kept open; the next request dials again" if was_kept else ""
    return DeadlinePassed(f"{peer} did not {undone} within {seconds:.3g} s{kept}")


def no_answer(peer: str) -> ConnectionLost:
    """Report that what came is no answer of HTTP."""
    return ConnectionLost(f"{peer} {_NOT_HTTP}")


def connection_lost(peer: str, number: int, words: str, *, has_begun: bool) -> TransportError:
    """Name the fault by which a connection of HTTP/1.1 ended; zero and no words are for its plain end.

    `number` is the system's, or zero; `words` are libcurl's.
    """
    number = number or next((one for one in _RESETS if os.strerror(one) in words), 0)
    if number:
        return ConnectionLost(_broken(number, peer))
    if _END_OF_FILE not in words and (reason := _OPENSSL_REASON.search(words)) is not None:
        return _handshake_failure(reason[1], peer)
    return ConnectionLost(f"{peer} {_HALF_WAY if has_begun else _NO_ANSWER}")


def _unconnected(exchange: Exchange, _words: str) -> TransportError:
    if exchange.lacks_place and not exchange.tried:
        return BUDGET.refusal(f"a connection to {exchange.route.peer}")
    if exchange.refused and not exchange.tried:
        return AddressRefused(exchange.refused[0])
    number = exchange.open_errno or exchange.easy.getinfo(pycurl.OS_ERRNO)
    # It is that of one address, and it is not known of which.
    reasons = {reason_for(number, address) for address in exchange.tried} or {number}
    number = next(iter(reasons - {number}), number)
    words = "; ".join(failure(number, address) for address in exchange.tried)
    return shortage(number, words) or ConnectFailed(words)


def _distrusted(exchange: Exchange, words: str) -> TlsFailed:
    if (reason := _OPENSSL_REASON.search(words)) is not None and "alert" in reason[1]:
        # libcurl takes the server's word that our certificate has expired for its own of the server's.
        return _handshake_failure(reason[1], exchange.route.peer)
    code = exchange.easy.getinfo(pycurl.SSL_VERIFYRESULT)
    complaint = ssl.SSLCertVerificationError(words)
    complaint.verify_code = code if code > _UNSPECIFIED else _OTHER_NAME
    complaint.verify_message = words
    return handshake_failure(complaint, exchange.route.peer)


def _handshake_failure(reason: str, peer: str) -> TlsFailed:
    complaint = ssl.SSLError()
    complaint.reason = reason.strip()
    return handshake_failure(complaint, peer)


def _lost(exchange: Exchange, code: int, words: str) -> TransportError:
    peer = exchange.route.peer
    if number := _own_errno(exchange, words):
        return ConnectionLost(_broken(number, peer))
    if code in {pycurl.E_HTTP2, _HTTP2_STREAM}:
        return ConnectionLost(f"{peer} {_ended_by_http2(exchange, words)}")
    if _END_OF_FILE in words or (code == pycurl.E_RECV_ERROR and "chunk" in words):
        return ConnectionLost(f"{peer} {_HALF_WAY if exchange.has_begun else _NO_ANSWER}")
    if code in _WORDS:
        return ConnectionLost(f"{peer} {_WORDS[code]}")
    HTTP_UNEXPECTED_END.log(log, peer=peer, code=code, error=words)
    return ConnectionLost(f"the exchange with {peer} ended by an unexpected error; the worker's log has more")


def _own_errno(exchange: Exchange, words: str) -> int:
    """Return the system's number of what ended an exchange that had begun, or 0.

    libcurl also keeps there why another address was not reached, before this one was: that is not in its
    words. A lack of something here is no shortage any more: the request may have arrived.
    """
    number: int = exchange.easy.getinfo(pycurl.OS_ERRNO)
    is_named = number and (os.strerror(number) in words or f"errno {number}" in words)
    return number if is_named else 0


def _broken(number: int, peer: str) -> str:
    if number in _RESETS:
        return f"{peer} {_RESET}"
    if number == errno.ETIMEDOUT:
        return f"{peer} acknowledged nothing any more: the connection was given up"
    return f"the connection to {peer} broke: {os.strerror(number)}"


def _ended_by_http2(exchange: Exchange, words: str) -> str:
    if reason := _named(_STREAM_ERROR, words):
        return f"reset the request{reason}"
    if words.startswith(BAD_HTTP2):
        return f"{_BAD_HTTP2}{_named(_HTTP2_ERROR, words)}"
    return _HALF_WAY if exchange.has_begun else _NO_ANSWER


def _named(pattern: re.Pattern[str], words: str) -> str:
    found = pattern.search(words)
    return f" ({found[1]})" if found else ""


def _shaken_off(exchange: Exchange, words: str) -> TlsFailed:
    reason = _OPENSSL_REASON.search(words)
    peer = exchange.route.peer
    return _handshake_failure(reason[1], peer) if reason else handshake_failure(ConnectionResetError(), peer)


def _without_means(exchange: Exchange, words: str) -> TransportError:
    """Report what libcurl could not do for itself; it names no reason."""
    lack = short_of_descriptors()
    if lack is not None:
        return lack
    peer = exchange.route.peer
    HTTP_NOT_STARTED.log(log, peer=peer, error=words)
    what = f"an exchange with {peer} could not begin: memory is short, or a file cannot be read"
    return out_of(Resource.UNNAMED, what)


_FAULTS: dict[int, Callable[[Exchange, str], TransportError]] = {
    pycurl.E_OPERATION_TIMEDOUT: _too_late,
    pycurl.E_COULDNT_RESOLVE_HOST: _unknown,
    pycurl.E_COULDNT_CONNECT: _unconnected,
    pycurl.E_PEER_FAILED_VERIFICATION: _distrusted,
    pycurl.E_SSL_CONNECT_ERROR: _shaken_off,
    pycurl.E_OUT_OF_MEMORY: _without_means,
    pycurl.E_FAILED_INIT: _without_means,
    pycurl.E_SSL_CACERT_BADFILE: _without_means,
}
