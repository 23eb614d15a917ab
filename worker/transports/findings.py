"""The failures of transports in words for people: code, what happened, what mends it."""

from worker.model.deliveries import Finding
from worker.model.errors import (
    AddressRefused,
    ClosedBehindBatch,
    ConnectFailed,
    ConnectionLost,
    DeadlinePassed,
    NameUnknown,
    TlsFailed,
    TransportError,
    Unconfirmed,
)

_WORDS: dict[type[TransportError], tuple[str, str]] = {
    NameUnknown: ("name_unknown", "correct the host name in the integration's url, or mend DNS"),
    AddressRefused: (
        "address_refused",
        "start the workers with its network in SIEM_ALLOWED_NETWORKS, or use a public address",
    ),
    ConnectFailed: ("connect_failed", "check host and port, that the SIEM runs, and firewalls in between"),
    TlsFailed: ("tls_failed", "check the certificate and its name; give `ca_pem` for a private CA"),
    ConnectionLost: ("connection_lost", "if it lasts, look at proxies and the SIEM's log"),
    ClosedBehindBatch: (
        "connection_lost",
        "if it lasts, the SIEM closes every connection: switch the integration's `confirm_by_shutdown` on",
    ),
    Unconfirmed: (
        "unconfirmed",
        "if it lasts, this SIEM never confirms so: switch the integration's `confirm_by_shutdown` off",
    ),
    DeadlinePassed: ("timed_out", "if it lasts, the SIEM is overloaded or unreachable"),
}


def describe(error: TransportError) -> Finding:
    """Describe the failure; its code is stable, its words may change."""
    code, hint = _WORDS.get(type(error), ("unreachable", "check that the SIEM can be reached"))
    return Finding(code, str(error), hint)
