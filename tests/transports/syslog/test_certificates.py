"""Syslog over TLS on real sockets: whom we trust, who we say we are, and how refusals are heard."""

import datetime as dt
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.receivers.syslog import SyslogReceiver
from tests.receivers.syslog_behaviours import closes
from tests.transports.certificates import demanding, self_signed, server_context
from tests.transports.syslog.streams import SOON, identified, messages, octets, stream_to, trusting
from tests.transports.test_guard import Resolver
from worker.model.errors import InvalidIntegration, TlsFailed, TransportError

HOST = "127.0.0.1"
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def _failure(url: str, options: dict[str, Any]) -> TransportError:
    with stream_to(url, **options) as stream, pytest.raises(TransportError) as failed:
        stream.send(octets(1), SOON)
    return failed.value


def test_an_expired_certificate_is_reported(ca: trustme.CA) -> None:
    """The message says that the certificate has expired, and what the time is here."""
    past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    with SyslogReceiver(tls=server_context(ca.issue_cert(HOST, not_after=past))) as receiver:
        failed = _failure(receiver.url, trusting(ca))

    assert isinstance(failed, TlsFailed)
    assert "has expired: renew it (here it is 20" in str(failed)


def test_a_certificate_for_another_host_is_reported(ca: trustme.CA) -> None:
    """The name in the url is what the certificate must carry (RFC 5425, 5.2)."""
    with SyslogReceiver(tls=server_context(ca.issue_cert("other.example.com"))) as receiver:
        failed = _failure(receiver.url, trusting(ca))

    assert str(failed).startswith(f"the certificate of 127.0.0.1:{receiver.port} is made out to another name")


def test_a_name_with_a_dot_at_its_end(ca: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> None:
    """The dot means something to the resolver; no certificate carries it."""
    monkeypatch.setattr(socket, "getaddrinfo", Resolver([HOST]))
    with (
        SyslogReceiver(tls=server_context(ca.issue_cert("siem.example.com"))) as receiver,
        stream_to(receiver.url.replace(HOST, "siem.example.com."), **trusting(ca)) as stream,
    ):
        stream.send(octets(1), SOON)

        assert receiver.wait_for(1) == messages(1)


def test_a_self_signed_certificate_is_reported_and_can_be_given(tmp_path: Path) -> None:
    """It is refused with a hint, and the hint works."""
    certificate, key = self_signed()
    (tmp_path / "both.pem").write_bytes(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")

    with SyslogReceiver(tls=context) as receiver:
        failed = _failure(receiver.url, {})
        with stream_to(receiver.url, ca_pem=certificate.decode()) as stream:
            stream.send(octets(1), SOON)

        assert "is self-signed: give that certificate as ca_pem" in str(failed)
        assert receiver.wait_for(1) == messages(1)


def test_an_unknown_ca_is_reported_and_verification_can_be_turned_off(ca: trustme.CA) -> None:
    """The public roots do not vouch for a private CA; with `verify_tls` off no CA has to."""
    with SyslogReceiver(tls=server_context(ca.issue_cert("other.example.com"))) as receiver:
        failed = _failure(receiver.url, {})
        with stream_to(receiver.url, verify_tls=False) as stream:
            stream.send(octets(1), SOON)

        assert "was signed by a CA that is not trusted here" in str(failed)
        assert "give that CA as ca_pem" in str(failed)
        assert receiver.wait_for(1) == messages(1)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("confirms", [False, True])
def test_a_client_certificate_is_presented(
    ca: trustme.CA,
    version: ssl.TLSVersion,
    confirms: bool,  # noqa: FBT001 - pytest passes it by name
) -> None:
    """With the certificate that the receiver demands we are let in."""
    context = demanding(server_context(ca.issue_cert(HOST)), ca)
    context.minimum_version = context.maximum_version = version
    options = identified(ca, ca.issue_cert("worker")) | {"confirm_by_shutdown": confirms}
    with SyslogReceiver(tls=context) as receiver, stream_to(receiver.url, **options) as stream:
        stream.send(octets(1), SOON)

        assert receiver.wait_for(1) == messages(1)


REFUSED = {"none": "demands a client certificate", "a stranger's": "does not accept our client certificate"}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("confirms", [False, True])
@pytest.mark.parametrize("shown", REFUSED)
def test_a_client_that_is_not_let_in_has_sent_nothing(
    ca: trustme.CA,
    version: ssl.TLSVersion,
    confirms: bool,  # noqa: FBT001 - pytest passes it by name
    shown: str,
) -> None:
    """TLS 1.3 refuses after the handshake has ended (RFC 8446, 4.4.2.4): it is reported as what it is."""
    context = demanding(server_context(ca.issue_cert(HOST)), ca)
    context.minimum_version = context.maximum_version = version
    own = trusting(ca) if shown == "none" else identified(ca, trustme.CA().issue_cert("worker"))
    with SyslogReceiver(tls=context) as receiver:
        failed = _failure(receiver.url, own | {"confirm_by_shutdown": confirms})

        assert isinstance(failed, TlsFailed)
        assert REFUSED[shown] in str(failed) or "cipher in common, or it wants a client" in str(failed)
        assert receiver.messages == []


def test_a_server_that_hangs_up_behind_the_handshake_is_reported(ca: trustme.CA) -> None:
    """Some refuse a client without a word."""
    context = server_context(ca.issue_cert(HOST))
    context.num_tickets = 0
    with SyslogReceiver(closes(0), tls=context) as receiver:
        failed = _failure(receiver.url, trusting(ca))

    assert isinstance(failed, TlsFailed)
    assert "closed the connection right behind the TLS handshake" in str(failed)


def test_a_bad_pem_is_reported_before_anything_is_sent() -> None:
    """It is a matter of configuration, and names the field."""
    with (
        SyslogReceiver() as receiver,
        stream_to(receiver.url.replace("syslog:", "syslog+tls:"), ca_pem="no PEM") as stream,
        pytest.raises(InvalidIntegration, match="ca_pem"),
    ):
        stream.send(octets(1), SOON)
