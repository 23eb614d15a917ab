"""rsyslog and syslog-ng take ten thousand events each way in, and what they read is what was published."""

import datetime as dt
from collections import Counter
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import pytest
import trustme

from tests.destinations.syslog_cef.cef_parser import CefEvent, parse_cef
from tests.destinations.syslog_cef.syslog_parser import parse_syslog
from tests.fleet import wait_until
from tests.interop.cef_expectations import (
    HIGH,
    LOW,
    MEDIUM,
    SEVERITIES,
    differences,
    exceeds_a_key,
    is_shortened,
    time_ms,
)
from tests.interop.credentials import Credentials
from tests.interop.fleets import WAIT, all_settled, patient_fleet, tallies_of
from tests.interop.rsyslog import Rsyslog
from tests.interop.syslog_ng import SyslogNg
from tests.interop.syslog_receiver import LOCAL0, Received, SyslogReceiver, Way
from tests.interop.traffic import traffic
from worker.ledger.results import DeliveryCounts
from worker.model.events import EventType

pytestmark = [pytest.mark.slow, pytest.mark.timeout(700)]

EVENTS = 10_000

RECEIVERS: dict[str, type[SyslogReceiver]] = {"rsyslog": Rsyslog, "syslog-ng": SyslogNg}
WAYS = (
    Way("tcp-newline", "tcp", "rfc3164", 0, "newline"),
    Way("tcp-octets", "tcp", "rfc5424", 1, "octet_counted", most=65_000),
    Way("tls-octets", "tls", "rfc5424", 2),
    Way("tls-newline-mutual", "tls", "rfc3164", 3, "newline", mutual=True),
    Way("udp", "udp", "rfc3164", 7),
)
EVERY_WAY = [pytest.param(name, way, id=f"{name}-{way.name}") for name in RECEIVERS for way in WAYS]

#: CEF's severity to syslog's: error, warning, informational.
SYSLOG_SEVERITIES = {HIGH: 3, MEDIUM: 4, LOW: 6}


@dataclass(frozen=True)
class Arrivals:
    """What came of publishing the events once: what each receiver wrote, and what the ledger counts.

    `overflow` are the datagrams that the receiver's own system threw away.
    """

    events: dict[str, dict[str, Any]]
    received: dict[tuple[str, str], list[Received]]
    overflow: dict[tuple[str, str], int]
    tallies: dict[str, DeliveryCounts]


@pytest.fixture(scope="module")
def arrivals(tmp_path_factory: pytest.TempPathFactory) -> Arrivals:
    """Publish all events to one fleet, which delivers them to both receivers, each way at once."""
    directory = tmp_path_factory.mktemp("syslog")
    credentials = Credentials(directory, trustme.CA())
    events = {event["id"]: event for event in traffic(EVENTS)}
    receivers = {name: kind(directory / name, WAYS, credentials) for name, kind in RECEIVERS.items()}
    with receivers["rsyslog"], receivers["syslog-ng"], patient_fleet(directory / "fleet") as fleet:
        for name, receiver in receivers.items():
            for way in WAYS:
                fleet.integrate(
                    **receiver.integration(way), name=f"{name}-{way.name}", event_types=list(EventType)
                )
        fleet.start()
        fleet.publish(events.values())
        wait_until(lambda: all_settled(fleet), "every event is settled", WAIT)
        overflow = _wait_for_all(receivers)
        tallies = tallies_of(fleet)
    received = {
        (name, way.name): receiver.received(way) for name, receiver in receivers.items() for way in WAYS
    }
    return Arrivals(events, received, overflow, tallies)


def _wait_for_all(receivers: dict[str, SyslogReceiver]) -> dict[tuple[str, str], int]:
    """Wait until everything that was sent is written or thrown away; return what was thrown away."""
    for name, receiver in receivers.items():
        for way in WAYS:
            what = f"{name} has written {EVENTS} messages that came by {way.name}"
            wait_until(partial(_has_come, receiver, way), what)
    return {(name, way.name): receiver.overflow(way) for name, receiver in receivers.items() for way in WAYS}


def _has_come(receiver: SyslogReceiver, way: Way) -> bool:
    return receiver.count(way) + receiver.overflow(way) >= EVENTS


@cache
def _read(message: bytes) -> CefEvent:
    """Read CEF; all ways carry the same, so that much of it is read once."""
    return parse_cef(message)


def _cef(way: Way, message: Received) -> bytes:
    """Return the CEF that the receiver saw: in RFC 3164, it takes the letters before the colon for a tag."""
    return (message.message if way.header == "rfc5424" else message.tag + message.message).encode()


@pytest.mark.parametrize(("name", "way"), EVERY_WAY)
def test_every_event_arrives_once(arrivals: Arrivals, name: str, way: Way) -> None:
    """Nothing is missing, nothing came twice, nothing else came; a datagram is lost by its receiver alone."""
    received = arrivals.received[name, way.name]
    ids = Counter(_read(_cef(way, one)).extension["devicePayloadId"] for one in received)

    assert set(ids) - arrivals.events.keys() == set()
    assert {event_id: count for event_id, count in ids.items() if count > 1} == {}
    assert len(arrivals.events.keys() - ids) == arrivals.overflow[name, way.name]


@pytest.mark.parametrize(("name", "way"), EVERY_WAY)
def test_every_field_is_read_as_it_was_published(arrivals: Arrivals, name: str, way: Way) -> None:
    """Names, scripts, escapes, very long texts: a parser that knows nothing of ours reads them all right."""
    read = [_read(_cef(way, one)) for one in arrivals.received[name, way.name]]
    by_id = {one.extension["devicePayloadId"]: one for one in read}
    wrong = {event_id: differences(arrivals.events[event_id], one) for event_id, one in by_id.items()}

    assert {event_id: fields for event_id, fields in wrong.items() if fields} == {}


@pytest.mark.parametrize(("name", "way"), EVERY_WAY)
def test_only_what_is_too_long_is_shortened(arrivals: Arrivals, name: str, way: Way) -> None:
    """No message is longer than agreed, and one that says it was shortened had something too long in it."""
    limit = way.most or (2048 if way.transport == "udp" else 8000)
    received = arrivals.received[name, way.name]
    shortened = [one for one in received if is_shortened(_read(_cef(way, one)))]
    long_ids = {event_id for event_id, event in arrivals.events.items() if _is_long(event, limit)}

    assert max(len(one.raw.encode()) for one in received) <= limit
    assert {_read(_cef(way, one)).extension["devicePayloadId"] for one in shortened} <= long_ids


def _is_long(event: dict[str, Any], limit: int) -> bool:
    """Whether its message may be too long: it says some things twice, and the sentence repeats others."""
    return 4 * len(str(event).encode()) > limit or exceeds_a_key(event)


@pytest.mark.parametrize(("name", "way"), EVERY_WAY)
def test_the_receiver_understands_the_header(arrivals: Arrivals, name: str, way: Way) -> None:
    """Facility, severity, host, time; in RFC 5424 the program and the type: as configured, as it happened."""
    understood = []
    expected = []
    for one in arrivals.received[name, way.name]:
        event = arrivals.events[_read(_cef(way, one)).extension["devicePayloadId"]]
        severity = SYSLOG_SEVERITIES[SEVERITIES[event["type"]]]
        time = dt.datetime.fromisoformat(one.time)
        understood.append((one.facility, one.severity, one.hostname, _moment(time, way), *_words(one, way)))
        moment = _moment(dt.datetime.fromtimestamp(time_ms(event) / 1000, dt.UTC), way)
        words = ("mitrity", event["type"]) if way.header == "rfc5424" else ("CEF",)
        expected.append((str(LOCAL0 + way.local), str(severity), way.name, moment, *words))

    assert understood == expected


def _words(one: Received, way: Way) -> tuple[str, ...]:
    """Return what the receiver takes for the program, and in RFC 5424 for the kind of the message."""
    return (one.program, one.message_id) if way.header == "rfc5424" else (one.program,)


def _moment(time: dt.datetime, way: Way) -> str:
    """Write as much of a time as the header holds: RFC 3164 has neither year nor fractions."""
    if way.header == "rfc5424":
        return time.astimezone(dt.UTC).isoformat(timespec="milliseconds")
    return time.astimezone(dt.UTC).strftime("%m-%d %H:%M:%S")


@pytest.mark.parametrize(("name", "way"), EVERY_WAY)
def test_the_message_is_syslog_to_the_letter(arrivals: Arrivals, name: str, way: Way) -> None:
    """As it came, a message has a header as RFC 3164 (4.1) or RFC 5424 (6.2) has it, then the CEF as read."""
    for one in arrivals.received[name, way.name]:
        message = parse_syslog(one.raw.encode(), way.header)

        assert message.priority == int(one.facility) * 8 + int(one.severity)
        assert message.text == _cef(way, one)


def test_the_ledger_says_the_same(arrivals: Arrivals) -> None:
    """Every integration has every event delivered, at the first attempt."""
    names = [f"int_{name}-{way.name}" for name in RECEIVERS for way in WAYS]

    assert arrivals.tallies == dict.fromkeys(names, DeliveryCounts(delivered=EVENTS))
