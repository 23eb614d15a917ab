"""nginx in front of a SIEM wants a client certificate: it says so in HTTP, after the handshake went well."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.interop.credentials import Credentials
from tests.interop.nginx import Nginx
from tests.interop.sending import attempt_of, sender_to, soon
from tests.receivers.webhook import WebhookReceiver
from worker.model.deliveries import Verdict
from worker.model.failures import FailureCode

EVENTS = 3
KINDS: dict[str, dict[str, Any]] = {
    "splunk_hec": {"token": "any"},
    "webhook": {},
    "webhook in batches": {"body": "array"},
}


@pytest.fixture
def credentials(tmp_path: Path) -> Credentials:
    """Give nginx a certificate, and a CA of our own."""
    return Credentials(tmp_path, trustme.CA())


@pytest.fixture
def nginx(credentials: Credentials, tmp_path: Path) -> Iterator[Nginx]:
    """Give an nginx that wants a certificate of our CA."""
    with (
        WebhookReceiver() as receiver,
        Nginx(tmp_path / "nginx", receiver.port, credentials, mutual=True) as running,
    ):
        yield running


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shown", ["none", "a stranger's"])
def test_no_event_dies_for_want_of_a_certificate(
    nginx: Nginx, credentials: Credentials, tmp_path: Path, kind: str, shown: str
) -> None:
    """A 400 of nginx is none of the event's: a setting corrects it, which the hint names."""
    options = credentials.options(mutual=False)
    if shown != "none":
        folder = tmp_path / "stranger"
        folder.mkdir()
        strange = Credentials(folder, trustme.CA()).options(mutual=True)
        options = strange | {"ca_pem": options["ca_pem"]}
    destination = {"type": kind.partition(" ")[0], "url": nginx.url, **KINDS[kind], **options}
    with sender_to(destination) as sender:
        results = sender.send(attempt_of(EVENTS), soon())

    failures = {result.failure for result in results}
    assert {result.verdict for result in results} == {Verdict.RETRY}
    assert {one and one.code for one in failures} == {FailureCode.CLIENT_CERTIFICATE_REFUSED}
    assert all("client_cert_pem" in (one.hint if one else "") for one in failures)
    assert any("HTTP 400: it " in (one.message if one else "") for one in failures)
