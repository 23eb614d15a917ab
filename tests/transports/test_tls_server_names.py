"""Whose certificate a server shows: the name that it must carry, Splunk's own, chains with a gap.

Over each of the three ways: HEC's, the webhooks' and syslog's.
"""

import ssl
from pathlib import Path

import pytest
import trustme

from tests.transports.certificates import by_common_name, context_of, server_context, splunks_own
from tests.transports.endpoint import Endpoint, answers
from tests.transports.ways import WAYS, refusal
from worker.integrations import TlsOptions
from worker.model.errors import TlsFailed
from worker.transports.certificates import certificates_in
from worker.transports.guard import Guard
from worker.transports.tls_failures import SPLUNK_NAME

HOST = "127.0.0.1"
every_way = pytest.mark.parametrize("way", WAYS)


def _asking(context: ssl.SSLContext) -> list[str | None]:
    """Note the names that clients ask for (SNI)."""
    asked: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    return asked


def _pem(ca: trustme.CA) -> str:
    return ca.cert_pem.bytes().decode()


def _name(ca: trustme.CA) -> str:
    return certificates_in(_pem(ca))[0].subject


@every_way
def test_a_certificate_is_verified_for_the_name_that_is_given(guard: Guard, ca: trustme.CA, way: str) -> None:
    """The connection goes where the url says, the server is asked for the name, and must prove it."""
    context = server_context(ca.issue_cert("siem.internal", "siem"))
    asked = _asking(context)
    names = ["siem.internal", "SIEM.Internal", "siem.internal.", "siem"]
    with Endpoint(answers(), tls=context) as endpoint:
        for name in names:
            options = TlsOptions(ca_pem=_pem(ca), tls_server_name=name)
            assert WAYS[way](guard, HOST, endpoint.port, options, 100) == "200", name

    assert [str(one).lower() for one in asked] == [name.lower().rstrip(".") for name in names]


@every_way
def test_the_name_that_is_given_may_be_an_address(guard: Guard, ca: trustme.CA, way: str) -> None:
    """No address is ever asked for (RFC 6066, section 3), but a certificate may carry one."""
    context = server_context(ca.issue_cert("192.0.2.7"))
    asked = _asking(context)
    options = TlsOptions(ca_pem=_pem(ca), tls_server_name="192.0.2.7")
    with Endpoint(answers(), tls=context) as endpoint:
        assert WAYS[way](guard, "localhost", endpoint.port, options, 100) == "200"

    assert asked == [None]


@every_way
def test_the_urls_host_no_longer_counts(guard: Guard, ca: trustme.CA, way: str) -> None:
    """A certificate for it is refused: an integration that names another server wants no other."""
    with Endpoint(answers(), tls=server_context(ca.issue_cert(HOST))) as endpoint:
        failed = refusal(
            way, guard, endpoint.port, TlsOptions(ca_pem=_pem(ca), tls_server_name="siem.internal")
        )

    assert failed.message == (
        f"the certificate of {HOST}:{endpoint.port} is made out to another name than siem.internal "
        f"(it carries {HOST})"
    )
    assert failed.hint == "give a name that it carries as tls_server_name"


@pytest.mark.parametrize("way", ["hec", "webhook"])
def test_the_server_is_addressed_as_in_the_url(guard: Guard, ca: trustme.CA, way: str) -> None:
    """The header Host stays what it was: proxies choose by it."""
    options = TlsOptions(ca_pem=_pem(ca), tls_server_name="siem.internal")
    with Endpoint(answers(), tls=server_context(ca.issue_cert("siem.internal"))) as endpoint:
        WAYS[way](guard, "localhost", endpoint.port, options, 100)

        assert f"\r\nHost: localhost:{endpoint.port}\r\n".encode() in endpoint.requests[0]


@every_way
def test_a_wrong_name_can_be_given(guard: Guard, ca: trustme.CA, way: str) -> None:
    """The refusal shows the names that would do, and where to write one; what it says works."""
    with Endpoint(
        answers(), tls=server_context(ca.issue_cert("siem.internal", "siem.example.com"))
    ) as endpoint:
        failed = refusal(way, guard, endpoint.port, TlsOptions(ca_pem=_pem(ca)))
        corrected = TlsOptions(ca_pem=_pem(ca), tls_server_name="siem.example.com")

        assert "(it carries siem.internal, siem.example.com)" in failed.message
        assert failed.hint == "use a name that it carries in the url, or give one as tls_server_name"
        assert WAYS[way](guard, HOST, endpoint.port, corrected, 100) == "200"


@every_way
@pytest.mark.parametrize("sends_ca", [True, False])
def test_splunks_own_certificate_is_known(
    guard: Guard,
    tmp_path: Path,
    way: str,
    sends_ca: bool,  # noqa: FBT001 - pytest passes it by name
) -> None:
    """Whatever was given so far, one sentence names all that is needed, and that works at once."""
    certificate, key, ca = splunks_own()
    context = context_of(tmp_path, key, certificate, ca if sends_ca else b"")
    with Endpoint(answers(), tls=context) as endpoint:
        for given, before in {"nothing": None, "its CA": ca.decode(), "itself": certificate.decode()}.items():
            failed = refusal(way, guard, endpoint.port, TlsOptions(ca_pem=before))

            shows = f"{HOST}:{endpoint.port} shows the certificate that Splunk makes for itself"
            assert shows in failed.message, given
            needed = "server.pem of this very Splunk as ca_pem, and SplunkServerDefaultCert as"
            assert needed in failed.hint, given

        corrected = TlsOptions(ca_pem=certificate.decode(), tls_server_name=SPLUNK_NAME)
        assert WAYS[way](guard, HOST, endpoint.port, corrected, 100) == "200"


@every_way
def test_a_common_name_counts_where_there_is_no_other(guard: Guard, tmp_path: Path, way: str) -> None:
    """As OpenSSL and libcurl take it; RFC 9525 no longer does, but such certificates are many."""
    certificate, key = by_common_name("localhost")
    with Endpoint(answers(), tls=context_of(tmp_path, certificate, key)) as endpoint:
        assert (
            WAYS[way](guard, "localhost", endpoint.port, TlsOptions(ca_pem=certificate.decode()), 100)
            == "200"
        )


def test_an_address_as_common_name_counts_for_nothing(guard: Guard, tmp_path: Path) -> None:
    """OpenSSL looks for addresses among the alternative names alone: no setting of ours makes it do."""
    certificate, key = by_common_name(HOST)
    with Endpoint(answers(), tls=context_of(tmp_path, certificate, key)) as endpoint:
        failed = refusal("syslog", guard, endpoint.port, TlsOptions(ca_pem=certificate.decode()))

    assert f"names no host: its common name is {HOST}, which does not count" in failed.message
    assert failed.hint == f"have it reissued with {HOST} as subject alternative name"


@every_way
def test_another_splunks_certificate_is_distinguished_from_the_one_that_is_given(
    guard: Guard, tmp_path: Path, way: str
) -> None:
    """It has the same name, and was renewed, or is an impostor's."""
    certificate, key, ca = splunks_own()
    options = TlsOptions(ca_pem=splunks_own()[0].decode(), tls_server_name=SPLUNK_NAME)
    with Endpoint(answers(), tls=context_of(tmp_path, key, certificate, ca)) as endpoint:
        failed = refusal(way, guard, endpoint.port, options)

    assert "and not the one in ca_pem" in failed.message
    assert "server.pem of this very Splunk as ca_pem" in failed.hint


@every_way
def test_an_intermediate_that_is_missing_is_named(guard: Guard, tmp_path: Path, way: str) -> None:
    """The root is given, the server sends only its own certificate: what lies in between corrects it."""
    root = trustme.CA()
    between = root.create_child_ca()
    leaf = between.issue_cert(HOST)
    alone = context_of(tmp_path, leaf.private_key_pem.bytes(), leaf.cert_chain_pems[0].bytes())
    with Endpoint(answers(), tls=alone) as endpoint:
        failed = refusal(way, guard, endpoint.port, TlsOptions(ca_pem=_pem(root)))
        corrected = TlsOptions(ca_pem=_pem(root) + _pem(between))

        assert f"that of {_name(between)} is neither there nor sent by the server" in failed.message
        assert _name(root) not in failed.message
        assert failed.hint.startswith("have the server send its whole chain, or add the certificate of ")
        assert WAYS[way](guard, HOST, endpoint.port, corrected, 100) == "200"


@every_way
def test_a_ca_that_was_renewed_is_reported(guard: Guard, way: str) -> None:
    """The one in ca_pem has the name of the one that signed, and another key."""
    old, new = (trustme.CA(organization_name="Ours", organization_unit_name="CA") for _ in range(2))
    with Endpoint(answers(), tls=server_context(new.issue_cert(HOST))) as endpoint:
        failed = refusal(way, guard, endpoint.port, TlsOptions(ca_pem=_pem(old)))

    assert f"leads to {_name(new)}, but to another key of it" in failed.message
    assert failed.hint == f"give the present certificate of {_name(new)} as ca_pem"


@every_way
def test_a_root_that_is_missing_is_named(guard: Guard, ca: trustme.CA, way: str) -> None:
    """The server sends the intermediate, so it is the root that is not trusted here."""
    root = trustme.CA()
    between = root.create_child_ca()
    with Endpoint(answers(), tls=server_context(between.issue_cert(HOST))) as endpoint:
        failed = refusal(way, guard, endpoint.port, TlsOptions(ca_pem=_pem(ca)))

    assert f"that of {_name(root)} is neither there nor sent by the server" in failed.message
    assert _name(between) not in failed.message


@every_way
def test_a_root_that_is_sent_and_not_trusted_is_named(guard: Guard, tmp_path: Path, way: str) -> None:
    """Some servers send it along, which makes it no more trusted."""
    root = trustme.CA()
    leaf = root.issue_cert(HOST)
    pems = (leaf.private_key_pem, leaf.cert_chain_pems[0], root.cert_pem)
    with Endpoint(answers(), tls=context_of(tmp_path, *(one.bytes() for one in pems))) as endpoint:
        failed = refusal(way, guard, endpoint.port, TlsOptions())

        assert "was signed by a CA that is not trusted here, " in failed.message
        assert _name(root) in failed.message
        assert failed.hint == "give that CA as ca_pem"
        assert WAYS[way](guard, HOST, endpoint.port, TlsOptions(ca_pem=_pem(root)), 100) == "200"


@every_way
def test_what_would_be_complained_of_next_is_said_at_once(guard: Guard, ca: trustme.CA, way: str) -> None:
    """An unknown CA and another name: one round of corrections is enough."""
    with Endpoint(answers(), tls=server_context(ca.issue_cert("siem.internal"))) as endpoint:
        failed = refusal(way, guard, endpoint.port, TlsOptions())
        corrected = TlsOptions(ca_pem=_pem(ca), tls_server_name="siem.internal")

        assert isinstance(failed, TlsFailed)
        assert failed.hint.endswith(", and siem.internal, the name that it carries, as tls_server_name")
        assert WAYS[way](guard, HOST, endpoint.port, corrected, 100) == "200"
