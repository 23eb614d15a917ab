"""Webhooks over TLS through the whole pipeline: what is trusted arrives, what is not is told."""

import datetime as dt
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.receivers.webhook import WebhookReceiver
from tests.system.conftest import Customer
from tests.transports.certificates import demanding, self_signed, server_context
from worker.model.deliveries import Status

HOST = "127.0.0.1"
CA = trustme.CA()
TRUSTING = {"ca_pem": CA.cert_pem.bytes().decode()}
LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


def _identified() -> dict[str, str]:
    own = CA.issue_cert("worker")
    return TRUSTING | {
        "client_cert_pem": own.cert_chain_pems[0].bytes().decode(),
        "client_key_pem": own.private_key_pem.bytes().decode(),
    }


def _serving(*names: str, **options: Any) -> ssl.SSLContext:
    return server_context(CA.issue_cert(*names, **options))


def _demanding() -> ssl.SSLContext:
    return demanding(_serving(HOST), CA)


@pytest.fixture
def self_signing(tmp_path: Path) -> tuple[ssl.SSLContext, str]:
    """Give a server whose certificate nobody else has signed, and that certificate."""
    certificate, key = self_signed()
    (tmp_path / "both.pem").write_bytes(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    return context, certificate.decode()


def _sent(customer: Customer, tls: ssl.SSLContext, **options: Any) -> tuple[Any, WebhookReceiver]:
    with WebhookReceiver(tls=tls) as endpoint:
        customer.integrate(endpoint.url, type="webhook", max_retries=0, **options)
        customer.publish(customer.events(1))
        return customer.ended(), endpoint


@pytest.mark.parametrize(
    ("serving", "options"),
    [
        (lambda: _serving(HOST), TRUSTING),
        (_demanding, _identified()),
        (lambda: _serving("other.example.com"), {"verify_tls": False}),
    ],
    ids=["custom CA", "mutual TLS", "verification off"],
)
def test_what_is_trusted_arrives(
    customer: Customer, serving: Callable[[], ssl.SSLContext], options: dict[str, Any]
) -> None:
    """With a CA of its own, with a client certificate, or with no questions asked."""
    row, endpoint = _sent(customer, serving(), **options)

    assert (row.status, row.attempts) == (Status.DELIVERED, 1)
    assert endpoint.accepted_ids == [row.event_id]


def test_a_self_signed_certificate_can_be_given(
    customer: Customer, self_signing: tuple[ssl.SSLContext, str]
) -> None:
    """As `ca_pem`, as the message about it advises."""
    context, certificate = self_signing
    row, _ = _sent(customer, context, ca_pem=certificate)

    assert row.status is Status.DELIVERED


@pytest.mark.parametrize(
    ("serving", "options", "words"),
    [
        (lambda: _serving(HOST, not_after=LONG_AGO), TRUSTING, "renew it"),
        (lambda: _serving("other.example.com"), TRUSTING, "give one as tls_server_name"),
        (lambda: _serving(HOST), {}, "give that CA as ca_pem"),
    ],
    ids=["expired", "other host", "unknown CA"],
)
def test_what_is_not_trusted_is_told(
    customer: Customer, serving: Callable[[], ssl.SSLContext], options: dict[str, Any], words: str
) -> None:
    """No event is sent, and the ledger says what to mend."""
    row, endpoint = _sent(customer, serving(), **options)

    assert (row.status, row.error_code) == (Status.RETRYING, "tls_failed")
    assert words in (row.hint or "")
    assert endpoint.requests == []


def test_a_self_signed_certificate_is_told(
    customer: Customer, self_signing: tuple[ssl.SSLContext, str]
) -> None:
    """It is named as such, with the remedy."""
    row, endpoint = _sent(customer, self_signing[0])

    assert "is self-signed" in (row.error or "")
    assert row.hint == "give that certificate as ca_pem"
    assert endpoint.requests == []
