"""What libcurl is told once for all requests to one url: what it may do, whom it trusts, who we say we are.

Comes in: the url and the TLS options of an integration. Goes out: options for `Curl.setopt`, in their order.
"""

from typing import Any
from urllib.parse import urlsplit

import certifi
import pycurl

from worker.integrations import TlsOptions
from worker.transports.guard import Renewal
from worker.transports.syslog.pool import LONGEST_IDLE
from worker.transports.tls import client_context

Options = list[tuple[int, Any]]


def request_options(url: str, tls: TlsOptions) -> Options:
    """Return what every request to the url is sent with.

    With a `tls_server_name`, libcurl is given a url with that name in place of the host, and told to connect
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
