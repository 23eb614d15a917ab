"""X.509 certificates as facts for people, and the credentials that TLS is given.

What an integration gives in PEM, judged before it is dialled: CAs, a client certificate, its key.

Input: text, of which only the blocks count (RFC 7468, section 2). Output: certificates and a key, or
InvalidIntegration that names the field, what is there instead, and what would be right.
"""

import re
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID

from worker.integrations.pem import (
    CERTIFICATE_LABELS,
    KEY_LABELS,
    DamagedPem,
    PemBlock,
    pem_blocks,
    pem_labels,
)
from worker.model.errors import InvalidIntegration
from worker.model.untrusted_text import shortened

#: The encoding of `_ssl.Certificate.public_bytes` that is DER (Modules/_ssl.h).
_DER = 2
_LONGEST = 200
#: Characters of a host name as people write it: RFC 1035, 2.3.4, allows 255 bytes in its own form.
_LONGEST_HOST = 253
_HOST = re.compile(r"(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_ADDRESS = re.compile(r"[0-9.]+|[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*")


@dataclass(frozen=True, slots=True)
class Certificate:
    """Whose it is, who signed it, for which hosts it is made out, and the moment when it ends."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    ends: datetime
    is_self_signed: bool

    @property
    def identities(self) -> tuple[str, ...]:
        """The names that a server may go by: those for hosts, or else the common name, as in OpenSSL.

        A common name that is an address, or none of a host, counts for nothing (RFC 2818, section 3.1).
        """
        if self.names or _ADDRESS.fullmatch(self.subject) or not _HOST.fullmatch(self.subject):
            return self.names
        return (self.subject,)

    def is_for(self, name: str) -> bool:
        """Whether it is made out to this host; a wildcard stands for one label (RFC 9525, section 6.3)."""
        wanted = name.lower()
        _, dot, parent = wanted.partition(".")
        return bool({wanted, f"*{dot}{parent}"} & {one.lower() for one in self.identities})

    @property
    def days_left(self) -> int:
        """Whole days until it ends, by this machine's clock; negative once it has ended."""
        return (self.ends - datetime.now(UTC)).days


def verified_chain(sock: ssl.SSLSocket | ssl.SSLObject) -> tuple[Certificate, ...]:
    """Return the chain by which the peer is trusted, from its own certificate to the one that we trust."""
    return _chain(sock, "get_verified_chain")


def shown_chain(sock: ssl.SSLSocket | ssl.SSLObject) -> tuple[Certificate, ...]:
    """Return what the peer has shown, trusted or not, its own certificate first; () when nothing came.

    Also after a handshake that failed for the certificate. What cannot be read is left out.
    """
    return _chain(sock, "get_unverified_chain")


def shown_end(sock: ssl.SSLSocket | ssl.SSLObject) -> float | None:
    """Return when the peer's own certificate ends, trusted or not, in seconds since 1970 UTC."""
    der = sock.getpeercert(binary_form=True)
    found = _read(der) if der else None
    return found.ends.timestamp() if found else None


def certificates_in(pem: str) -> tuple[Certificate, ...]:
    """Read certificates in PEM that `worker.transports.tls` has judged usable; what is odd is left out."""
    blocks = pem_blocks(pem, CERTIFICATE_LABELS)
    found = (_read(ssl.PEM_cert_to_DER_cert(block.text)) for block in blocks)
    return tuple(one for one in found if one is not None)


def _chain(sock: ssl.SSLSocket | ssl.SSLObject, method: str) -> tuple[Certificate, ...]:
    readable = (_read(der) for der in _ders(sock, method))
    return tuple(one for one in readable if one is not None)


def _ders(sock: ssl.SSLSocket | ssl.SSLObject, method: str) -> list[bytes]:
    if hasattr(sock, method):
        public: list[bytes] = getattr(sock, method)()
        return public
    # Before Python 3.13 only the object below knows them, by the same names since 3.10.
    below = getattr(sock, "_sslobj", None)
    found = getattr(below, method)() if below is not None else None
    return [one.public_bytes(_DER) for one in found or ()]


def _read(der: bytes) -> Certificate | None:
    try:
        return _facts(x509.load_der_x509_certificate(der))
    except (ValueError, x509.InvalidVersion, x509.DuplicateExtension):
        return None


def _facts(certificate: x509.Certificate) -> Certificate:
    return Certificate(
        subject=_name(certificate.subject),
        issuer=_name(certificate.issuer),
        names=_hosts(certificate),
        ends=certificate.not_valid_after_utc,
        is_self_signed=certificate.subject == certificate.issuer,
    )


def _name(name: x509.Name) -> str:
    """Return the common name where there is one, as people know it."""
    common = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return shortened(str(common[0].value) if common else name.rfc4514_string(), _LONGEST)


def _hosts(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    hosts = (shortened(host, _LONGEST_HOST) for host in names.get_values_for_type(x509.DNSName))
    return (*hosts, *map(str, names.get_values_for_type(x509.IPAddress)))


KEY_HINT = "give the certificate's own private key, unencrypted, in PEM (-----BEGIN PRIVATE KEY-----)"
_CERTIFICATE_HINT = "give one or more blocks of -----BEGIN CERTIFICATE-----"
#: What may have been given in place of a certificate or a key, and the command that converts it, if any.
_OTHERS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(CERTIFICATE_LABELS, ("a certificate", "")),
    **dict.fromkeys(KEY_LABELS, ("a private key", "")),
    "CERTIFICATE REQUEST": ("a request for a certificate", ""),
    "NEW CERTIFICATE REQUEST": ("a request for a certificate", ""),
    "TRUSTED CERTIFICATE": (
        "a certificate in OpenSSL's own form",
        "openssl x509 -in given.pem -out plain.pem",
    ),
    "PKCS7": ("a PKCS #7 bundle", "openssl pkcs7 -print_certs -in given.pem -out plain.pem"),
    "OPENSSH PRIVATE KEY": ("a private key in OpenSSH's form", "ssh-keygen -p -m pkcs8 -f given.key"),
    "PUBLIC KEY": ("a public key", ""),
}
#: How DER begins: a sequence whose length takes one to four bytes more (ITU-T X.690, 8.1.3.5).
_DER_START = re.compile("0[\x81-\x84]")


def certificates(field: str, pem: str) -> list[x509.Certificate]:
    """Read the certificates of a field. Raises InvalidIntegration."""
    try:
        blocks = _blocks(field, pem, CERTIFICATE_LABELS, "certificate", _CERTIFICATE_HINT)
        return [x509.load_pem_x509_certificate(block.text.encode()) for block in blocks]
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion):
        raise InvalidIntegration(field, "is not a certificate in PEM", _CERTIFICATE_HINT) from None


def private_key(field: str, pem: str) -> PrivateKeyTypes:
    """Read the only key of a field. Raises InvalidIntegration, which does not repeat it."""
    blocks = _blocks(field, pem, KEY_LABELS, "private key", KEY_HINT)
    if len(blocks) > 1:
        raise InvalidIntegration(field, f"holds {len(blocks)} private keys", KEY_HINT)
    if blocks[0].is_encrypted:
        hint = "decrypt it first: openssl pkey -in given.key -out plain.key"
        raise InvalidIntegration(field, "is encrypted with a pass phrase", hint)
    try:
        return load_pem_private_key(blocks[0].text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InvalidIntegration(field, "is not a private key in PEM", KEY_HINT) from None


def _blocks(field: str, pem: str, labels: frozenset[str], what: str, hint: str) -> list[PemBlock]:
    try:
        blocks = pem_blocks(pem, labels)
    except DamagedPem:
        reason = f"holds a {what} that is cut off or damaged"
        raise InvalidIntegration(
            field, reason, "give it whole, from its BEGIN line to its END line"
        ) from None
    if not blocks:
        raise _nothing_in(field, pem, what, hint)
    return blocks


def _nothing_in(field: str, pem: str, what: str, hint: str) -> InvalidIntegration:
    """Return what is there in place of what is wanted."""
    reason = f"is not a {what} in PEM"
    if _DER_START.match(pem):
        command = "pkey" if "key" in what else "x509"
        convert = f"convert it: openssl {command} -inform der -in given.der -out plain.pem"
        return InvalidIntegration(field, f"{reason}, but binary, as DER is", convert)
    for label in pem_labels(pem):
        if label in _OTHERS:
            other, command = _OTHERS[label]
            return InvalidIntegration(
                field, f"{reason}, but {other}", f"convert it: {command}" if command else hint
            )
    return InvalidIntegration(field, reason, hint)
