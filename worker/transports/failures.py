"""The failures of transports in words for people: code, what happened, what mends it."""

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
    NameUnknown: (FailureCode.NAME_UNKNOWN, "correct the host name in the integration's url, or mend DNS"),
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
