"""TLS that failed, in words for people: what the other side showed or said, and the setting to change.

Input: what `ssl` complains of, the options that were tried, and the certificates that the server showed.
Output: a `TlsFailed`. Nothing of it is a secret.
"""

import ssl
from collections.abc import Sequence
from datetime import UTC, datetime

from worker.integrations import TlsOptions
from worker.model.errors import ClientCertificateRefused, TlsFailed
from worker.transports.certificates import Certificate, certificates_in

#: The certificate that Splunk makes for itself at installation has this common name, and no host's name.
SPLUNK_NAME = "SplunkServerDefaultCert"
#: It is signed by a CA that every Splunk has, key and all: who trusts that one trusts any server.
SPLUNK_CA = "SplunkCommonCA"
_SPLUNK_PIN = "the first certificate in $SPLUNK_HOME/etc/auth/server.pem of this very Splunk"

#: Of OpenSSL's verdicts (x509_vfy.h): the issuer is not at hand, or at hand but not trusted.
_UNTRUSTED = frozenset({2, 18, 19, 20, 21})
_OTHER_NAME = frozenset({62, 64})
_SELF_SIGNED, _SELF_SIGNED_IN_CHAIN = 18, 19
_NO_OPTIONS = TlsOptions()
_MOST_NAMES = 8


def handshake_failure(
    error: Exception,
    peer: str,
    options: TlsOptions = _NO_OPTIONS,
    shown: Sequence[Certificate] = (),
) -> TlsFailed:
    """Return in words what went wrong with TLS; `peer` is "host:port", `shown` the chain that it sent."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return TlsFailed(*_distrust(error, peer, options, shown))
    reason = (getattr(error, "reason", None) or "").upper().replace(" ", "_")
    if (refusal := _refusal_of_client(reason, peer, options, shown)) is not None:
        return refusal
    for marks, words, hint in _ALERTS:
        if any(mark in reason for mark in marks):
            return TlsFailed(f"{peer} {words}", hint)
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ConnectionError):
        return TlsFailed(f"{peer} closed the connection during the TLS handshake", "check that it speaks TLS")
    return TlsFailed(f"TLS with {peer} failed: {reason or type(error).__name__}")


def closed_behind_handshake(peer: str, options: TlsOptions) -> TlsFailed:
    """Report that the server ended the connection behind the handshake, without an alert."""
    what = f"{peer} closed the connection right behind the TLS handshake, without a word"
    if options.client_cert_pem is None:
        return TlsFailed(what, "if it wants a client certificate, give client_cert_pem and client_key_pem")
    return TlsFailed(what, "look into its log: it may not accept the certificate in client_cert_pem")


def _refusal_of_client(
    reason: str, peer: str, options: TlsOptions, shown: Sequence[Certificate]
) -> ClientCertificateRefused | None:
    """Read the alerts by which a server judges a client's certificate (RFC 8446, section 6.2)."""
    # Once its certificate was shown, versions and ciphers are agreed upon: only ours is left to refuse.
    judged = _CLIENT_ALERTS | ({"ALERT_HANDSHAKE_FAILURE": ""} if shown else {})
    said = next((words for mark, words in judged.items() if mark in reason), None)
    if said is None:
        return None
    if options.client_cert_pem is None:
        what = f"{peer} demands a client certificate"
        return ClientCertificateRefused(what, "give client_cert_pem and client_key_pem")
    own = certificates_in(options.client_cert_pem)[:1]
    named = f" of {own[0].subject}, signed by {own[0].issuer}" if own else ""
    what = f"{peer} does not accept our client certificate{named}{said and f': {said}'}"
    return ClientCertificateRefused(what, _hint_for_own(reason, own))


def _hint_for_own(reason: str, own: Sequence[Certificate]) -> str:
    if "CERTIFICATE_EXPIRED" in reason:
        ending = f" (it ends on {own[0].ends:%Y-%m-%d})" if own else ""
        return f"renew client_cert_pem and client_key_pem, or check the clock of the server{ending}"
    if "UNKNOWN_CA" in reason:
        signer = own[0].issuer if own else "its CA"
        return f"check client_cert_pem and the intermediates behind it, or have the server trust {signer}"
    return "check client_cert_pem with those who run the server: its log says more"


def _distrust(
    error: ssl.SSLCertVerificationError, peer: str, options: TlsOptions, shown: Sequence[Certificate]
) -> tuple[str, str]:
    """Put OpenSSL's verdict on the certificate into words, with the setting to change."""
    subject = f"the certificate of {peer}"
    code = error.verify_code
    if code in _UNTRUSTED | _OTHER_NAME and _is_splunks_own(shown):
        return _splunks_own(peer, options)
    if code in _OTHER_NAME:
        return _other_name(subject, _name_of(peer, options), options, shown)
    if code in _UNTRUSTED:
        what, hint = _untrusted(subject, code, options, shown)
        return what, f"{hint}{_and_its_name(_name_of(peer, options), shown)}"
    match code:
        case 9:  # X509_V_ERR_CERT_NOT_YET_VALID
            return f"{subject} is not valid yet", f"check the clocks (here it is {_now()})"
        case 10:  # X509_V_ERR_CERT_HAS_EXPIRED
            return f"{subject}, or one that signed it, has expired", f"renew it (here it is {_now()})"
        case _:
            return f"{subject} is not trusted: {error.verify_message}", "check it, and what `ca_pem` holds"


def _name_of(peer: str, options: TlsOptions) -> str:
    return options.server_name(peer.rpartition(":")[0].strip("[]"))


def _is_splunks_own(shown: Sequence[Certificate]) -> bool:
    return bool(shown) and shown[0].subject == SPLUNK_NAME and not shown[0].names


def _splunks_own(peer: str, options: TlsOptions) -> tuple[str, str]:
    if options.ca_pem is not None and (options.tls_server_name or "").lower() == SPLUNK_NAME.lower():
        what = f"{peer} shows a certificate that Splunk has made for itself, and not the one in ca_pem"
        return what, f"give {_SPLUNK_PIN} as ca_pem"
    what = (
        f"{peer} shows the certificate that Splunk makes for itself: it names no host but {SPLUNK_NAME}, "
        f"and its CA, {SPLUNK_CA}, is the same in every Splunk"
    )
    hint = (
        f"give {_SPLUNK_PIN} as ca_pem, and {SPLUNK_NAME} as tls_server_name; "
        "or have Splunk use a certificate of your own CA that names this host"
    )
    return what, hint


def _other_name(
    subject: str, wanted: str, options: TlsOptions, shown: Sequence[Certificate]
) -> tuple[str, str]:
    what = f"{subject} is made out to another name than {wanted}"
    if shown and not shown[0].identities:
        what = f"{subject} names no host: its common name is {shown[0].subject}, which does not count"
        return what, f"have it reissued with {wanted} as subject alternative name"
    names = shown[0].identities[:_MOST_NAMES] if shown else ()
    if options.tls_server_name is not None:
        hint = "give a name that it carries as tls_server_name"
    else:
        hint = "use a name that it carries in the url, or give one as tls_server_name"
    carried = f" (it carries {', '.join(names)})" if names else ""
    return f"{what}{carried}", hint


def _untrusted(subject: str, code: int, options: TlsOptions, shown: Sequence[Certificate]) -> tuple[str, str]:
    if code == _SELF_SIGNED:
        return f"{subject} is self-signed", "give that certificate as ca_pem"
    top = _top(shown)
    if top is None:
        return f"{subject} was signed by a CA that is not trusted here", "give that CA as ca_pem"
    if code == _SELF_SIGNED_IN_CHAIN or top.is_self_signed:
        what = f"{subject} was signed by a CA that is not trusted here, {top.subject}"
        return what, "give that CA as ca_pem"
    return _missing_link(subject, top.issuer, options)


def _missing_link(subject: str, missing: str, options: TlsOptions) -> tuple[str, str]:
    """Name the certificate that is needed and nowhere to be found: an intermediate, or the CA itself."""
    if options.ca_pem is None:
        what = f"{subject} was signed by a CA that is not trusted here, {missing}, and that was not sent"
        return (
            what,
            "give that CA as ca_pem, or, if it is an intermediate, have the server send its whole chain",
        )
    if any(one.subject == missing for one in certificates_in(options.ca_pem)):
        what = f"{subject} leads to {missing}, but to another key of it than the one in ca_pem"
        return what, f"give the present certificate of {missing} as ca_pem"
    what = f"{subject} leads to no CA in ca_pem: that of {missing} is neither there nor sent by the server"
    hint = f"have the server send its whole chain, or add the certificate of {missing} to ca_pem"
    return what, hint


def _top(shown: Sequence[Certificate]) -> Certificate | None:
    """Follow the chain from the server's own certificate, as far as it was sent."""
    top = shown[0] if shown else None
    for one in shown[1:]:
        if top is not None and not top.is_self_signed and one.subject == top.issuer:
            top = one
    return top


def _and_its_name(wanted: str, shown: Sequence[Certificate]) -> str:
    """Return at once what would be complained of next."""
    if not shown or shown[0].is_for(wanted) or not shown[0].identities:
        return ""
    return f", and {shown[0].identities[0]}, the name that it carries, as tls_server_name"


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"


#: Parts of OpenSSL's reasons for alerts about our certificate, and what the server says of it by each.
_CLIENT_ALERTS = {
    "CERTIFICATE_REQUIRED": "none arrived",
    "ALERT_NO_CERTIFICATE": "none arrived",
    "CERTIFICATE_EXPIRED": "it has expired",
    "CERTIFICATE_REVOKED": "it was revoked",
    "ALERT_UNKNOWN_CA": "it does not know the CA",
    "UNSUPPORTED_CERTIFICATE": "it takes none of that kind",
    "ALERT_BAD_CERTIFICATE": "",
    "CERTIFICATE_UNKNOWN": "",
    "ALERT_ACCESS_DENIED": "it has no access",
    "ALERT_DECRYPT_ERROR": "its signature does not match",
}

#: Parts of OpenSSL's reasons (ssl/ssl_err.c), and what they mean; the first that matches is said.
_ALERTS = (
    (
        ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"),
        "does not speak TLS on this port",
        "check the port, or use the url's form without TLS",
    ),
    (
        ("PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW"),
        "speaks no TLS 1.2 or later",
        "bring it up to date",
    ),
    (
        ("HANDSHAKE_FAILURE", "NO_SHARED_CIPHER", "DH_KEY_TOO_SMALL", "INSUFFICIENT_SECURITY"),
        "and we have no cipher in common, or it wants a client certificate",
        "bring it up to date, or give client_cert_pem and client_key_pem if it wants them",
    ),
    (
        ("UNRECOGNIZED_NAME",),
        "knows no site of that name",
        "use the name that its certificate carries, in the url or as tls_server_name",
    ),
)
