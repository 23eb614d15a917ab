"""Failures of transports in words for people: code, what happened, a hint; those of certificates too.

Answers over HTTP by which a server says that it wants a client certificate, or another one. Pure.

TLS ends well there: nginx, for one, completes every handshake, and answers with an error page instead
(ngx_http_ssl_module, "Error Processing": 495 and 496, which it sends as 400).
"""

from worker.model.deliveries import Failure
from worker.model.errors import (
    AddressRefused,
    ClientCertificateRefused,
    ClosedBehindBatch,
    ConnectFailed,
    ConnectionLost,
    ConnectTimedOut,
    DeadlinePassed,
    KeptConnectionLost,
    NameUnknown,
    NotProcessed,
    OutOfResources,
    TlsFailed,
    TransportError,
    Unconfirmed,
)
from worker.model.failures import FailureCode

#: What to look for where a syslog receiver hangs up on what it is sent.
HUNG_UP = (
    "look into the receiver's log: it may expect the other `framing` (newline, octet_counted), TLS, or "
    "shorter messages (`max_message_bytes`), or not take this client; a balancer may lack a receiver"
)
_NEVER_CONFIRMS = (
    "if the SIEM has the events all the same, it never closes in answer to our end, and every batch is "
    "repeated: switch the integration's `confirm_by_shutdown` off; delivered then claims no more than `sent`"
)

_WORDS: dict[type[TransportError], tuple[FailureCode, str]] = {
    NameUnknown: (FailureCode.NAME_UNKNOWN, "correct the host name in the integration's url, or correct DNS"),
    AddressRefused: (
        FailureCode.ADDRESS_REFUSED,
        "start the workers with its network in SIEM_ALLOWED_NETWORKS, or use a public address",
    ),
    ConnectFailed: (
        FailureCode.CONNECT_FAILED,
        "check host and port, that the SIEM runs, and firewalls in between",
    ),
    ConnectTimedOut: (
        FailureCode.CONNECT_FAILED,
        "check host and port, that the SIEM runs, and firewalls in between",
    ),
    ConnectionLost: (FailureCode.CONNECTION_LOST, "if it lasts, look at proxies and the SIEM's log"),
    KeptConnectionLost: (
        FailureCode.CONNECTION_LOST,
        "if it lasts, raise the time for which the endpoint, or a proxy before it, keeps connections open",
    ),
    NotProcessed: (
        FailureCode.NOT_PROCESSED,
        "if it lasts, lower the integration's `connections`: the endpoint takes fewer requests at a time",
    ),
    ClosedBehindBatch: (FailureCode.CLOSED_UNCONFIRMED, HUNG_UP),
    Unconfirmed: (FailureCode.UNCONFIRMED, _NEVER_CONFIRMS),
    DeadlinePassed: (FailureCode.TIMED_OUT, "if it lasts, the SIEM is overloaded or unreachable"),
}


def describe(error: TransportError) -> Failure:
    """Describe the failure; its code is stable, its words may change."""
    if isinstance(error, TlsFailed):
        refused = isinstance(error, ClientCertificateRefused)
        code = FailureCode.CLIENT_CERTIFICATE_REFUSED if refused else FailureCode.TLS_FAILED
        return Failure(code, error.message, error.hint)
    if isinstance(error, OutOfResources):
        return Failure(FailureCode.OUT_OF_RESOURCES, str(error), error.hint)
    code, hint = _WORDS.get(type(error), (FailureCode.UNREACHABLE, "check that the SIEM can be reached"))
    return Failure(code, str(error), hint)


_NGINX_BAD, _NGINX_NONE = 495, 496
_BAD_REQUEST = 400
_FORBIDDEN = frozenset({401, 403})
#: nginx's own words; other bodies of a 400 speak of the request, and may repeat it.
_NONE_ARRIVED, _NOT_ACCEPTED = b"No required SSL certificate was sent", b"The SSL certificate error"
_SPOKEN_OF = b"client certificate"

_GIVE = "give client_cert_pem and client_key_pem: a certificate that the server accepts"
_CHECK = "check client_cert_pem, its end and its intermediates, with those who run the server"


def certificate_refusal(status: int, body: bytes) -> Failure | None:
    """Return what the answer says of our client certificate, or None if it speaks of something else."""
    if status == _NGINX_NONE or (status == _BAD_REQUEST and _NONE_ARRIVED in body):
        return _finding(status, "it demands a client certificate", _GIVE)
    if status == _NGINX_BAD or (status == _BAD_REQUEST and _NOT_ACCEPTED in body):
        return _finding(status, "it does not accept our client certificate", _CHECK)
    if status in _FORBIDDEN and _SPOKEN_OF in body.lower():
        return _finding(status, "it speaks of a client certificate", f"{_GIVE}; or {_CHECK}")
    return None


def _finding(status: int, words: str, hint: str) -> Failure:
    return Failure(FailureCode.CLIENT_CERTIFICATE_REFUSED, f"HTTP {status}: {words}", hint, status)
