"""What an integration gives in PEM, judged before anybody dials: CAs, a client certificate, its key.

Comes in: text, of which only the blocks count (RFC 7468, section 2). Goes out: certificates and a key, or
InvalidIntegration that names the field, what is there instead, and what would be right.
"""

import re

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from worker.integrations.pem import (
    CERTIFICATE_LABELS,
    KEY_LABELS,
    DamagedPem,
    PemBlock,
    pem_blocks,
    pem_labels,
)
from worker.model.errors import InvalidIntegration

KEY_HINT = "give the certificate's own private key, unencrypted, in PEM (-----BEGIN PRIVATE KEY-----)"
_CERTIFICATE_HINT = "give one or more blocks of -----BEGIN CERTIFICATE-----"
#: What somebody may have given in place of a certificate or a key, and the command that converts it, if any.
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
_DER = re.compile("0[\x81-\x84]")


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
    """Say what is there in place of what is wanted."""
    reason = f"is not a {what} in PEM"
    if _DER.match(pem):
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
