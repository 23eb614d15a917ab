"""Syslog headers and frames: RFC 3164, RFC 5424 and RFC 6587, byte by byte."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.destinations.golden_events import golden_event, queued
from tests.destinations.syslog_cef.syslog_parser import SyslogMessage, parse_syslog, read_frames
from worker.demo.syslog_receiver import counted_frame, newline_frame
from worker.destinations.syslog_cef.syslog import SyslogCefFormat, framed
from worker.integrations.syslog_cef import time_zone
from worker.model.events import EventType, QueuedEvent
from worker.samples import sample_lines

#: RFC 5424, 6.2.1: facility times eight plus severity; High is an error, Medium a warning, Low informational.
PRIORITIES = {
    "local0": (131, 132, 134),
    "local1": (139, 140, 142),
    "local2": (147, 148, 150),
    "local3": (155, 156, 158),
    "local4": (163, 164, 166),
    "local5": (171, 172, 174),
    "local6": (179, 180, 182),
    "local7": (187, 188, 190),
}


def format_of(header: str = "rfc3164", facility: str = "local0", zone: dt.tzinfo = dt.UTC) -> SyslogCefFormat:
    """Make the format of an integration that is otherwise the default."""
    return SyslogCefFormat.of(
        facility=facility, header=header, hostname="mitrity-cp", send_src=True, limit=8000, zone=zone
    )


def milliseconds(moment: str) -> int:
    """Return the milliseconds since 1970 of a moment in UTC."""
    since_1970 = dt.datetime.fromisoformat(f"{moment}+00:00") - dt.datetime.fromtimestamp(0, dt.UTC)
    return since_1970 // dt.timedelta(milliseconds=1)


def header_at(time_ms: int, header: str, zone: dt.tzinfo = dt.UTC) -> SyslogMessage:
    """Format an event that happened then, and read its header."""
    (message,) = format_of(header, zone=zone).messages([QueuedEvent("e", "policy.deny", time_ms, 0, b"{}")])
    return parse_syslog(message, header)


@pytest.mark.parametrize("header", ["rfc3164", "rfc5424"])
def test_priorities(header: str) -> None:
    """RFC 5424, 6.2.1, for every facility that may be chosen, and each of the three severities in use."""
    events = [golden_event(event_type) for event_type in ("policy.deny", "policy.alert", "policy.allow")]
    messages = {facility: format_of(header, facility).messages(events) for facility in PRIORITIES}

    assert {
        facility: tuple(parse_syslog(message, header).priority for message in three)
        for facility, three in messages.items()
    } == PRIORITIES


def test_the_header_of_rfc3164() -> None:
    """RFC 3164, 4.1: the day is padded with a blank, and CEF follows the host at once."""
    (message,) = format_of().messages([golden_event("policy.deny")])

    assert message.startswith(
        b"<131>Jan  2 03:04:05 mitrity-cp CEF:0|MITRITY|MITRITY Platform|1.0|policy.deny|"
    )


def test_the_header_of_rfc5424() -> None:
    """RFC 5424, 6: version, time, host, application, no process, the type as MSGID, no data, no mark."""
    (message,) = format_of("rfc5424").messages([golden_event("policy.deny")])

    assert message.startswith(
        b"<131>1 2026-01-02T03:04:05.678Z mitrity-cp mitrity - policy.deny - CEF:0|MITRITY|MITRITY Platform|"
    )


def test_the_message_id_is_the_type() -> None:
    """RFC 5424, 6.2.7: at most 32 printable characters, which all our types are."""
    messages = format_of("rfc5424").messages([golden_event(event_type) for event_type in EventType])

    assert [parse_syslog(message, "rfc5424").message_id for message in messages] == [*EventType]


def test_the_time_is_the_events_own() -> None:
    """In UTC: English months whatever the locale (RFC 3164, 4.1.2), milliseconds (RFC 5424, 6.2.3)."""
    for moment, rfc3164, rfc5424 in [
        ("1970-01-01T00:00:00.000", "Jan  1 00:00:00", "1970-01-01T00:00:00.000Z"),
        ("2024-02-29T23:59:59.999", "Feb 29 23:59:59", "2024-02-29T23:59:59.999Z"),
        ("2026-03-09T09:08:07.006", "Mar  9 09:08:07", "2026-03-09T09:08:07.006Z"),
        ("2026-04-10T10:00:00.100", "Apr 10 10:00:00", "2026-04-10T10:00:00.100Z"),
        ("2026-05-31T00:00:00.000", "May 31 00:00:00", "2026-05-31T00:00:00.000Z"),
        ("2026-06-01T00:00:00.000", "Jun  1 00:00:00", "2026-06-01T00:00:00.000Z"),
        ("2026-07-01T00:00:00.000", "Jul  1 00:00:00", "2026-07-01T00:00:00.000Z"),
        ("2026-08-01T00:00:00.000", "Aug  1 00:00:00", "2026-08-01T00:00:00.000Z"),
        ("2026-09-01T00:00:00.000", "Sep  1 00:00:00", "2026-09-01T00:00:00.000Z"),
        ("2026-10-01T00:00:00.000", "Oct  1 00:00:00", "2026-10-01T00:00:00.000Z"),
        ("2026-11-01T00:00:00.000", "Nov  1 00:00:00", "2026-11-01T00:00:00.000Z"),
        ("9999-12-31T23:59:59.999", "Dec 31 23:59:59", "9999-12-31T23:59:59.999Z"),
    ]:
        time_ms = milliseconds(moment)

        assert header_at(time_ms, "rfc3164").time == rfc3164, moment
        assert header_at(time_ms, "rfc5424").time == rfc5424, moment


def test_the_time_of_rfc3164_is_in_the_zone_of_its_receiver() -> None:
    """Summer time included, at its very beginning and end; RFC 5424 says its zone and stays UTC."""
    for name, moment, written in [
        ("Europe/Berlin", "2026-01-02T23:30:00", "Jan  3 00:30:00"),
        ("Europe/Berlin", "2026-03-29T00:59:59", "Mar 29 01:59:59"),
        ("Europe/Berlin", "2026-03-29T01:00:00", "Mar 29 03:00:00"),
        ("Europe/Berlin", "2026-07-01T12:00:00", "Jul  1 14:00:00"),
        ("Europe/Berlin", "2026-10-25T00:59:59", "Oct 25 02:59:59"),
        ("Europe/Berlin", "2026-10-25T01:00:00", "Oct 25 02:00:00"),
        ("America/New_York", "2026-11-25T03:00:00", "Nov 24 22:00:00"),
        ("America/New_York", "2026-07-01T03:00:00", "Jun 30 23:00:00"),
        ("Asia/Kolkata", "2026-12-31T18:30:00", "Jan  1 00:00:00"),
        ("Australia/Lord_Howe", "2026-01-01T00:00:00", "Jan  1 11:00:00"),
        ("Pacific/Kiritimati", "9999-12-31T23:59:59", "Dec 31 23:59:59"),
        ("America/Adak", "1970-01-01T00:00:00", "Dec 31 13:00:00"),
        ("UTC", "2026-07-01T12:00:00", "Jul  1 12:00:00"),
    ]:
        time_ms = milliseconds(moment)

        assert header_at(time_ms, "rfc3164", time_zone(name)).time == written, (name, moment)
        assert header_at(time_ms, "rfc5424", time_zone(name)).time == f"{moment}.000Z", (name, moment)


def test_a_time_that_no_header_can_write_holds_up_nothing() -> None:
    """The header says the nearest moment that it can."""
    for time_ms in [-1, -(2**63), 2**63 - 1, 253_402_300_800_000]:
        assert header_at(time_ms, "rfc3164").time in {"Jan  1 00:00:00", "Dec 31 23:59:59"}, time_ms
        assert header_at(time_ms, "rfc5424").time[:4] in {"1970", "9999"}, time_ms


def test_one_message_for_each_event_in_order() -> None:
    """A batch of samples, and none."""
    events = [queued(line) for line in sample_lines(50)]
    messages = format_of().messages(events)

    assert [event.id.encode() in message for event, message in zip(events, messages, strict=True)] == [
        True
    ] * 50
    assert format_of().messages([]) == []


def test_frames() -> None:
    """RFC 6587: 3.4.1 counts bytes, not characters, with no zero before; 3.4.2 ends with a newline."""
    messages = ["<131>é".encode(), b"<134>x"]

    assert framed(messages, counts_octets=True) == ["7 <131>é".encode(), b"6 <134>x"]
    assert framed(messages, counts_octets=False) == ["<131>é\n".encode(), b"<134>x\n"]
    assert framed([], counts_octets=True) == []


@given(st.lists(st.binary(min_size=1).filter(lambda message: b"\n" not in message)))
def test_a_stream_of_frames_is_read_back(messages: list[bytes]) -> None:
    """Each message on its own, whichever the frames."""
    assert read_frames(b"".join(framed(messages, counts_octets=True)), counted_frame) == messages
    assert read_frames(b"".join(framed(messages, counts_octets=False)), newline_frame) == messages
