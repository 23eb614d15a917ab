"""A destination that moves under traffic: real workers, nginx, rsyslog, and the system's look-ups.

The name leads to A, then to B, while A stays up and its connections stand. A look-up every 15 s finds the
move, long before the three minutes are over that a connection may live at the least.
"""

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest
import trustme

from tests.fleet import Fleet, wait_until
from tests.interop.credentials import Credentials
from tests.interop.fleets import WAIT, all_settled, patient_fleet, tallies_of
from tests.interop.hosts_file import HOST, HostsFile
from tests.interop.nginx import Nginx
from tests.interop.rsyslog import Rsyslog
from tests.interop.syslog_receiver import SyslogReceiver, Way
from tests.receivers.acks import AckSplunk
from tests.receivers.hec import HecReceiver
from tests.receivers.webhook import WebhookReceiver
from worker.model.events import EventType

pytestmark = [pytest.mark.slow, pytest.mark.timeout(700)]

A, B = "127.0.0.1", "127.0.0.2"
WAYS = (Way("tcp", "tcp", "rfc5424", 0, "newline"), Way("tls", "tls", "rfc5424", 1))
#: A look-up every 15 s, and time for a busy machine; what only grows old would take three minutes at least.
SOON = 90.0
#: Between two events, in seconds: traffic never pauses.
PAUSE = 0.02
_ID = re.compile(rb"moving-[0-9]+")

Ids = Callable[[], list[bytes]]


@dataclass(frozen=True)
class Destination:
    """The ids of the events that came to A and to B, in order, with duplicates."""

    name: str
    at_a: Ids
    at_b: Ids


def _in_file(receiver: SyslogReceiver, way: Way) -> Ids:
    path = receiver.file_of(way)
    return lambda: _ID.findall(b"\n".join(_externals(path.read_bytes()))) if path.exists() else []


def _externals(lines: bytes) -> list[bytes]:
    """Return one id of each line: a message may name it more than once."""
    return [found[0] for line in lines.splitlines() if (found := _ID.search(line))]


def _posted(receiver: HecReceiver) -> Ids:
    return lambda: [one for request in receiver.posts for one in _ID.findall(request.body)]


@contextmanager
def _destinations(fleet: Fleet, directory: Path, credentials: Credentials) -> Iterator[list[Destination]]:
    """Give each destination at both addresses, with its integration."""
    tls = credentials.options(mutual=False)
    every = list(EventType)
    with ExitStack() as stack:
        one, other = WebhookReceiver(host=A), WebhookReceiver(host=B)
        first = Nginx(directory / "nginx-a", one.port, credentials)
        second = Nginx(directory / "nginx-b", other.port, credentials, beside=first)
        early = Rsyslog(directory / "rsyslog-a", WAYS, credentials)
        late = Rsyslog(directory / "rsyslog-b", WAYS, credentials, beside=early)
        splunk = HecReceiver(AckSplunk(), host=A)
        moved = HecReceiver(AckSplunk(), host=B, port=splunk.port)
        for receiver in (one, other, first, second, early, late, splunk, moved):
            stack.enter_context(receiver)
        url = f"https://{HOST}:{first.port}/webhook"
        fleet.integrate(url, "webhook", type="webhook", event_types=every, timeout_seconds=15, **tls)
        url = f"http://{HOST}:{splunk.port}/services/collector/event"
        fleet.integrate(url, "hec", event_types=every, use_ack=True, timeout_seconds=15)
        for way in WAYS:
            options = early.integration(way) | {"event_types": every, "timeout_seconds": 15}
            scheme = str(options.pop("url")).partition(":")[0]
            fleet.integrate(f"{scheme}://{HOST}:{early.ports[way.name]}", way.name, **options)
        yield [
            Destination("webhook", _posted(one), _posted(other)),
            Destination("hec", _posted(splunk), _posted(moved)),
            *(Destination(way.name, _in_file(early, way), _in_file(late, way)) for way in WAYS),
        ]


class Traffic:
    """Publishes one event after the other while its `with` block lasts; counts how many there were."""

    def __init__(self, fleet: Fleet) -> None:
        """Take the fleet to publish to."""
        self.published = 0
        self._fleet = fleet
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._publish)

    def _publish(self) -> None:
        while not self._over.wait(PAUSE):
            event = {"id": f"moving-{self.published}", "type": "policy.deny"}
            self._fleet.publish([event | {"timestamp": "2026-01-02T03:04:05Z"}])
            self.published += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def test_every_destination_is_followed_and_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    """Soon each new event goes to B alone; each that was published came once, to A or to B."""
    hosts = HostsFile(tmp_path, [A])
    credentials = Credentials(tmp_path, trustme.CA(), HOST)
    with patient_fleet(tmp_path / "fleet") as fleet:
        with _destinations(fleet, tmp_path, credentials) as destinations:
            _run(fleet, hosts, destinations)
        assert {(one.dead, one.retried) for one in tallies_of(fleet).values()} == {(0, 0)}


def _counts(destinations: list[Destination]) -> dict[str, tuple[int, int]]:
    return {one.name: (len(one.at_a()), len(one.at_b())) for one in destinations}


def _wait_for_b(destinations: list[Destination], most: int) -> None:
    try:
        wait_until(lambda: all(at_b > most for _, at_b in _counts(destinations).values()), "B", SOON)
    except AssertionError as error:
        raise AssertionError(f"B gets more than {most}; (at A, at B): {_counts(destinations)}") from error


def _stays_at_b(destinations: list[Destination]) -> bool:
    """Return whether A gets none of the next 300 events: what was under way at the move may come late."""
    before = _counts(destinations)
    _wait_for_b(destinations, max(at_b for _, at_b in before.values()) + 300)
    return [at_a for at_a, _ in _counts(destinations).values()] == [at_a for at_a, _ in before.values()]


def _run(fleet: Fleet, hosts: HostsFile, destinations: list[Destination]) -> None:
    fleet.start("router", "recorder")
    fleet.environment |= hosts.environment
    fleet.start("worker")
    with Traffic(fleet) as traffic:
        wait_until(lambda: all(len(one.at_a()) > 50 for one in destinations), "A gets events", WAIT)
        assert not any(one.at_b() for one in destinations)
        hosts.lead_to([B])
        _wait_for_b(destinations, 50)
        _wait_for_b(destinations, 200)
        wait_until(lambda: _stays_at_b(destinations), "A gets nothing more while B does", SOON)
    wait_until(lambda: all_settled(fleet), "every event is settled", WAIT)
    expected = Counter(b"moving-%d" % number for number in range(traffic.published))
    for one in destinations:
        wait_until(lambda: len(one.at_a()) + len(one.at_b()) >= len(expected), one.name)  # noqa: B023 - called at once
        assert Counter([*one.at_a(), *one.at_b()]) == expected, one.name
