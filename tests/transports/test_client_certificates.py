"""Servers that want a client certificate, or another one than ours, as all three ways report them.

A TLS 1.3 server judges a client when that one has begun to send (RFC 8446, section 4.4.2.4). If it then
closes at once, as most do, the alert is followed by a reset, behind which senders used to lose it.
"""

import datetime as dt
import ssl
from itertools import product

import pytest
import trustme
from pydantic import SecretStr

from tests.transports.certificates import demanding, server_context
from tests.transports.curl.flights import post_all, posting
from tests.transports.endpoint import OK, Endpoint, Visit, answers, answers_once
from tests.transports.ways import SIZES, WAYS, refusal
from worker.integrations import TlsOptions
from worker.model.errors import ClientCertificateRefused, ConnectionLost, TlsFailed
from worker.model.failures import FailureCode
from worker.transports.certificates import certificates_in
from worker.transports.failures import describe
from worker.transports.guard import Guard
from worker.transports.http import HttpTransport

HOST = "127.0.0.1"
LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
every_way = pytest.mark.parametrize("way", WAYS)


def _options(ca: trustme.CA, own: trustme.LeafCert | None) -> TlsOptions:
    pem = ca.cert_pem.bytes().decode()
    if own is None:
        return TlsOptions(ca_pem=pem)
    key = SecretStr(own.private_key_pem.bytes().decode())
    certificate = own.cert_chain_pems[0].bytes().decode()
    return TlsOptions(ca_pem=pem, client_cert_pem=certificate, client_key_pem=key)


def _strict(ca: trustme.CA, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = demanding(server_context(ca.issue_cert(HOST)), ca)
    context.minimum_version = context.maximum_version = version
    return context


@every_way
@pytest.mark.parametrize("version", VERSIONS)
def test_a_certificate_that_is_missing_is_reported(
    guard: Guard, ca: trustme.CA, way: str, version: ssl.TLSVersion
) -> None:
    """However much was sent before the refusal arrived, and however it ended: as what it is."""
    for size, lingers in product(SIZES, (True, False)):
        with Endpoint(answers(), tls=_strict(ca, version), lingers=lingers) as endpoint:
            failed = refusal(way, guard, endpoint.port, _options(ca, None), size)

        assert isinstance(failed, ClientCertificateRefused), (size, lingers)
        assert failed.message == f"{HOST}:{endpoint.port} demands a client certificate", (size, lingers)
        assert failed.hint == "give client_cert_pem and client_key_pem", (size, lingers)
        assert describe(failed).code is FailureCode.CLIENT_CERTIFICATE_REFUSED, (size, lingers)


@every_way
@pytest.mark.parametrize("fault", ["a stranger's", "expired"])
def test_a_certificate_that_is_not_accepted_is_reported(
    guard: Guard, ca: trustme.CA, way: str, fault: str
) -> None:
    """With its own name, the name of its CA, and what the server has against it."""
    own = (
        trustme.CA().issue_cert("worker")
        if fault != "expired"
        else ca.issue_cert("worker", not_after=LONG_AGO)
    )
    options = _options(ca, own)
    [facts] = certificates_in(options.client_cert_pem or "")
    if fault == "expired":
        reason, hint = "it has expired", "(it ends on 2020-01-01)"
    else:
        reason, hint = "it does not know the CA", f"have the server trust {facts.issuer}"
    named = f"does not accept our client certificate of {facts.subject}, signed by {facts.issuer}: "
    for case in product(VERSIONS, SIZES):
        version, size = case
        with Endpoint(answers(), tls=_strict(ca, version), lingers=False) as endpoint:
            failed = refusal(way, guard, endpoint.port, options, size)

        assert isinstance(failed, ClientCertificateRefused), case
        assert failed.message.startswith(f"{HOST}:{endpoint.port} {named}"), case
        assert failed.message.endswith(reason), case
        assert failed.hint.endswith(hint), case


@every_way
@pytest.mark.parametrize("version", VERSIONS)
def test_the_right_certificate_is_accepted(
    guard: Guard, ca: trustme.CA, way: str, version: ssl.TLSVersion
) -> None:
    """What the refusals ask for is enough."""
    options = _options(ca, ca.issue_cert("worker"))
    with Endpoint(answers(), tls=_strict(ca, version), lingers=False) as endpoint:
        assert WAYS[way](guard, HOST, endpoint.port, options, SIZES[0]) == "200"


@every_way
@pytest.mark.parametrize("shows", [True, False])
def test_a_server_that_hangs_up_without_a_word_is_reported(
    guard: Guard,
    ca: trustme.CA,
    way: str,
    shows: bool,  # noqa: FBT001 - pytest passes it by name
) -> None:
    """Some send no alert: then a client certificate is named as what it may be about."""
    context = server_context(ca.issue_cert(HOST))
    context.num_tickets = 0
    options = _options(ca, ca.issue_cert("worker") if shows else None)
    for size in SIZES:
        with Endpoint(lambda visit: visit.connection.close(), tls=context) as endpoint:
            failed = refusal(way, guard, endpoint.port, options, size)

        ending = "closed the connection right behind the TLS handshake, without a word"
        assert failed.message.endswith(ending), size
        assert "client_cert_pem" in failed.hint, size
        assert describe(failed).code is FailureCode.TLS_FAILED, size


def test_a_batch_of_webhooks_costs_one_look(guard: Guard, ca: trustme.CA) -> None:
    """Each request is refused; only once is the server asked why."""
    bodies = [str(number).encode() for number in range(12)]
    with (
        Endpoint(answers(), tls=_strict(ca, VERSIONS[1]), lingers=False) as endpoint,
        posting(guard, endpoint.url(), _options(ca, None)) as many,
    ):
        outcomes = post_all(many, bodies)

        assert {type(outcome) for outcome in outcomes.values()} == {ClientCertificateRefused}
        assert endpoint.accepted <= len(bodies) + 1


def test_a_server_that_has_let_us_in_is_not_asked(guard: Guard, ca: trustme.CA) -> None:
    """It answered a moment ago, so that TLS is not why it hangs up now."""
    visits = iter([OK, b"", b""])

    def behave(visit: Visit) -> None:
        visit.request()
        visit.connection.sendall(next(visits))

    context = server_context(ca.issue_cert(HOST))
    with Endpoint(behave, tls=context) as endpoint:
        transport = HttpTransport(guard, _options(ca, None), connections=1)
        assert transport.get(endpoint.url(), {}, seconds=10).status == 200
        with pytest.raises(ConnectionLost, match="closed the connection without an answer"):
            transport.get(endpoint.url(), {}, seconds=10)
        transport.close()

        assert endpoint.accepted == 2


@pytest.mark.slow
@pytest.mark.parametrize("way", ["hec", "webhook"])
def test_a_server_that_hangs_up_on_a_request_is_no_matter_of_tls(
    guard: Guard, ca: trustme.CA, way: str
) -> None:
    """It lets every client in, and closes once it has read: no setting corrects that."""
    context = server_context(ca.issue_cert(HOST))
    with Endpoint(answers_once(b""), tls=context) as endpoint:
        with pytest.raises(ConnectionLost) as lost:
            WAYS[way](guard, HOST, endpoint.port, _options(ca, None), SIZES[0])
        assert not isinstance(lost.value, TlsFailed)
        assert endpoint.accepted == 2
