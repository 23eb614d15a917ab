"""Syslog over TLS through the whole pipeline: whose certificates are taken, and how others are told of."""

import datetime as dt
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.receivers.syslog import SyslogReceiver
from tests.system.conftest import Customer
from tests.transports.certificates import demanding, self_signed, server_context
from worker.ledger.results import DeliveryRow
from worker.model.deliveries import Status

HOST = "127.0.0.1"


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    """Sign the certificates of receivers."""
    return trustme.CA()


def trusting(ca: trustme.CA) -> dict[str, Any]:
    """Return the options of an integration that trusts the CA alone."""
    return {"ca_pem": ca.cert_pem.bytes().decode()}


def showing(own: trustme.LeafCert) -> dict[str, Any]:
    """Return the options of an integration that shows this certificate."""
    return {
        "client_cert_pem": own.cert_chain_pems[0].bytes().decode(),
        "client_key_pem": own.private_key_pem.bytes().decode(),
    }


def row_of_one(customer: Customer, siem: SyslogReceiver, **options: Any) -> DeliveryRow:
    """Publish an event to the receiver; return its row once it is delivered, or held."""
    customer.integrate(siem.url, max_retries=1, **options)
    customer.publish(customer.events(1))
    return customer.ended()


@pytest.mark.parametrize("framing", [None, "newline"])
def test_a_certificate_of_the_custom_ca(customer: Customer, ca: trustme.CA, framing: str | None) -> None:
    """The integration's CA vouches for it; octets are counted unless newlines are asked for."""
    with SyslogReceiver(tls=server_context(ca.issue_cert(HOST)), framing=framing) as siem:
        row = row_of_one(customer, siem, framing=framing, **trusting(ca))

        assert (row.status, row.attempts) == (Status.DELIVERED, 1)
        assert len(siem.wait_for(1)) == 1


def test_an_expired_certificate(customer: Customer, ca: trustme.CA) -> None:
    """Nothing is sent, and the row says what to renew."""
    past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    with SyslogReceiver(tls=server_context(ca.issue_cert(HOST, not_after=past))) as siem:
        row = row_of_one(customer, siem, **trusting(ca))

        assert (row.status, row.error_code) == (Status.RETRYING, "tls_failed")
        assert "has expired" in (row.error or "")
        assert "renew it" in (row.hint or "")
        assert siem.messages == []


def test_a_certificate_for_another_host(customer: Customer, ca: trustme.CA) -> None:
    """Nothing is sent, and the row names the url."""
    with SyslogReceiver(tls=server_context(ca.issue_cert("other.example.com"))) as siem:
        row = row_of_one(customer, siem, **trusting(ca))

        assert (row.status, row.error_code) == (Status.RETRYING, "tls_failed")
        assert "is made out to another name" in (row.error or "")
        assert siem.messages == []


def test_a_self_signed_certificate(customer: Customer, tmp_path: Path) -> None:
    """Nothing is sent, and the row says to give that certificate as CA."""
    certificate, key = self_signed()
    (tmp_path / "both.pem").write_bytes(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    with SyslogReceiver(tls=context) as siem:
        row = row_of_one(customer, siem)

        assert (row.status, row.error_code) == (Status.RETRYING, "tls_failed")
        assert "is self-signed" in (row.error or "")
        assert row.hint == "give that certificate as ca_pem"
        assert siem.messages == []


def test_mutual_tls(customer: Customer, ca: trustme.CA) -> None:
    """With the certificate that the receiver demands, events are delivered."""
    context = demanding(server_context(ca.issue_cert(HOST)), ca)
    with SyslogReceiver(tls=context) as siem:
        row = row_of_one(customer, siem, **trusting(ca), **showing(ca.issue_cert("worker")))

        assert (row.status, row.attempts) == (Status.DELIVERED, 1)
        assert len(siem.wait_for(1)) == 1


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("shown", [False, True])
def test_mutual_tls_refused(
    customer: Customer,
    ca: trustme.CA,
    version: ssl.TLSVersion,
    shown: bool,  # noqa: FBT001 - pytest passes it by name
) -> None:
    """Without a certificate, or with a stranger's: nothing counts as sent, though TLS 1.3 says so late."""
    context = demanding(server_context(ca.issue_cert(HOST)), ca)
    context.minimum_version = context.maximum_version = version
    own = showing(trustme.CA().issue_cert("worker")) if shown else {}
    with SyslogReceiver(tls=context) as siem:
        row = row_of_one(customer, siem, **trusting(ca), **own)

        assert (row.status, row.error_code) == (Status.RETRYING, "client_certificate_refused")
        assert "client certificate" in (row.error or "")
        assert siem.messages == []


def test_confirmed_over_tls(customer: Customer, ca: trustme.CA) -> None:
    """The receiver answers our close_notify by its own."""
    with SyslogReceiver(tls=server_context(ca.issue_cert(HOST))) as siem:
        row = row_of_one(customer, siem, confirm_by_shutdown=True, **trusting(ca))

        assert (row.status, row.attempts) == (Status.DELIVERED, 1)
        assert len(siem.messages) == 1
