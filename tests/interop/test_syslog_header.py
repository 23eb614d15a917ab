"""What rsyslog and syslog-ng read in the header of RFC 3164: which host names, and which moment.

The configuration refuses the names that one of them misreads; here they are asked.
"""

import datetime as dt
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from msgspec.structs import replace

from tests.destinations.golden_events import queued
from tests.fleet import wait_until
from tests.integrations.test_syslog_cef import OTHER_NAMES, PLAIN_NAMES
from tests.interop.credentials import Credentials
from tests.interop.rsyslog import Rsyslog
from tests.interop.sending import attempt_of, sender_to, soon
from tests.interop.syslog_ng import SyslogNg
from tests.interop.syslog_receiver import SyslogReceiver, Way
from worker.destinations.syslog_cef.syslog import SyslogCefFormat, framed
from worker.model.deliveries import Verdict

pytestmark = pytest.mark.slow

WAY = Way("header", "tcp", "rfc3164", 0, "newline")
#: The zone of Kolkata as POSIX writes it: five and a half hours, and the sign is turned round.
ZONE, POSIX_ZONE = "Asia/Kolkata", "IST-5:30"


@pytest.fixture(params=[Rsyslog, SyslogNg])
def receiver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SyslogReceiver]:
    """Give each receiver in turn, which lives in India."""
    kind: type[SyslogReceiver] = request.param
    credentials = Credentials(tmp_path, trustme.CA())
    with kind(tmp_path / "receiver", [WAY], credentials, zone=POSIX_ZONE) as running:
        yield running


def test_every_name_that_may_be_given_is_read(receiver: SyslogReceiver) -> None:
    """As the host of the message, and CEF as what comes behind it."""
    for number, name in enumerate(PLAIN_NAMES, 1):
        with sender_to(receiver.integration(WAY) | {"hostname": name}) as sender:
            [result] = sender.send(attempt_of(1), soon())
        assert result.verdict is Verdict.ACCEPTED
        wait_until(lambda: receiver.count(WAY) >= number, "the message is written")  # noqa: B023 - called at once

    received = receiver.received(WAY)
    assert [one.hostname for one in received] == [*PLAIN_NAMES]
    assert {one.program for one in received} == {"CEF"}


def test_a_name_that_is_refused_is_one_that_somebody_misreads(tmp_path: Path) -> None:
    """Each of them by one of the two at the least, or else the rule would be too strict."""
    misread: set[str] = set()
    for kind in (Rsyslog, SyslogNg):
        directory = tmp_path / kind.__name__
        directory.mkdir()
        with kind(directory / "receiver", [WAY], Credentials(directory, trustme.CA())) as receiver:
            misread |= _misread(receiver, OTHER_NAMES)

    assert misread == {*OTHER_NAMES}


def _misread(receiver: SyslogReceiver, names: tuple[str, ...]) -> set[str]:
    """Send a message under each name, and return those that the receiver reads as anything else."""
    frames = [frame for name in names for frame in framed(_messages(name), counts_octets=False)]
    with socket.create_connection(("127.0.0.1", receiver.ports[WAY.name])) as connection:
        connection.sendall(b"".join(frames))
    wait_until(lambda: receiver.count(WAY) >= len(names), "the messages are written")
    read = [one.hostname for one in receiver.received(WAY)]
    return {name for name, hostname in zip(names, read, strict=True) if name != hostname}


def _messages(hostname: str) -> list[bytes]:
    """Write a message under a name that no configuration lets through."""
    format_ = SyslogCefFormat.of(
        facility="local0", header="rfc3164", hostname=hostname, send_src=True, limit=8000
    )
    return format_.messages([queued(b'{"id":"e","type":"policy.deny","timestamp":"2026-01-02T03:04:05Z"}')])


@pytest.mark.parametrize(("zone", "hours_off"), [(ZONE, 0.0), ("UTC", -5.5)])
def test_a_receiver_reads_the_time_in_its_own_zone(
    receiver: SyslogReceiver, zone: str, hours_off: float
) -> None:
    """The very moment if the integration names that zone; hours before it if it is left at UTC."""
    with sender_to(receiver.integration(WAY) | {"time_zone": zone}) as sender:
        attempt = attempt_of(1)
        now = replace(
            attempt.batch.events[0], time_ms=time.time_ns() // 1_000_000
        )  # receivers add their own year
        attempt.batch.events[0] = now
        sender.send(attempt, soon())
    wait_until(lambda: receiver.count(WAY) >= 1, "the message is written")
    [one] = receiver.received(WAY)

    happened = dt.datetime.fromtimestamp(now.time_ms // 1000, dt.UTC)
    assert dt.datetime.fromisoformat(one.time) - happened == dt.timedelta(hours=hours_off)
