"""CAs, client certificates and keys as people give them: what is taken, and how the rest is refused."""

import socket
from contextlib import suppress
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.hazmat.primitives.serialization.pkcs7 import serialize_certificates
from hypothesis import given
from hypothesis import strategies as st

from tests.transports.certificates import demanding, server_context
from tests.transports.curl.flights import post, posting
from tests.transports.endpoint import Endpoint, answers, answers_once
from worker.integrations import TlsOptions
from worker.model.errors import InvalidIntegration
from worker.transports.guard import Guard
from worker.transports.http import HttpTransport
from worker.transports.tls import client_context

NO_CERTIFICATE = "-----BEGIN CERTIFICATE-----\nbm8gY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n"
HOST = "127.0.0.1"
CA = trustme.CA()
OWN = CA.issue_cert("worker")
CA_PEM = CA.cert_pem.bytes().decode()
CERT_PEM = OWN.cert_chain_pems[0].bytes().decode()
KEY_PEM = OWN.private_key_pem.bytes().decode()
CERTIFICATE = x509.load_pem_x509_certificate(CERT_PEM.encode())
KEY = load_pem_private_key(KEY_PEM.encode(), password=None)

BUNDLE = "\ufeff# Корневой сертификат «Größe», 証明書\r\n{}\r\n# — Ende —\r\n"


def _options(**changes: str) -> TlsOptions:
    given = {"ca_pem": CA_PEM, "client_cert_pem": CERT_PEM, "client_key_pem": KEY_PEM} | changes
    return TlsOptions.model_validate(given)


def test_text_around_the_blocks_does_not_matter(guard: Guard) -> None:
    """For all three fields alike, with every way to connect; nothing of it is kept."""
    options = _options(
        ca_pem=BUNDLE.format(CA_PEM),
        client_cert_pem=BUNDLE.format(CERT_PEM),
        client_key_pem=BUNDLE.format(KEY_PEM),
    )
    context = demanding(server_context(CA.issue_cert(HOST)), CA)
    with Endpoint(answers(), tls=context) as endpoint:
        transport = HttpTransport(guard, options, connections=1)
        assert transport.get(endpoint.url(HOST), {}, seconds=10).status == 200
        transport.close()
        with posting(guard, endpoint.url(HOST), options) as many:
            assert post(many).status == 200

    assert options == _options()


def test_what_else_is_in_a_file_is_not_kept() -> None:
    """A file with certificate and key serves for both fields; the key is kept as a secret alone."""
    both = f"{KEY_PEM}{CERT_PEM}"
    options = _options(ca_pem=f"{CA_PEM}{KEY_PEM}", client_cert_pem=both, client_key_pem=both)

    assert options == _options()
    assert "PRIVATE" not in repr(options)
    client_context(options)


def _key(form: PrivateFormat, encryption: Any) -> str:
    return KEY.private_bytes(Encoding.PEM, form, encryption).decode()


_CUT = "is cut off or damaged"
_LATIN = "latin-1"
REFUSED: dict[str, tuple[str, str, str, str]] = {
    "no block": ("ca_pem", "\u043a\u043b\u044e\u0447", "is not a certificate in PEM", "BEGIN CERTIFICATE"),
    "cut off": ("ca_pem", CA_PEM[:200], _CUT, "from its BEGIN line to its END line"),
    "one of two cut off": ("ca_pem", CA_PEM + CA_PEM[:200], _CUT, "from its BEGIN line"),
    "nothing in its block": ("ca_pem", NO_CERTIFICATE.replace("bm8gY2VydGlmaWNhdGU=\n", ""), _CUT, ""),
    "without its beginning": ("ca_pem", CA_PEM[30:], _CUT, "from its BEGIN line"),
    "words": ("ca_pem", "no PEM", "is not a certificate in PEM", "BEGIN CERTIFICATE"),
    "something else in its block": ("ca_pem", NO_CERTIFICATE, "is not a certificate in PEM", ""),
    "something else as our certificate": (
        "client_cert_pem",
        NO_CERTIFICATE,
        "is not a certificate in PEM",
        "",
    ),
    "words as a key": ("client_key_pem", "hunter2", "is not a private key in PEM", "own private key"),
    "a key of another certificate": (
        "client_key_pem",
        CA.issue_cert("another").private_key_pem.bytes().decode(),
        "does not belong to the first certificate",
        "own private key",
    ),
    "no certificate in it": (
        "ca_pem",
        CA_PEM.replace(CA_PEM.splitlines()[1], "A" * 64),
        "is not a certificate in PEM",
        "",
    ),
    "a key as a CA": ("ca_pem", KEY_PEM, "is not a certificate in PEM, but a private key", "CERTIFICATE"),
    "a certificate in DER": (
        "client_cert_pem",
        CERTIFICATE.public_bytes(Encoding.DER).decode(_LATIN),
        "binary, as DER is",
        "openssl x509 -inform der",
    ),
    "a bundle of PKCS 7": (
        "ca_pem",
        serialize_certificates([CERTIFICATE], Encoding.PEM).decode(),
        "but a PKCS #7 bundle",
        "openssl pkcs7 -print_certs",
    ),
    "a request": (
        "client_cert_pem",
        CERT_PEM.replace("CERTIFICATE", "CERTIFICATE REQUEST"),
        "but a request for a certificate",
        "",
    ),
    "a certificate as a key": ("client_key_pem", CERT_PEM, "but a certificate", "own private key"),
    "a public key": (
        "client_key_pem",
        KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
        "but a public key",
        "own private key",
    ),
    "a key in DER": (
        "client_key_pem",
        "0\x82" + "\x01" * 20,
        "binary, as DER is",
        "openssl pkey -inform der",
    ),
    "an encrypted key": (
        "client_key_pem",
        _key(PrivateFormat.PKCS8, BestAvailableEncryption(b"x")),
        "is encrypted",
        "openssl pkey -in",
    ),
    "an encrypted key in the old form": (
        "client_key_pem",
        _key(PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"x")),
        "is encrypted",
        "openssl pkey -in",
    ),
    "OpenSSH's": (
        "client_key_pem",
        KEY_PEM.replace("EC PRIVATE", "OPENSSH PRIVATE"),
        "OpenSSH's form",
        "ssh-keygen",
    ),
    "a key cut off": ("client_key_pem", KEY_PEM[:90], _CUT, "from its BEGIN line"),
    "two keys": ("client_key_pem", KEY_PEM * 2, "holds 2 private keys", "own private key"),
}


def _refusal(field: str, pem: str) -> InvalidIntegration | None:
    try:
        client_context(_options(**{field: pem}))
    except InvalidIntegration as refused:
        return refused
    return None


def test_what_cannot_be_used_is_named() -> None:
    """The field, what is there instead, and what would be right; the text itself is never repeated."""
    for name, (field, pem, reason, hint) in REFUSED.items():
        refused = _refusal(field, pem)

        assert refused is not None, name
        assert refused.field == field, name
        assert reason in refused.reason, name
        assert hint in refused.hint, name
        assert (pem[60:90] or pem) not in str(refused), name


def test_an_empty_ca_is_refused() -> None:
    """It is no way to say that there is none."""
    with pytest.raises(InvalidIntegration) as refused:
        client_context(TlsOptions(ca_pem=""))

    assert refused.value.field == "ca_pem"


@given(
    field=st.sampled_from(["ca_pem", "client_cert_pem", "client_key_pem"]),
    change=st.tuples(st.integers(0, 3000), st.integers(0, 60), st.text(max_size=20)),
)
def test_a_damaged_text_is_refused_or_does_not_matter(field: str, change: tuple[int, int, str]) -> None:
    """Whatever is overwritten in it: there is a context, or InvalidIntegration, and nothing else."""
    at, length, instead = change
    whole = str({"ca_pem": CA_PEM, "client_cert_pem": CERT_PEM, "client_key_pem": KEY_PEM}[field])
    damaged = whole[: at % len(whole)] + instead + whole[at % len(whole) + length :]
    with suppress(InvalidIntegration):
        client_context(_options(**{field: damaged}))


def test_sockets_of_the_context_are_connected_as_clients(ca: trustme.CA) -> None:
    """A context serves other transports, too: syslog wraps its own socket with it."""
    with (
        Endpoint(answers_once(), tls=server_context(ca.issue_cert(HOST))) as endpoint,
        socket.create_connection((HOST, endpoint.port), timeout=10) as plain,
        client_context(TlsOptions(ca_pem=ca.cert_pem.bytes().decode())).wrap_socket(
            plain, server_hostname=HOST
        ) as encrypted,
    ):
        encrypted.sendall(b"GET / HTTP/1.1\r\n\r\n")

        assert encrypted.recv(4) == b"HTTP"


def test_contexts_of_default_options_are_shared() -> None:
    """A thousand integrations without a CA of their own hold one copy of the public roots."""
    assert client_context(TlsOptions()) is client_context(TlsOptions())
