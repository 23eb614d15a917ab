"""TLS over real connections: whom we trust, who we say we are, and how failures are told."""

import datetime as dt
import os
import socket
import ssl
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from pydantic import SecretStr

from tests.transports.certificates import demanding, self_signed, server_context
from tests.transports.endpoint import Endpoint, answers, answers_once
from worker.integrations import TlsOptions
from worker.model.errors import InvalidIntegration, TlsFailed
from worker.transports.guard import Guard
from worker.transports.http import HttpReply, HttpTransport
from worker.transports.tls import client_context

HOST = "127.0.0.1"


def _get(guard: Guard, endpoint: Endpoint, options: TlsOptions, host: str = HOST) -> HttpReply:
    transport = HttpTransport(guard, options, connections=1)
    try:
        return transport.get(endpoint.url(host).replace("http:", "https:"), {}, seconds=10)
    finally:
        transport.close()


def _trusting(ca: trustme.CA) -> TlsOptions:
    return TlsOptions(ca_pem=ca.cert_pem.bytes().decode())


def _identified(ca: trustme.CA, own: trustme.LeafCert) -> TlsOptions:
    return TlsOptions(
        ca_pem=ca.cert_pem.bytes().decode(),
        client_cert_pem=own.cert_chain_pems[0].bytes().decode(),
        client_key_pem=SecretStr(own.private_key_pem.bytes().decode()),
    )


def test_a_custom_ca_is_trusted(guard: Guard, ca: trustme.CA) -> None:
    """A server with a certificate of the given CA is spoken to."""
    with Endpoint(answers(), tls=server_context(ca.issue_cert(HOST))) as endpoint:
        assert _get(guard, endpoint, _trusting(ca)).status == 200


def test_a_custom_ca_is_the_only_one_trusted() -> None:
    """With `ca_pem`, the public roots no longer count."""
    assert client_context(TlsOptions()).cert_store_stats()["x509_ca"] > 50
    assert client_context(_trusting(trustme.CA())).cert_store_stats() == {"crl": 0, "x509": 1, "x509_ca": 1}


def test_an_intermediate_is_enough(guard: Guard, ca: trustme.CA) -> None:
    """What was given as CA is trusted as it stands, although its own signer is unknown."""
    intermediate = ca.create_child_ca()
    with Endpoint(answers(), tls=server_context(intermediate.issue_cert(HOST))) as endpoint:
        assert _get(guard, endpoint, _trusting(intermediate)).status == 200


def test_an_unknown_ca_is_told(guard: Guard, ca: trustme.CA) -> None:
    """The public roots do not vouch for a private CA, and the message says what to give."""
    with (
        Endpoint(answers(), tls=server_context(ca.issue_cert(HOST))) as endpoint,
        pytest.raises(TlsFailed) as failed,
    ):
        _get(guard, endpoint, TlsOptions())

    assert str(failed.value).startswith(
        f"the certificate of 127.0.0.1:{endpoint.port} was signed by a CA that is not trusted here, "
    )
    assert failed.value.hint.startswith("give that CA as ca_pem")


def test_a_self_signed_certificate_is_told_and_can_be_given(guard: Guard, tmp_path: Path) -> None:
    """Splunk's default certificate is refused with the remedy, and the remedy works."""
    certificate, key = self_signed()
    (tmp_path / "both.pem").write_bytes(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")

    with Endpoint(answers(), tls=context) as endpoint:
        with pytest.raises(TlsFailed, match="is self-signed: give that certificate as ca_pem"):
            _get(guard, endpoint, TlsOptions())
        assert _get(guard, endpoint, TlsOptions(ca_pem=certificate.decode())).status == 200


def test_a_wrong_name_is_told(guard: Guard, ca: trustme.CA) -> None:
    """The name in the URL is what the certificate must carry, not the address that was dialled."""
    with (
        Endpoint(answers(), tls=server_context(ca.issue_cert("other.example.com"))) as endpoint,
        pytest.raises(TlsFailed, match=r"of localhost:\d+ is made out to another name"),
    ):
        _get(guard, endpoint, _trusting(ca), host="localhost")


def test_the_name_in_the_url_is_what_counts(guard: Guard, ca: trustme.CA) -> None:
    """A certificate for the name is good wherever the name leads."""
    with Endpoint(answers(), tls=server_context(ca.issue_cert("localhost"))) as endpoint:
        assert _get(guard, endpoint, _trusting(ca), host="localhost").status == 200


def test_an_expired_certificate_is_told(guard: Guard, ca: trustme.CA) -> None:
    """The message says that the certificate has expired, and what the time is here."""
    past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    with (
        Endpoint(answers(), tls=server_context(ca.issue_cert(HOST, not_after=past))) as endpoint,
        pytest.raises(TlsFailed, match=r"has expired: renew it \(here it is 20\d\d"),
    ):
        _get(guard, endpoint, _trusting(ca))


def test_a_port_that_speaks_plain_text_is_told(guard: Guard) -> None:
    """A peer that answers the handshake in plain HTTP does not speak TLS."""
    with (
        Endpoint(lambda visit: visit.connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as endpoint,
        pytest.raises(TlsFailed, match="does not speak TLS on this port"),
    ):
        _get(guard, endpoint, TlsOptions())


def test_a_port_that_hangs_up_is_told(guard: Guard) -> None:
    """A peer that closes during the handshake is named as such."""
    with (
        Endpoint(lambda visit: visit.connection.close()) as endpoint,
        pytest.raises(TlsFailed, match="closed the connection during the TLS handshake"),
    ):
        _get(guard, endpoint, TlsOptions())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_demanded_client_certificate_that_is_missing_is_told(
    guard: Guard, ca: trustme.CA, version: ssl.TLSVersion
) -> None:
    """The message says which fields to fill in, also where TLS 1.3 tells us only after the handshake."""
    context = demanding(server_context(ca.issue_cert(HOST)), ca)
    context.minimum_version = context.maximum_version = version
    with Endpoint(answers(), tls=context) as endpoint, pytest.raises(TlsFailed, match="client certificate"):
        _get(guard, endpoint, _trusting(ca))


def test_a_client_certificate_that_is_not_accepted_is_told(guard: Guard, ca: trustme.CA) -> None:
    """A certificate of a CA that the server does not know is refused in so many words."""
    context = demanding(server_context(ca.issue_cert(HOST)), ca)
    stranger = trustme.CA().issue_cert("worker")
    with (
        Endpoint(answers(), tls=context) as endpoint,
        pytest.raises(TlsFailed, match="does not accept our client certificate"),
    ):
        _get(guard, endpoint, _identified(ca, stranger))


@pytest.mark.parametrize("memory_file", [True, False])
def test_a_client_certificate_is_presented(
    guard: Guard,
    ca: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    memory_file: bool,  # noqa: FBT001 - pytest passes it by name
) -> None:
    """With the certificate and key in PEM we are let in, and no file stays behind, on any system."""
    if not memory_file:
        monkeypatch.delattr(os, "memfd_create")
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    context = demanding(server_context(ca.issue_cert(HOST)), ca)

    with Endpoint(answers(), tls=context) as endpoint:
        assert _get(guard, endpoint, _identified(ca, ca.issue_cert("worker"))).status == 200
    assert list(tmp_path.iterdir()) == []


def test_verification_can_be_turned_off(guard: Guard) -> None:
    """With `verify_tls` off, an unknown CA and a wrong name do not matter."""
    with Endpoint(answers(), tls=server_context(trustme.CA().issue_cert("other.example.com"))) as endpoint:
        assert _get(guard, endpoint, TlsOptions(verify_tls=False)).status == 200


def test_old_tls_is_not_spoken(guard: Guard, ca: trustme.CA) -> None:
    """A server that has nothing newer than TLS 1.1 is refused."""
    context = server_context(ca.issue_cert(HOST))
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        Endpoint(answers(), tls=context) as endpoint,
        pytest.raises(TlsFailed, match=r"speaks no TLS 1\.2 or later"),
    ):
        _get(guard, endpoint, _trusting(ca))


def test_contexts_of_default_options_are_shared() -> None:
    """A thousand integrations without a CA of their own hold one copy of the public roots."""
    assert client_context(TlsOptions()) is client_context(TlsOptions())


PEM = "-----BEGIN CERTIFICATE-----\nbm8gY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize("pem", ["", "no PEM", PEM, "ключ"])
def test_a_bad_ca_is_named(pem: str) -> None:
    """What is no certificate is refused by the name of its field."""
    with pytest.raises(InvalidIntegration) as refused:
        client_context(TlsOptions(ca_pem=pem))

    assert refused.value.field == "ca_pem"


def test_a_bad_client_certificate_is_named(ca: trustme.CA) -> None:
    """The certificate is judged apart from its key."""
    own = ca.issue_cert("worker")
    options = TlsOptions(client_cert_pem=PEM, client_key_pem=SecretStr(own.private_key_pem.bytes().decode()))

    with pytest.raises(InvalidIntegration) as refused:
        client_context(options)

    assert refused.value.field == "client_cert_pem"


def _encrypted(pem: bytes) -> str:
    key = load_pem_private_key(pem, password=None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")).decode()


@pytest.mark.parametrize("fault", ["garbage", "encrypted", "of another certificate"])
def test_a_bad_client_key_is_named_and_not_repeated(ca: trustme.CA, fault: str) -> None:
    """A key that is none, is encrypted or is another's is refused by the name of its field."""
    own, other = ca.issue_cert("worker"), ca.issue_cert("another")
    key = {
        "garbage": "hunter2",
        "encrypted": _encrypted(own.private_key_pem.bytes()),
        "of another certificate": other.private_key_pem.bytes().decode(),
    }[fault]
    certificate = own.cert_chain_pems[0].bytes().decode()

    with pytest.raises(InvalidIntegration) as refused:
        client_context(TlsOptions(client_cert_pem=certificate, client_key_pem=SecretStr(key)))

    assert refused.value.field == "client_key_pem"
    assert key not in str(refused.value)


def test_a_bad_pem_is_told_before_anything_is_dialled(guard: Guard) -> None:
    """The transport says so at the first https request, without a connection."""
    with Endpoint(answers()) as endpoint, pytest.raises(InvalidIntegration, match="ca_pem"):
        _get(guard, endpoint, TlsOptions(ca_pem="no PEM"))
    assert endpoint.accepted == 0


def test_sockets_of_the_context_are_connected_as_clients(ca: trustme.CA) -> None:
    """A context serves other transports, too: syslog wraps its own socket with it."""
    with (
        Endpoint(answers_once(), tls=server_context(ca.issue_cert(HOST))) as endpoint,
        socket.create_connection((HOST, endpoint.port), timeout=10) as plain,
        client_context(_trusting(ca)).wrap_socket(plain, server_hostname=HOST) as encrypted,
    ):
        encrypted.sendall(b"GET / HTTP/1.1\r\n\r\n")

        assert encrypted.recv(4) == b"HTTP"
