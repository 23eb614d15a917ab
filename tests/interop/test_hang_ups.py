"""What syslog-ng and rsyslog do with frames that they do not expect, and what is claimed of it.

syslog-ng hangs up on what is no counted frame, and on a frame that is longer than its `log-msg-size`: nothing
of what stood in them is kept. rsyslog reads either framing, and cuts what is too long.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.destinations import batches
from tests.destinations.checks.examinations import examined
from tests.destinations.golden_events import queued
from tests.destinations.syslog_cef.test_offenders import ends_of
from tests.fleet import wait_until
from tests.interop.credentials import Credentials
from tests.interop.rsyslog import Rsyslog
from tests.interop.sending import attempt_of, sender_to, soon
from tests.interop.syslog_ng import SyslogNg
from tests.interop.syslog_receiver import SyslogReceiver, Way
from worker.destinations.syslog_cef.sender import SyslogCefSender
from worker.integrations.integration import MAX_RETRIES
from worker.model.deliveries import Status, Verdict
from worker.transports.syslog import stream as syslog_stream

pytestmark = pytest.mark.slow

TCP = Way("tcp", "tcp", "rfc5424", 0, "octet_counted")
TLS = Way("tls", "tls", "rfc5424", 1)
WAYS = (TCP, TLS)
EVENTS = 100
TOO_LONG = {
    "id": "too-long",
    "type": "policy.deny",
    "timestamp": "2026-11-22T10:11:12Z",
    "context": {"detail": "x" * 5_000},
    "reason": "x" * 1_000,
}

each_way = pytest.mark.parametrize("way", WAYS, ids=[way.name for way in WAYS])
confirmed_or_not = pytest.mark.parametrize("confirms", [False, True], ids=["kept", "confirmed"])


class TerseSyslogNg(SyslogNg):
    """One that takes short messages only."""

    longest = 2_048


class TerseRsyslog(Rsyslog):
    """One that takes short messages only."""

    longest = 2_048


@pytest.fixture
def credentials(tmp_path: Path) -> Credentials:
    """Sign the receiver's certificate."""
    return Credentials(tmp_path, trustme.CA())


@pytest.fixture
def syslog_ng(tmp_path: Path, credentials: Credentials) -> Iterator[SyslogReceiver]:
    """Give a syslog-ng whose sources count octets."""
    with TerseSyslogNg(tmp_path / "receiver", WAYS, credentials) as running:
        yield running


@each_way
@confirmed_or_not
def test_the_wrong_framing_counts_as_nothing(syslog_ng: SyslogReceiver, way: Way, *, confirms: bool) -> None:
    """Each batch comes back, and none of its events counts, whatever was agreed."""
    config = syslog_ng.integration(way) | {"framing": "newline", "confirm_by_shutdown": confirms}
    for count in (1, EVENTS):
        with sender_to(config) as sender:
            results = sender.send(attempt := attempt_of(count), soon())

        assert {result.verdict for result in results} == {Verdict.RETRY}
        codes = {result.failure and result.failure.code for result in results}
        assert codes <= {"closed_unconfirmed", "connection_lost"}
        assert max(attempt.request_counts) <= 2
    assert syslog_ng.count(way) == 0


@each_way
@confirmed_or_not
def test_the_doctor_fails_the_wrong_framing(syslog_ng: SyslogReceiver, way: Way, *, confirms: bool) -> None:
    """In plain text and over TLS, and names what may be the matter."""
    config = syslog_ng.integration(way) | {"framing": "newline", "confirm_by_shutdown": confirms}
    check = examined(config)["test event"]

    assert check.result == "failed"
    assert "the other `framing`" in (check.hint or "")


@each_way
@confirmed_or_not
def test_a_message_that_is_too_long_dies_alone(
    syslog_ng: SyslogReceiver, way: Way, monkeypatch: pytest.MonkeyPatch, *, confirms: bool
) -> None:
    """All other events of its batch are kept."""
    # A busy machine may take longer to hang up than a sender waits otherwise.
    monkeypatch.setattr(syslog_stream, "_SHORTEST_MOMENT", 0.5)
    attempt = batches.attempt_of(50)
    attempt.batch.events[20] = queued(json.dumps(TOO_LONG).encode())
    config = syslog_ng.integration(way) | {"confirm_by_shutdown": confirms}
    with sender_to(config) as sender:
        assert isinstance(sender, SyslogCefSender)
        found = ends_of(sender, attempt, MAX_RETRIES)

    assert {event for event, fate in found.items() if fate == Status.DEAD} == {TOO_LONG["id"]}
    wanted = len(attempt.batch.events) - 1
    wait_until(lambda: syslog_ng.count(way) >= wanted, "all others are written")


@each_way
@confirmed_or_not
def test_rsyslog_takes_either_framing(
    tmp_path: Path, credentials: Credentials, way: Way, *, confirms: bool
) -> None:
    """It looks at the first byte of each frame: nothing is amiss, and nothing comes twice."""
    with TerseRsyslog(tmp_path / "receiver", WAYS, credentials) as receiver:
        config = receiver.integration(way) | {"framing": "newline", "confirm_by_shutdown": confirms}
        with sender_to(config | {"max_message_bytes": 2_000}) as sender:
            results = sender.send(attempt_of(EVENTS), soon())

        assert {result.verdict for result in results} == {Verdict.ACCEPTED}
        wait_until(lambda: receiver.count(way) >= EVENTS, "all are written")
        assert receiver.count(way) == EVENTS
