"""What a receiver's silence, its closing and its refusal are worth, by rsyslog's and syslog-ng's own manners.

Whether they close in answer to our end of the connection decides whether a batch counts as received; whether
they would have us at all is reported only after the handshake, by when much may have been sent.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.fleet import wait_until
from tests.interop.credentials import Credentials
from tests.interop.rsyslog import Rsyslog
from tests.interop.sending import attempt_of, sender_to, soon
from tests.interop.syslog_ng import SyslogNg
from tests.interop.syslog_receiver import SyslogReceiver, Way
from worker.model.deliveries import Assurance, Verdict
from worker.transports.syslog import pool as syslog_watch

pytestmark = pytest.mark.slow

TCP = Way("tcp", "tcp", "rfc3164", 0, "newline")
TLS = Way("tls", "tls", "rfc5424", 1)
MUTUAL = Way("mutual", "tls", "rfc5424", 2, mutual=True)
WAYS = (TCP, TLS, MUTUAL)
EVENTS = 200

each_way = pytest.mark.parametrize("way", WAYS, ids=[way.name for way in WAYS])


@pytest.fixture(params=[Rsyslog, SyslogNg])
def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SyslogReceiver]:
    """Give each receiver in turn."""
    kind: type[SyslogReceiver] = request.param
    with kind(tmp_path / "receiver", WAYS, Credentials(tmp_path, trustme.CA())) as running:
        yield running


@each_way
def test_it_closes_in_answer_to_our_end(receiver: SyslogReceiver, way: Way) -> None:
    """Both do, over TCP and TLS: each batch counts as received, and is there."""
    for number in (1, 2):
        with sender_to(receiver.integration(way) | {"confirm_by_shutdown": True}) as sender:
            results = sender.send(attempt_of(EVENTS), soon())

        assert {(result.verdict, result.assurance, result.failure) for result in results} == {
            (Verdict.ACCEPTED, Assurance.RECEIVED, None)
        }
        wait_until(lambda: receiver.count(way) >= number * EVENTS, "the batch is written")  # noqa: B023 - called at once
        assert receiver.count(way) == number * EVENTS


@each_way
def test_a_connection_that_is_kept_proves_no_more_than_sending(receiver: SyslogReceiver, way: Way) -> None:
    """Without the closing, what is claimed is that the receiver's system has the bytes."""
    with sender_to(receiver.integration(way)) as sender:
        results = [result for _ in range(2) for result in sender.send(attempt_of(EVENTS), soon())]
        wait_until(lambda: receiver.count(way) >= 2 * EVENTS, "both batches are written")

    assert {(result.verdict, result.assurance) for result in results} == {(Verdict.ACCEPTED, Assurance.SENT)}
    assert receiver.count(way) == 2 * EVENTS


@each_way
def test_a_restart_between_two_batches_loses_nothing(
    receiver: SyslogReceiver, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection that the old process closed is noticed before the next batch goes into it.

    As after a rest: an end just behind a batch would take that back.
    """
    monkeypatch.setattr(syslog_watch, "SUSPICIOUS", 0.0)
    with sender_to(receiver.integration(way)) as sender:
        before = sender.send(attempt_of(EVENTS), soon())
        wait_until(lambda: receiver.count(way) >= EVENTS, "the first batch is written")
        receiver.program.stop()
        receiver.program.start()
        after = sender.send(attempt_of(EVENTS), soon())
        wait_until(lambda: receiver.count(way) >= 2 * EVENTS, "the second batch is written")

    assert {result.verdict for result in (*before, *after)} == {Verdict.ACCEPTED}
    assert receiver.count(way) == 2 * EVENTS


@pytest.mark.parametrize("confirm", [True, False], ids=["confirmed", "kept"])
def test_without_the_certificate_that_it_demands_nothing_counts(
    receiver: SyslogReceiver, *, confirm: bool
) -> None:
    """TLS 1.3 refuses us after our handshake has ended, and to OpenSSL a refusal ends a connection well."""
    config = receiver.integration(MUTUAL) | {"confirm_by_shutdown": confirm}
    for option in ("client_cert_pem", "client_key_pem"):
        del config[option]
    for _ in range(5):
        with sender_to(config) as sender:
            results = sender.send(attempt_of(EVENTS), soon())

        assert {result.verdict for result in results} == {Verdict.RETRY}
        codes = {result.failure and result.failure.code for result in results}
        assert codes == {"client_certificate_refused"}
    assert receiver.count(MUTUAL) == 0
