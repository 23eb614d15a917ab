"""Server contexts for the TLS tests, a self-signed certificate, and the one that Splunk makes for itself."""

import datetime as dt
import ipaddress
import ssl
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_DAY = dt.timedelta(days=1)


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    """Serve with the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def demanding(context: ssl.SSLContext, ca: trustme.CA) -> ssl.SSLContext:
    """Let in only clients with a certificate of the CA."""
    ca.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def splunks_own() -> tuple[bytes, bytes, bytes]:
    """Make what Splunk makes at installation: a certificate that names no host, signed by a CA of its own.

    Returns the certificate, its key and the CA, in PEM. Splunk's CA is the same in every installation.
    """
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer, subject = (
        x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, name), x509.NameAttribute(NameOID.ORGANIZATION_NAME, of)]
        )
        for name, of in (("SplunkCommonCA", "Splunk"), ("SplunkServerDefaultCert", "SplunkUser"))
    )
    ca = _unsigned(issuer, issuer, ca_key).add_extension(x509.BasicConstraints(True, None), critical=True)  # noqa: FBT003 - the library's signature
    certificate = _unsigned(subject, issuer, key)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pems = (one.sign(ca_key, hashes.SHA256()).public_bytes(Encoding.PEM) for one in (certificate, ca))
    return next(pems), secret, next(pems)


def by_common_name(name: str) -> tuple[bytes, bytes]:
    """Make a certificate that signed itself and has only a common name; return it and its key, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = _unsigned(subject, subject, key).sign(key, hashes.SHA256())
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), secret


def signed_common_name(name: str) -> tuple[bytes, bytes, bytes]:
    """Make a certificate with only a common name, signed by a CA; return it, its key and the CA, in PEM."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer, subject = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)]) for common in ("A CA", name)
    )
    ca = _unsigned(issuer, issuer, ca_key).add_extension(x509.BasicConstraints(True, None), critical=True)  # noqa: FBT003 - the library's signature
    certificate = _unsigned(subject, issuer, key)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pems = [one.sign(ca_key, hashes.SHA256()).public_bytes(Encoding.PEM) for one in (certificate, ca)]
    return pems[0], secret, pems[1]


def context_of(folder: Path, *pems: bytes) -> ssl.SSLContext:
    """Serve with certificates and a key in PEM."""
    (folder / "all.pem").write_bytes(b"".join(pems))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "all.pem")
    return context


def _unsigned(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + 100 * _DAY)
    )


def self_signed() -> tuple[bytes, bytes]:
    """Make a certificate for 127.0.0.1 that signed itself; return it and its key, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), secret
