"""One easy handle of libcurl: a request goes out, an answer or a fault comes back, and then the next.

The guard judges the very address that libcurl is about to dial, at every connection. A body is lent to
libcurl in a way that it cannot take back: else it would send a request again by itself whenever a
connection that it had kept breaks without an answer, although the other side may have read it.
"""

import errno
import os
import socket
import time
from collections.abc import Sequence
from io import BytesIO
from itertools import takewhile
from typing import Any

import pycurl

from worker.transports.budget import BUDGET
from worker.transports.curl.answer import LONGEST_BODY, CurlResponse
from worker.transports.curl.connections import Ends, KeptConnections, is_connected, note_certificate
from worker.transports.curl.route import Route
from worker.transports.dialer import TCP_OPTIONS, Address
from worker.transports.guard import Guard
from worker.transports.http_response import MOST_BODY

_FAMILIES = frozenset({socket.AF_INET, socket.AF_INET6})
#: How libcurl names this error code of RFC 9113, section 7.
_HTTP_1_1_REQUIRED = b"HTTP_1_1_REQUIRED"


class Exchange:
    """Carries one request at a time. `tried` and `refused` are the addresses of the present one."""

    def __init__(self, route: Route, guard: Guard, kept: KeptConnections) -> None:
        """Make the handle, for the thread that drives it and the connections that it shares with others."""
        self.route = route
        self.easy = easy = pycurl.Curl()
        self.key: Any = None
        self.seconds = 0.0
        self.length = 0
        self.tried: list[Address] = []
        self.refused: list[str] = []
        self.own_errno = 0
        #: Whether this process had no place for another connection.
        self.lacks_place = False
        #: Whether a connection was made, although libcurl may not have noticed before the time was over.
        self.was_reached = False
        #: How often in a row it was turned away unprocessed while nothing else was answered; and how many
        #: requests of the flight had been answered when it was put on.
        self.refusals = 0
        self.answers_before = 0
        #: The connection that the request was given; None before that.
        self.ends: Ends | None = None
        #: Whether it was not sent because that connection, although open, has had its time.
        self.is_renewing = False
        self._guard = guard
        self._kept = kept
        self._opened: list[int] = []
        self._limit = 0.0
        self._headers: Sequence[str] | None = None
        self._waits = False
        self._dials = self._is_set_to_dial = False
        self._speaks_http1 = False
        self._listens = False
        self._due = 0.0
        self._lent: socket.socket | None = None
        self._content = b""
        self._body = bytearray()
        self._received = 0
        for option, value in route.options:
            easy.setopt(option, value)
        easy.setopt(pycurl.OPENSOCKETFUNCTION, self._open)
        easy.setopt(pycurl.SOCKOPTFUNCTION, self._keep)
        easy.setopt(pycurl.PREREQFUNCTION, self._begin)
        easy.setopt(pycurl.WRITEFUNCTION, self._receive)
        easy.setopt(pycurl.DEBUGFUNCTION, self._hear)

    def load(
        self,
        key: Any,
        headers: Sequence[str],
        body: bytes,
        seconds: float,
        *,
        dials: bool = False,
    ) -> None:
        """Prepare the next request, which may take that long from dialling to the last byte.

        With `dials`, no connection is good enough that was kept, unless requests share it.
        """
        self._dials = dials
        self.key = key
        self.seconds = seconds
        self.length = len(body)
        self.refusals = 0
        self._due = time.monotonic() + seconds
        self._content = body
        if self._listens:
            self._listen(wanted=False)
        if headers is not self._headers:
            self._headers = headers
            self.easy.setopt(pycurl.HTTPHEADER, [*self.route.headers, *headers])
        self.easy.setopt(pycurl.POSTFIELDSIZE, len(body))
        self._arm(seconds)

    def reload(self) -> bool:
        """Prepare the same request once more, unless its time is over. libcurl then sends it as prepared."""
        left = self._due - time.monotonic()
        if left <= 0:
            return False
        self._listen(wanted=True)
        self._arm(left)
        return True

    @property
    def has_begun(self) -> bool:
        """Whether anything of an answer has come."""
        return bool(self.easy.getinfo(pycurl.HEADER_SIZE))

    @property
    def has_no_word(self) -> bool:
        """Whether its connection, which was made for it, has brought nothing of an answer."""
        return bool(self._opened) and not self.easy.getinfo(pycurl.RESPONSE_CODE) and not self._received

    def seconds_left(self) -> float:
        """Return what is left of its time, never less than zero."""
        return max(0.0, self._due - time.monotonic())

    @property
    def open_errno(self) -> int:
        """Why no socket could be opened, or 0; pycurl duplicates ours, and hides that it could not."""
        return self.own_errno or (errno.EMFILE if self._lent is not None else 0)

    @property
    def was_cut(self) -> bool:
        """Whether we have ended it ourselves, because of the length of the answer."""
        return self._received > LONGEST_BODY

    @property
    def was_kept(self) -> bool:
        """Whether the request was given a connection that had been opened for another one."""
        return self.ends is not None and not self._opened

    @property
    def was_shared(self) -> bool:
        """Whether that connection speaks HTTP/2: of those that are kept, others have answered before."""
        return self.route.encrypts and self.was_kept and not self._kept.is_exclusive(self.ends)

    def answer(self) -> CurlResponse:
        """Return what came back."""
        easy = self.easy
        if self.route.encrypts:
            if self._opened:
                note_certificate(easy, self._guard)
            shared = easy.getinfo(pycurl.INFO_HTTP_VERSION) == pycurl.CURL_HTTP_VERSION_2
            self.route.dialect.learn(is_shared=shared)
            if not shared and self.ends is not None:
                self._kept.learn_exclusive(self.ends)
        status, wish = easy.getinfo(pycurl.RESPONSE_CODE), easy.getinfo(pycurl.RETRY_AFTER)
        return CurlResponse(status, bytes(self._body), float(wish) if wish else None)

    def look_whether_reached(self) -> None:
        """Find out whether a connection was made; to be asked before libcurl closes it."""
        self.was_reached = any(map(is_connected, self._opened))

    @property
    def uploaded(self) -> int:
        """How many bytes of the body were handed over to our own system."""
        sent: int = self.easy.getinfo(pycurl.SIZE_UPLOAD_T)
        return sent

    def close(self) -> None:
        """Let go of the handle."""
        self.easy.close()
        self._drop_lent()

    def _arm(self, seconds: float) -> None:
        """Begin with nothing dialled, sent or received, and so much time."""
        self.ends = None
        self.is_renewing = False
        self.own_errno = 0
        self.lacks_place = self.was_reached = False
        self._received = 0
        self._body.clear()
        self.tried.clear()
        self.refused.clear()
        self._opened.clear()
        self._drop_lent()
        easy, dialect = self.easy, self.route.dialect
        if seconds != self._limit:
            self._limit = seconds
            if self.route.times_out:
                easy.setopt(pycurl.TIMEOUT_MS, max(1, round(seconds * 1000)))
            easy.setopt(pycurl.CONNECTTIMEOUT_MS, max(1, round(seconds * 1000)))
        if self._waits is not (waits := bool(dialect.is_shared)):
            # Not with HTTP/1.1: there, libcurl would dial no second connection before the first has answered.
            self._waits = waits
            easy.setopt(pycurl.PIPEWAIT, int(waits))
        if self._is_set_to_dial is not (dials := self._dials and not dialect.is_shared):
            self._is_set_to_dial = dials
            easy.setopt(pycurl.FRESH_CONNECT, int(dials))
        if dialect.only_http1 and not self._speaks_http1:
            self._speaks_http1 = True
            easy.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        easy.setopt(pycurl.READFUNCTION, BytesIO(self._content).read)

    def _listen(self, *, wanted: bool) -> None:
        # Too dear for every request: libcurl reports several lines of each.
        self._listens = wanted
        self.easy.setopt(pycurl.VERBOSE, int(wanted))

    def _hear(self, kind: int, words: bytes) -> None:
        """Hear that HTTP/1.1 is wanted: libcurl's code and words for the end do not say so."""
        if kind == pycurl.INFOTYPE_TEXT and _HTTP_1_1_REQUIRED in words:
            self.route.dialect.require_http1()

    def _open(self, _purpose: int, found: Any) -> Any:
        """Judge the address, and open a socket for it; libcurl connects it."""
        family, _, protocol, target = found
        if family not in _FAMILIES:
            self.refused.append("is no address of the internet")
            return pycurl.SOCKET_BAD
        address = Address(socket.AddressFamily(family), socket.SOCK_STREAM, protocol, target)
        if (objection := self._guard.judge(address)) is not None:
            self.refused.append(f"{target[0]} {objection}")
            return pycurl.SOCKET_BAD
        if not BUDGET.has_place():
            self.lacks_place = True
            return pycurl.SOCKET_BAD
        self.tried.append(address)
        self._drop_lent()
        try:
            self._lent = lent = socket.socket(family, socket.SOCK_STREAM, protocol)
            for level, option, value in TCP_OPTIONS:
                lent.setsockopt(level, option, value)
        except OSError as error:  # out of descriptors, or no IPv6 here
            self.own_errno = error.errno or 0
            return pycurl.SOCKET_BAD
        return self._lent

    def _keep(self, descriptor: int, _purpose: int) -> int:
        """Close ours: pycurl has duplicated it, but for the flag that keeps it from child processes."""
        self._drop_lent()
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - the standard library's signature
        BUDGET.note(descriptor)
        self._opened.append(descriptor)
        self._kept.notice(descriptor)
        return 0

    def _begin(self, *ends: Any) -> int:
        """Send the request over this connection, unless it is dead or has had its time: then over another."""
        self.ends = ends
        if self._opened:
            self._kept.learn(ends, self._opened)
            for silent in takewhile(lambda one: one.ip != ends[0], self.tried):
                self._guard.note_silent(silent.ip, self.route.port)
            return int(pycurl.PREREQFUNC_OK)
        self.is_renewing = self._kept.has_had_its_time(ends)
        is_fit = not self.is_renewing and not self._kept.is_dead(ends)
        return int(pycurl.PREREQFUNC_OK if is_fit else pycurl.PREREQFUNC_ABORT)

    def _drop_lent(self) -> None:
        if self._lent is not None:
            self._lent.close()
            self._lent = None

    def _receive(self, piece: bytes) -> int | None:
        """Keep what there is room for; None is for all of it, and zero breaks the exchange off."""
        self._received += len(piece)
        if len(self._body) < MOST_BODY:
            self._body += piece[: MOST_BODY - len(self._body)]
        return 0 if self.was_cut else None
