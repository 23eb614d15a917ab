"""HTTP to one url of a customer's SIEM by libcurl, with many requests in flight from each thread.

Requests come in with a key each, answers go out by those keys, whatever their status. Each request is one
attempt with one deadline, over connections that the guard has judged, HTTP/2 where it is offered; nothing is
redirected, sent through a proxy of the environment, unfolded or remembered here. What the other side has
provably not processed is sent again at once, and nothing else.

Options of libcurl for all requests to one url: what it may do, which CAs it trusts, who we say we are.

Input: the url and the TLS options of an integration. Output: options for `Curl.setopt`, in their order.
"""

import contextlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import certifi
import pycurl
from requests.structures import CaseInsensitiveDict

from worker.integrations import TlsOptions
from worker.transports.budget import LONGEST_IDLE
from worker.transports.curl.many import ManyFlight
from worker.transports.curl.pool import FlightPool
from worker.transports.curl.route import Dialect, Route
from worker.transports.guard import Guard, Renewal
from worker.transports.http import OWN_HEADERS, check_header, host_header, request_head, request_target
from worker.transports.probe import TlsInquiry
from worker.transports.tls import client_context

Options = list[tuple[int, Any]]


def request_options(url: str, tls: TlsOptions) -> Options:
    """Return what every request to the url is sent with.

    With a `tls_server_name`, libcurl is given a url with that name in place of the host, and has to connect
    to the host all the same: it knows no other way to verify another name. The header Host is the caller's.
    Raises InvalidIntegration naming the field whose PEM cannot be used; for an http url none is read.
    """
    encrypts = url.startswith("https:")
    return [
        *(_through_name(url, tls.tls_server_name) if encrypts else [(pycurl.URL, url)]),
        (pycurl.PATH_AS_IS, 1),
        (pycurl.POST, 1),
        *_RESTRAINT,
        *_HABITS,
        *(_tls_options(tls) if encrypts else []),
    ]


def _through_name(url: str, name: str | None) -> Options:
    if name is None:
        return [(pycurl.URL, url)]
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    renamed = parts._replace(netloc=f"{_bracketed(name)}{port}")
    host = _bracketed(parts.hostname or "")
    return [(pycurl.URL, renamed.geturl()), (pycurl.CONNECT_TO, [f"::{host}:{parts.port or 443}"])]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


#: Nothing is followed, looked up in the environment, remembered or unfolded behind our back.
_RESTRAINT: Options = [
    (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
    (pycurl.REDIR_PROTOCOLS, 0),
    (pycurl.FOLLOWLOCATION, 0),
    (pycurl.PROXY, ""),
    (pycurl.NOPROXY, "*"),
    (pycurl.NETRC, pycurl.NETRC_IGNORED),
    (pycurl.HTTP09_ALLOWED, 0),
    (pycurl.HTTP_CONTENT_DECODING, 0),
]
_HABITS: Options = [
    (pycurl.NOSIGNAL, 1),
    (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS),
    # Those that are used are looked at elsewhere; these close what rests.
    (pycurl.MAXAGE_CONN, round(LONGEST_IDLE)),
    (pycurl.MAXLIFETIME_CONN, round(Renewal().longest_life)),
]


def _tls_options(tls: TlsOptions) -> Options:
    client_context(tls)  # says which PEM cannot be used, and why: libcurl would only say that one cannot
    options: Options = [
        # What is shown in the handshake of a new connection: its end is noted.
        (pycurl.OPT_CERTINFO, 1),
        (pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2),
        (pycurl.SSL_VERIFYPEER, int(tls.verify_tls)),
        (pycurl.SSL_VERIFYHOST, 2 if tls.verify_tls else 0),
    ]
    if tls.ca_pem is not None:
        # In place of the public roots, and trusted as it stands: libcurl sets X509_V_FLAG_PARTIAL_CHAIN.
        options += [(pycurl.CAINFO_BLOB, tls.ca_pem.encode())]
    elif tls.verify_tls:
        options += [(pycurl.CAINFO, certifi.where())]
    if tls.client_cert_pem is not None and tls.client_key_pem is not None:
        options += [
            (pycurl.SSLCERTTYPE, "PEM"),
            (pycurl.SSLCERT_BLOB, tls.client_cert_pem.encode()),
            (pycurl.SSLKEYTYPE, "PEM"),
            (pycurl.SSLKEY_BLOB, tls.client_key_pem.get_secret_value().encode()),
        ]
    return options


#: libcurl would add the first, and wait for leave to send a large body because of the second.
LEFT_OUT = ("Accept:", "Expect:")


class ManyHttp:
    """Posts to one url with one set of TLS options; shared by the threads of a process, a flight for each."""

    def __init__(
        self, guard: Guard, tls: TlsOptions, url: str, headers: Mapping[str, str], *, connections: int
    ) -> None:
        """Dial nothing yet; each flight has at most `connections` requests under way.

        Raises InvalidIntegration when the url, a header or a PEM cannot be used. No message repeats the
        value of a header or the url's path.
        """
        self._headers = dict(headers)
        self._url, peer = request_target(url)
        for name, value in headers.items():
            check_header(name, value)
        parts = urlsplit(self._url)
        own = CaseInsensitiveDict(OWN_HEADERS)
        own.update(self._headers)
        encrypts = parts.scheme == "https"
        if encrypts and tls.tls_server_name is not None:
            own["Host"] = host_header(self._url)
        self._route = Route(
            host=parts.hostname or "",
            port=parts.port or (443 if encrypts else 80),
            peer=peer,
            encrypts=encrypts,
            headers=(*(f"{name}: {value}" for name, value in own.items()), *LEFT_OUT),
            options=request_options(self._url, tls),
            dialect=Dialect(is_shared=None if encrypts else False),
            tls=TlsInquiry(guard, tls, parts.hostname or "", parts.port or 443) if encrypts else None,
            head=request_head("POST", self._url, self._headers, None).removesuffix(b"\r\n"),
        )
        #: What is spoken there, as far as that is known.
        self.dialect = self._route.dialect
        self._pool = FlightPool(self._route, guard, connections, ManyFlight)

    def flight(self, seconds: float) -> contextlib.AbstractContextManager[ManyFlight]:
        """Lend a flight; see `FlightPool.flight`."""
        return self._pool.flight(seconds)

    def written(self, headers: Mapping[str, str], body: bytes) -> bytes:
        """Return the very bytes of a request over HTTP/1.1; dials nothing."""
        return request_head("POST", self._url, {**self._headers, **headers}, body) + body

    def close(self) -> None:
        """Close the connections that are idle; those in use are closed when their flight ends."""
        self._pool.close()
