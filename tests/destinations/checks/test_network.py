"""The way to any SIEM: what deserves a warning before it fails, and what UDP cannot show."""

import datetime as dt
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.destinations.checks.examinations import HOST, LOOPBACK, examined, integration_to, results
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.transports.certificates import (
    context_of,
    demanding,
    server_context,
    signed_common_name,
    splunks_own,
)
from tests.transports.endpoint import Endpoint, Visit
from worker.background.doctor import examine
from worker.integrations.integration import parse_integration
from worker.transports.guard import Guard

CA = trustme.CA()
TRUSTED = {"ca_pem": CA.cert_pem.bytes().decode()}


def _splunk(url: str, **options: Any) -> dict[str, Any]:
    return {"type": "splunk_hec", "url": url, "token": "t", "timeout_seconds": 2.0} | options


def _in(days: float) -> dt.datetime:
    return dt.datetime.now(dt.UTC) + dt.timedelta(days=days)


def _ca_until(end: dt.datetime) -> trustme.CA:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Old CA")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_in(-1))
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return trustme.CA.from_pem(certificate.public_bytes(Encoding.PEM), secret)


def _resolving_to(*ips: str) -> Callable[..., list[Any]]:
    """Stand in for the resolver of names, where no real one would give such answers."""
    real = socket.getaddrinfo

    def look_up(host: str, port: int, **options: Any) -> list[Any]:
        if options.get("flags"):
            return real(host, port, **options)
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (ip, port)) for ip in ips]

    return look_up


@pytest.mark.parametrize(("days", "result"), [(20.5, "warning"), (21.5, "ok")])
def test_a_certificate_that_ends_soon_is_warned_of(days: float, result: str) -> None:
    """Three weeks are enough to renew it, if that is said; deliveries work until then."""
    context = server_context(CA.issue_cert(HOST, not_after=_in(days)))
    with HecReceiver(tls=context) as splunk:
        checks = examined(_splunk(splunk.url, **TRUSTED))
    check = checks["tls"]

    assert check.result == result
    assert f"ends in {int(days)} days, on {_in(days):%Y-%m-%d}" in check.message
    assert checks["test event"].result == "ok"
    assert ("renew it" in (check.hint or "")) is (result == "warning")


def test_our_own_certificate_may_end_as_well() -> None:
    """Nothing else says so before the day on which the server turns us away."""
    own = CA.issue_cert("worker", not_after=_in(3.5))
    identity = {
        "client_cert_pem": own.cert_chain_pems[0].bytes().decode(),
        "client_key_pem": own.private_key_pem.bytes().decode(),
    }
    context = demanding(server_context(CA.issue_cert(HOST)), CA)
    with HecReceiver(tls=context) as splunk:
        check = examined(_splunk(splunk.url, **TRUSTED, **identity))["mutual tls"]

    assert check.result == "warning"
    assert "let us in with our own certificate of" in check.message
    assert "ends in 3 days" in check.message


def test_the_end_of_a_ca_counts_as_well() -> None:
    """A chain holds only as long as the first of its certificates to end, and that one is named."""
    old = _ca_until(_in(5.5))
    with HecReceiver(tls=server_context(old.issue_cert(HOST))) as splunk:
        check = examined(_splunk(splunk.url, ca_pem=old.cert_pem.bytes().decode()))["tls"]

    assert check.result == "warning"
    assert f"chain of 2, ends in 5 days, on {_in(5.5):%Y-%m-%d} (that of Old CA)" in check.message


def test_who_verifies_nothing_is_warned() -> None:
    """It works, and any host can pose as the SIEM: the way back is named."""
    with HecReceiver(tls=server_context(CA.issue_cert("other.example.com"))) as splunk:
        checks = examined(_splunk(splunk.url, verify_tls=False))

    assert checks["tls"].result == "warning"
    assert "for other.example.com" in checks["tls"].message
    assert "verify_tls to true again" in (checks["tls"].hint or "")
    assert checks["test event"].result == "ok"


@pytest.mark.parametrize("by_name", [False, True])
def test_splunks_own_certificate_leads_to_no_circle(tmp_path: Path, *, by_name: bool) -> None:
    """An integration with what the doctor asks for is done; what only seems to do is warned of."""
    certificate, key, ca = (one.decode() for one in splunks_own())
    name = {"tls_server_name": "SplunkServerDefaultCert"}
    context = context_of(tmp_path, *(one.encode() for one in (certificate, key, ca)))
    with HecReceiver(tls=context) as splunk:
        url = splunk.url.replace(HOST, "localhost") if by_name else splunk.url
        first = examined(_splunk(url))["tls"]
        second = examined(_splunk(url, ca_pem=ca))["tls"]
        common = examined(_splunk(url, ca_pem=ca, **name))
        pinned = examined(_splunk(url, ca_pem=certificate, **name))

    assert first.result == "failed"
    assert first.hint == second.hint
    assert "as ca_pem, and SplunkServerDefaultCert as tls_server_name" in (first.hint or "")
    assert common["tls"].result == "warning"
    assert "SplunkCommonCA and its key are in every Splunk" in common["tls"].message
    assert common["test event"].result == "ok"
    assert (pinned["tls"].result, pinned["test event"].result) == ("ok", "ok")
    assert pinned["tls"].message.endswith("verified for SplunkServerDefaultCert")


def test_a_token_in_plain_text_is_warned_of() -> None:
    """Any host on the way reads the token, and can then send what it likes."""
    with HecReceiver() as splunk:
        check = examined(_splunk(splunk.url))["tls"]

    assert check.result == "warning"
    assert "use https://" in (check.hint or "")


def test_some_addresses_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every address has its verdict; only the open ones are dialled, so it works, and is said."""
    with HecReceiver() as splunk:
        monkeypatch.setattr(socket, "getaddrinfo", _resolving_to("10.0.0.5", HOST))
        checks = examined(_splunk(f"http://siem.example.com:{splunk.port}"))

    assert checks["name"].message == "siem.example.com is 10.0.0.5, 127.0.0.1"
    assert checks["address"].result == "warning"
    assert checks["address"].message == (
        "10.0.0.5 is a private address, 127.0.0.1 is open by SIEM_ALLOWED_NETWORKS here"
    )
    assert "SIEM_ALLOWED_NETWORKS=10.0.0.5/32" in (checks["address"].hint or "")
    assert checks["test event"].result == "ok"


def test_a_dead_address_among_others_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every delivery loses time by trying it first."""
    with HecReceiver() as splunk:
        monkeypatch.setattr(socket, "getaddrinfo", _resolving_to("127.0.0.2", HOST))
        check = examined(_splunk(f"http://siem.example.com:{splunk.port}"))["connection"]

    assert check.result == "warning"
    assert check.message == f"connected to 127.0.0.1, but: connection refused by 127.0.0.2:{splunk.port}"


@pytest.mark.slow
def test_udp_says_what_it_cannot_know() -> None:
    """There is no connection to make, so none is made up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind((HOST, 0))
        port = receiver.getsockname()[1]
        checks = examined({"type": "syslog_cef", "url": f"syslog+udp://{HOST}:{port}"})
        received = receiver.recv(4096)

    assert checks["connection"].result == "skipped"
    assert "nothing can be known before something is sent" in checks["connection"].message
    assert checks["test event"].result == "ok"
    assert "only a search in the SIEM shows whether it came" in checks["test event"].message
    assert b"|integration.test|" in received


def test_a_long_list_of_addresses_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with fifty addresses does not fill the screen."""
    monkeypatch.setattr(socket, "getaddrinfo", _resolving_to(*(f"10.0.0.{last}" for last in range(50))))
    check = examined(_splunk("https://siem.example.com"))["name"]

    assert check.message.endswith("10.0.0.6, 10.0.0.7 and 42 more")


def test_what_was_found_closed_is_not_dialled() -> None:
    """The guard's verdict ends the examination before anything is sent."""
    with HecReceiver(scripts.ok()) as splunk:
        checks = examined(_splunk(splunk.url), guard=Guard([]))

    assert results(checks)["connection"] == "skipped"
    assert splunk.requests == []


@pytest.mark.parametrize(("count", "result"), [(1, "warning"), (0, "failed")])
def test_who_ends_a_handshake_may_allow_no_further_connection(count: int, result: str) -> None:
    """It has shown nothing of itself; without a connection of workers it is a failure all the same."""

    def hangs_up(visit: Visit) -> None:
        visit.connection.recv(65_536)

    with Endpoint(hangs_up) as endpoint:
        integration = integration_to(_splunk(f"https://{HOST}:{endpoint.port}/"))
        checks = list(examine(integration, LOOPBACK, send_seconds=10, held=lambda _peers: count))
    assert {check.step: check.result.value for check in checks}["tls"] == result


def test_a_certificate_that_is_not_trusted_is_no_lack_of_connections() -> None:
    """It was shown, so that the connection was looked at."""
    tls = server_context(CA.issue_cert(HOST))
    with HecReceiver(tls=tls) as splunk:
        checks = list(
            examine(integration_to(_splunk(splunk.url)), LOOPBACK, send_seconds=10, held=lambda _peers: 1)
        )
    assert {check.step: check.result.value for check in checks}["tls"] == "failed"


def test_a_certificate_with_a_common_name_alone_is_warned_of(tmp_path: Path) -> None:
    """RFC 9525: most clients refuse it; unless it is trusted for being this very one."""
    certificate, secret, ca = signed_common_name("localhost")
    with HecReceiver(tls=context_of(tmp_path, certificate, secret)) as splunk:
        url = splunk.url.replace("127.0.0.1", "localhost")
        by_its_ca = examined(_splunk(url, ca_pem=ca.decode()))["tls"]
        by_itself = examined(_splunk(url, ca_pem=certificate.decode()))["tls"]

    assert by_its_ca.result == "warning"
    assert "in the common name alone" in by_its_ca.message
    assert by_its_ca.hint == "have it reissued, with localhost as a subject alternative name"
    assert by_itself.result == "ok"


def test_a_host_that_nothing_can_be_delivered_to_is_reported_without_dialling() -> None:
    """One that was stored before such hosts were refused."""
    destination = _splunk("https://[fe80::1%25eth0]:8088")
    stored = parse_integration({"id": "int_1", "name": "old", "destination": destination}, stored=True)
    checks = list(examine(stored, Guard(()), send_seconds=1.0))

    assert checks[0].result == "failed"
    assert "IPv6 zone" in checks[0].message
    assert {one.result for one in checks[1:]} == {"skipped"}
