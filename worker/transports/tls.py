"""TLS as a client: the options of an integration come in, an `ssl.SSLContext` goes out.

That context alone decides whom we trust and who we say we are. Failures of the handshake are turned
into a `TlsFailed` that says which of the two went wrong.
"""

import contextlib
import functools
import os
import ssl
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime

import certifi
from cryptography.exceptions import UnsupportedAlgorithm

from worker.model.destinations import TlsOptions
from worker.model.errors import InvalidIntegration, TlsFailed
from worker.transports.deadline import DeadlineTlsSocket
from worker.transports.tls_credentials import KEY_HINT, certificates, private_key


def client_context(options: TlsOptions) -> ssl.SSLContext:
    """Make the context that the options ask for: TLS 1.2 or later, certifi's roots or only `ca_pem`.

    Its sockets obey the deadline in force. Do not alter it: contexts without a CA or a certificate
    of their own are shared. Raises InvalidIntegration naming the field whose PEM cannot be used.
    """
    if options.ca_pem is None and options.client_cert_pem is None:
        return _shared_context(options.verify_tls)
    context = _blank_context(verify=options.verify_tls)
    if options.ca_pem is None:
        context.load_verify_locations(certifi.where())
    else:
        _trust_only(context, options.ca_pem)
    if options.client_cert_pem is not None and options.client_key_pem is not None:
        _present(context, options.client_cert_pem, options.client_key_pem.get_secret_value())
    return context


def handshake_failure(error: Exception, peer: str) -> TlsFailed:
    """Say in words what went wrong with TLS; `peer` is "host:port"."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return TlsFailed(_distrust(error, peer))
    reason = (getattr(error, "reason", None) or "").upper().replace(" ", "_")
    for marks, words in _ALERTS:
        if any(mark in reason for mark in marks):
            return TlsFailed(f"{peer} {words}")
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ConnectionError):
        return TlsFailed(f"{peer} closed the connection during the TLS handshake: check that it speaks TLS")
    return TlsFailed(f"TLS with {peer} failed: {reason or type(error).__name__}")


# A thousand integrations must not mean a thousand copies of the world's root certificates.
@functools.cache
def _shared_context(verify: bool) -> ssl.SSLContext:  # noqa: FBT001 - functools.cache wants it positional
    context = _blank_context(verify=verify)
    if verify:
        context.load_verify_locations(certifi.where())
    return context


def _blank_context(*, verify: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = DeadlineTlsSocket
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _trust_only(context: ssl.SSLContext, ca_pem: str) -> None:
    certificates("ca_pem", ca_pem)
    try:
        context.load_verify_locations(cadata=ca_pem)
    except (ssl.SSLError, ValueError) as error:
        raise _refused_by_openssl("ca_pem", error) from None
    # What the customer pasted is trusted as it stands, be it a root, an intermediate or the server itself.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN


def _present(context: ssl.SSLContext, cert_pem: str, key_pem: str) -> None:
    certificate = certificates("client_cert_pem", cert_pem)[0]
    key = private_key("client_key_pem", key_pem)
    try:
        belongs = key.public_key() == certificate.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        belongs = False
    if not belongs:
        reason = "does not belong to the first certificate in client_cert_pem"
        raise InvalidIntegration("client_key_pem", reason, KEY_HINT)
    try:
        with _unreadable_file(f"{cert_pem.strip()}\n{key_pem}") as path:
            context.load_cert_chain(path, password="")
    except (ssl.SSLError, ValueError) as error:
        raise _refused_by_openssl("client_cert_pem", error) from None


def _refused_by_openssl(field: str, error: Exception) -> InvalidIntegration:
    reason = getattr(error, "reason", None) or type(error).__name__
    hint = "give a certificate with a key of today's size"
    return InvalidIntegration(field, f"is refused by OpenSSL ({reason})", hint)


@contextlib.contextmanager
def _unreadable_file(text: str) -> Iterator[str]:
    """Lend the text a path (OpenSSL reads keys only from files) that nobody else can read, and remove it."""
    if not hasattr(os, "memfd_create"):
        with tempfile.NamedTemporaryFile("w") as file:  # its mode is 0600
            file.write(text)
            file.flush()
            yield file.name
        return
    with open(os.memfd_create("client-key"), "w") as file:  # noqa: PTH123 - a descriptor, not a path
        file.write(text)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


def _distrust(error: ssl.SSLCertVerificationError, peer: str) -> str:
    """Put OpenSSL's verdict on the certificate (x509_vfy.h) into words that help."""
    subject = f"the certificate of {peer}"
    match error.verify_code:
        case 9:  # X509_V_ERR_CERT_NOT_YET_VALID
            return f"{subject} is not valid yet: check the clocks (here it is {_now()})"
        case 10:  # X509_V_ERR_CERT_HAS_EXPIRED
            return f"{subject}, or one that signed it, has expired: renew it (here it is {_now()})"
        case 18:  # X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT
            return f"{subject} is self-signed: give that certificate as ca_pem"
        case 2 | 19 | 20 | 21:  # X509_V_ERR_*_ISSUER*, *_SELF_SIGNED_CERT_IN_CHAIN, *_VERIFY_LEAF_SIGNATURE
            return f"{subject} was signed by a CA that is not trusted here: give that CA as ca_pem"
        case 62 | 64:  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
            return f"{subject} is made out to another name: use a name that it carries in the url"
        case _:
            return f"{subject} is not trusted: {error.verify_message}"


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"


#: Parts of OpenSSL's reasons (ssl/ssl_err.c), and what they mean; the first that matches is said.
_ALERTS = (
    (
        ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"),
        "does not speak TLS on this port: check the port, or use the url's form without TLS",
    ),
    (
        ("CERTIFICATE_REQUIRED", "BAD_CERTIFICATE", "NO_CERTIFICATE"),
        "demands a client certificate that it accepts: give client_cert_pem and client_key_pem",
    ),
    (
        (
            "ALERT_UNKNOWN_CA",
            "CERTIFICATE_EXPIRED",
            "CERTIFICATE_REVOKED",
            "CERTIFICATE_UNKNOWN",
            "ALERT_ACCESS_DENIED",
        ),
        "does not accept our client certificate: check client_cert_pem with those who run it",
    ),
    (
        ("PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW"),
        "speaks no TLS 1.2 or later: bring it up to date",
    ),
    (
        ("HANDSHAKE_FAILURE", "NO_SHARED_CIPHER", "DH_KEY_TOO_SMALL", "INSUFFICIENT_SECURITY"),
        "and we have no cipher in common, or it wants a client certificate",
    ),
    (("UNRECOGNIZED_NAME",), "knows no site of that name: use the name that its certificate carries"),
)
