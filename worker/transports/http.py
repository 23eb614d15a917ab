"""HTTP for what a person waits for and for notifications: a URL, headers and a body in, the reply out.

Events are delivered by `worker.transports.curl`, which shares with this what a URL, a header and a reply are.

Each request is one attempt with one deadline: nothing is retried, redirected, sent through a proxy
of the environment or remembered here. Connections are made by the guard and kept alive.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from time import monotonic
from typing import Self
from urllib.parse import urlsplit

from requests import PreparedRequest, RequestException, Response
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPHeaderDict
from urllib3.exceptions import HTTPError

from worker.integrations import TlsOptions
from worker.model.errors import ConnectionLost, InvalidIntegration, KeptConnectionLost, TransportError
from worker.transports.budget import BUDGET
from worker.transports.deadline import within
from worker.transports.guard import Guard
from worker.transports.http_adapter import GuardedAdapter, dial_count
from worker.transports.http_response import decoded, http_fault, read_body
from worker.transports.probe import TlsInquiry
from worker.transports.tls import client_context

#: A server that has answered within so many seconds had no objection to our TLS.
_LATELY = 10.0


@dataclass(frozen=True, slots=True)
class HttpReply:
    """What the other side answered. Header names may be looked up in any case.

    Of a header that came several times, `headers` have the first; `set_cookies` are all of that name, each
    by itself (RFC 6265, 3). The body is decoded, and no longer than 20 000 bytes; `cut` says what broke it
    off, if only a part of it came.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    set_cookies: Sequence[str] = ()
    cut: TransportError | None = None

    def whole(self) -> Self:
        """Return it, if its body came to the end; raise what cut it off, if not."""
        if self.cut is not None:
            raise self.cut
        return self

    @property
    def date(self) -> float | None:
        """The Date header in seconds since 1970 UTC; None without a readable one."""
        try:
            moment = parsedate_to_datetime(self.headers.get("Date", ""))
        except (ValueError, OverflowError):
            return None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class HttpTransport:
    """Speaks HTTP/1.1 with one set of TLS options; shared by all threads of a process.

    `connections` are kept open per host: as many as threads will post at once.
    """

    def __init__(self, guard: Guard, tls: TlsOptions, *, connections: int) -> None:
        """Dial nothing yet; the TLS context, too, is made when the first https URL asks for it."""
        context = functools.cache(functools.partial(client_context, tls))
        self._guard = guard
        self._tls = tls
        self._let_in_at = -_LATELY
        self._adapter = GuardedAdapter(guard, tls, context, connections)
        self.rests_since = monotonic()
        BUDGET.keeps_idle(self)

    def post(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        seconds: float,
        patience: float | None = None,
    ) -> HttpReply:
        """Post the body. `seconds` is all the time there is, from the look-up of the name to the last byte.

        With `patience`, the other side may be silent for so many seconds only, but is waited for while it
        takes more of the body; a DeadlinePassed then has the `rate` at which it did.

        Raises a leaf of TransportError when there is no reply (KeptConnectionLost where a request over a new
        connection may get one), and InvalidIntegration when the URL, a header or a PEM cannot be used. No
        message repeats a header's value or the URL's path.
        """
        return self._exchange("POST", url, headers, body, seconds, patience)

    def get(self, url: str, headers: Mapping[str, str], seconds: float) -> HttpReply:
        """Get the URL; in all else as `post`."""
        return self._exchange("GET", url, headers, None, seconds)

    def close(self) -> None:
        """Close the connections that are idle; those in use are closed after their reply."""
        self._adapter.close()

    def close_idle(self) -> None:
        """Close the connections that are idle; the next request makes a new one."""
        self._adapter.close()

    def _exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        seconds: float,
        patience: float | None = None,
    ) -> HttpReply:
        target, peer = request_target(url)
        request = _prepared(method, target, headers, body)
        dialled, response = dial_count(), None
        with within(seconds, peer, patience=patience) as deadline:
            try:
                # The sockets keep the deadline: urllib3's timeout would be for each read and write.
                response = self._adapter.send(request, stream=True, timeout=None)
                reply = _reply(response, peer)
            except (OSError, ValueError, HTTPException, HTTPError) as error:
                kept = response is None and dial_count() == dialled
                fault = http_fault(error, peer, self._tls, kept=kept)
                fault = self._explained(fault, target, deadline.remaining())
            else:
                self._let_in_at = self.rests_since = monotonic()
                return reply
        if isinstance(fault, KeptConnectionLost):
            self._adapter.close()  # others that are kept may have ended as well: the next request dials
        # Raised out here, it holds on to nothing of the exchange: no half-closed socket, no header.
        raise fault

    def _explained(self, fault: TransportError, target: str, seconds: float) -> TransportError:
        """Find out whether TLS is why the connection ended, unless the server has answered lately."""
        parts = urlsplit(target)
        is_recent = monotonic() - self._let_in_at < _LATELY
        if parts.scheme != "https" or type(fault) is not ConnectionLost or is_recent:
            return fault
        inquiry = TlsInquiry(self._guard, self._tls, parts.hostname or "", parts.port or 443)
        return inquiry.refusal(seconds) or fault


def request_head(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
    """Return request line and headers as they would go over the wire, with the empty line behind them.

    Dials nothing. Raises InvalidIntegration, as sending the request would.
    """
    target, _ = request_target(url)
    request = _prepared(method, target, headers, body)
    lines = [f"{method} {request.path_url} HTTP/1.1", f"Host: {host_header(target)}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def host_header(target: str) -> str:
    """Return the Host header as http.client writes it: without the port that the scheme means anyhow."""
    parts = urlsplit(target)
    host = (parts.hostname or "").rstrip(".")
    host = f"[{host}]" if ":" in host else host
    is_usual = parts.port in (None, {"http": 80, "https": 443}[parts.scheme])
    return host if is_usual else f"{host}:{parts.port}"


@functools.lru_cache(maxsize=1024)
def request_target(url: str) -> tuple[str, str]:
    """Return the URL as it goes over the wire, and "host:port"."""
    blank = PreparedRequest()
    try:
        blank.prepare_url(url, None)
        parts = urlsplit(blank.url or "")
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (RequestException, ValueError, KeyError):
        raise InvalidIntegration(
            "url", "cannot be used", "give an address like https://siem.example.com:8088/path"
        ) from None
    host = parts.hostname or ""
    return parts.geturl(), f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _prepared(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> PreparedRequest:
    """Fill in a request by hand: `prepare` would parse it all again, for every batch."""
    for name, value in headers.items():
        check_header(name, value)
    request = PreparedRequest()
    request.method = method
    request.url = url
    request.headers = CaseInsensitiveDict(OWN_HEADERS)
    request.headers.update(headers)
    if body is not None:
        request.body = body
        request.headers["Content-Length"] = str(len(body))
    return request


#: Nothing compressed is asked for: a small reply could unfold into gigabytes.
OWN_HEADERS = {"User-Agent": "mitrity-siem-worker", "Accept-Encoding": "identity"}
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def check_header(name: str, value: str) -> None:
    """Refuse what would break out of the header (RFC 9110, section 5.5), without repeating the value."""
    if not _HEADER_NAME.fullmatch(name):
        raise InvalidIntegration(
            f"header {name!r}", "is no name of a header", "use letters, digits and hyphens"
        )
    if not _HEADER_VALUE.fullmatch(value):
        hint = "leave out line breaks, control characters and what is beyond Latin-1"
        raise InvalidIntegration(f"header {name}", "has characters that HTTP cannot carry", hint)


def _reply(response: Response, peer: str) -> HttpReply:
    try:
        # Other interim answers were read past; after this one the connection speaks something else.
        if response.status_code < 200:  # noqa: PLR2004 - the border between interim and final
            raise ConnectionLost(f"{peer} gave no final answer, only {response.status_code}")
        body, cut = read_body(response.raw, peer)
    finally:
        # Closes the connection too, unless it was read to the end and has gone back to the pool.
        response.raw.close()
    if cut is not None and not body:
        raise cut
    headers = response.raw.headers
    body = decoded(body, headers.get("Content-Encoding", ""))
    return HttpReply(response.status_code, _first_of_each(headers), body, headers.getlist("Set-Cookie"), cut)


def _first_of_each(headers: HTTPHeaderDict) -> Mapping[str, str]:
    return CaseInsensitiveDict({name: headers.getlist(name)[0] for name in headers})
