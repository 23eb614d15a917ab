"""TLS over real connections, by both ways of HTTP: whom we trust, who we are, how it fails.

Syslog has its own tests of the same, in `syslog/test_certificates.py`.
"""

import datetime as dt
import os
import ssl
from pathlib import Path

import pytest
import trustme
from pydantic import SecretStr

from tests.transports.certificates import demanding, self_signed, server_context
from tests.transports.curl.flights import post, posting
from tests.transports.endpoint import Endpoint, answers
from tests.transports.ways import SIZES, WAYS
from worker.integrations import TlsOptions
from worker.model.errors import InvalidIntegration, TlsFailed
from worker.transports.guard import Guard
from worker.transports.tls import client_context

HOST = "127.0.0.1"
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
every_way = pytest.mark.parametrize("way", ["hec", "webhook"])


def _post(way: str, guard: Guard, endpoint: Endpoint, options: TlsOptions, host: str = HOST) -> str:
    """Send over TLS; return the status of the answer."""
    return WAYS[way](guard, host, endpoint.port, options, SIZES[0])


def _trusting(ca: trustme.CA) -> TlsOptions:
    return TlsOptions(ca_pem=ca.cert_pem.bytes().decode())


def _identified(ca: trustme.CA, own: trustme.LeafCert) -> TlsOptions:
    return TlsOptions(
        ca_pem=ca.cert_pem.bytes().decode(),
        client_cert_pem=own.cert_chain_pems[0].bytes().decode(),
        client_key_pem=SecretStr(own.private_key_pem.bytes().decode()),
    )


@every_way
def test_a_custom_ca_is_trusted(guard: Guard, way: str, ca: trustme.CA) -> None:
    """A server with a certificate of the given CA is spoken to."""
    with Endpoint(answers(), tls=server_context(ca.issue_cert(HOST))) as endpoint:
        assert _post(way, guard, endpoint, _trusting(ca)) == "200"


@every_way
def test_a_custom_ca_is_the_only_one_trusted(guard: Guard, way: str, ca: trustme.CA) -> None:
    """With `ca_pem`, any other signature counts for nothing, that of the public roots included."""
    assert client_context(TlsOptions()).cert_store_stats()["x509_ca"] > 50
    assert client_context(_trusting(trustme.CA())).cert_store_stats() == {"crl": 0, "x509": 1, "x509_ca": 1}
    with (
        Endpoint(answers(), tls=server_context(ca.issue_cert(HOST))) as endpoint,
        pytest.raises(TlsFailed, match="leads to no CA in ca_pem"),
    ):
        _post(way, guard, endpoint, _trusting(trustme.CA()))


@every_way
def test_an_intermediate_is_enough(guard: Guard, way: str, ca: trustme.CA) -> None:
    """What was given as CA is trusted as it stands, although its own signer is unknown."""
    intermediate = ca.create_child_ca()
    with Endpoint(answers(), tls=server_context(intermediate.issue_cert(HOST))) as endpoint:
        assert _post(way, guard, endpoint, _trusting(intermediate)) == "200"


@every_way
def test_an_unknown_ca_is_reported(guard: Guard, way: str, ca: trustme.CA) -> None:
    """The public roots do not vouch for a private CA, and the message says what to give."""
    with (
        Endpoint(answers(), tls=server_context(ca.issue_cert(HOST))) as endpoint,
        pytest.raises(TlsFailed) as failed,
    ):
        _post(way, guard, endpoint, TlsOptions())

    assert str(failed.value).startswith(
        f"the certificate of 127.0.0.1:{endpoint.port} was signed by a CA that is not trusted here, "
    )
    assert failed.value.hint.startswith("give that CA as ca_pem")


@every_way
def test_a_self_signed_certificate_is_reported_and_can_be_given(
    guard: Guard, way: str, tmp_path: Path
) -> None:
    """It is refused with a hint, and the hint works."""
    certificate, key = self_signed()
    (tmp_path / "both.pem").write_bytes(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")

    with Endpoint(answers(), tls=context) as endpoint:
        with pytest.raises(TlsFailed, match="is self-signed: give that certificate as ca_pem"):
            _post(way, guard, endpoint, TlsOptions())
        assert _post(way, guard, endpoint, TlsOptions(ca_pem=certificate.decode())) == "200"


@every_way
@pytest.mark.parametrize(("host", "name"), [("localhost", "other.example.com"), (HOST, "127.0.0.2")])
def test_a_wrong_name_is_reported(guard: Guard, way: str, ca: trustme.CA, host: str, name: str) -> None:
    """The name in the url is what the certificate must carry, not the address that was dialled."""
    with (
        Endpoint(answers(), tls=server_context(ca.issue_cert(name))) as endpoint,
        pytest.raises(TlsFailed, match=rf"of {host}:\d+ is made out to another name"),
    ):
        _post(way, guard, endpoint, _trusting(ca), host=host)


@every_way
def test_the_name_in_the_url_is_what_counts(guard: Guard, way: str, ca: trustme.CA) -> None:
    """A certificate for the name is good wherever the name leads."""
    with Endpoint(answers(), tls=server_context(ca.issue_cert("localhost"))) as endpoint:
        assert _post(way, guard, endpoint, _trusting(ca), host="localhost") == "200"


@every_way
def test_an_expired_certificate_is_reported(guard: Guard, way: str, ca: trustme.CA) -> None:
    """The message says that the certificate has expired, and what the time is here."""
    past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    with (
        Endpoint(answers(), tls=server_context(ca.issue_cert(HOST, not_after=past))) as endpoint,
        pytest.raises(TlsFailed, match=r"has expired: renew it \(here it is 20\d\d"),
    ):
        _post(way, guard, endpoint, _trusting(ca))


@every_way
def test_a_port_that_speaks_plain_text_is_reported(guard: Guard, way: str) -> None:
    """A peer that answers the handshake in plain HTTP does not speak TLS."""
    with (
        Endpoint(lambda visit: visit.connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as endpoint,
        pytest.raises(TlsFailed, match="does not speak TLS on this port"),
    ):
        _post(way, guard, endpoint, TlsOptions())


@every_way
def test_a_port_that_hangs_up_is_reported(guard: Guard, way: str) -> None:
    """A peer that closes during the handshake is named as such."""
    with (
        Endpoint(lambda visit: visit.connection.close()) as endpoint,
        pytest.raises(TlsFailed, match="closed the connection during the TLS handshake"),
    ):
        _post(way, guard, endpoint, TlsOptions())


@every_way
@pytest.mark.parametrize("version", VERSIONS)
def test_a_demanded_client_certificate_that_is_missing_is_reported(
    guard: Guard, way: str, ca: trustme.CA, version: ssl.TLSVersion
) -> None:
    """Also where TLS 1.3 refuses us only after the handshake (RFC 8446, 4.4.2.4)."""
    context = demanding(server_context(ca.issue_cert(HOST)), ca)
    context.minimum_version = context.maximum_version = version
    with Endpoint(answers(), tls=context) as endpoint, pytest.raises(TlsFailed, match="client certificate"):
        _post(way, guard, endpoint, _trusting(ca))


@every_way
@pytest.mark.parametrize("version", VERSIONS)
def test_a_client_certificate_that_is_not_accepted_is_reported(
    guard: Guard, way: str, ca: trustme.CA, version: ssl.TLSVersion
) -> None:
    """A certificate of a CA that the server does not know is refused in so many words."""
    context = demanding(server_context(ca.issue_cert(HOST)), ca)
    context.minimum_version = context.maximum_version = version
    stranger = trustme.CA().issue_cert("worker")
    with (
        Endpoint(answers(), tls=context) as endpoint,
        pytest.raises(TlsFailed, match="does not accept our client certificate"),
    ):
        _post(way, guard, endpoint, _identified(ca, stranger))


@every_way
def test_a_client_certificate_is_presented(guard: Guard, way: str, ca: trustme.CA) -> None:
    """With the certificate and key in PEM we are let in."""
    context = demanding(server_context(ca.issue_cert(HOST)), ca)
    with Endpoint(answers(), tls=context) as endpoint:
        assert _post(way, guard, endpoint, _identified(ca, ca.issue_cert("worker"))) == "200"


@pytest.mark.parametrize("memory_file", [True, False])
def test_no_file_of_a_client_certificate_stays_behind(
    guard: Guard,
    ca: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    memory_file: bool,  # noqa: FBT001 - pytest passes it by name
) -> None:
    """OpenSSL reads certificate and key from a file; where there is none in memory, it is removed at once."""
    if not memory_file:
        monkeypatch.delattr(os, "memfd_create")
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    context = demanding(server_context(ca.issue_cert(HOST)), ca)

    with Endpoint(answers(), tls=context) as endpoint:
        assert _post("hec", guard, endpoint, _identified(ca, ca.issue_cert("worker"))) == "200"
    assert list(tmp_path.iterdir()) == []


@every_way
def test_verification_can_be_turned_off(guard: Guard, way: str) -> None:
    """With `verify_tls` off, an unknown CA and a wrong name do not matter."""
    with Endpoint(answers(), tls=server_context(trustme.CA().issue_cert("other.example.com"))) as endpoint:
        assert _post(way, guard, endpoint, TlsOptions(verify_tls=False)) == "200"


@every_way
def test_old_tls_is_not_spoken(guard: Guard, way: str, ca: trustme.CA) -> None:
    """A server that has nothing newer than TLS 1.1 is refused (RFC 8996)."""
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
        _post(way, guard, endpoint, _trusting(ca))


@every_way
@pytest.mark.parametrize("field", ["ca_pem", "client_cert_pem"])
def test_a_bad_pem_is_named_before_anything_is_dialled(
    guard: Guard, way: str, ca: trustme.CA, field: str
) -> None:
    """By the name of its field; over plain HTTP, where it is of no use, it does not matter."""
    key = SecretStr(ca.issue_cert("worker").private_key_pem.bytes().decode())
    own = {"client_cert_pem": "no PEM", "client_key_pem": key} if field != "ca_pem" else {"ca_pem": "no PEM"}
    options = TlsOptions.model_validate(own)
    with Endpoint(answers()) as endpoint:
        with pytest.raises(InvalidIntegration) as refused:
            _post(way, guard, endpoint, options)
        assert refused.value.field == field
        assert endpoint.accepted == 0

        with posting(guard, endpoint.url(), options) as many:
            assert post(many).status == 200
