"""Syslog messages that carry CEF: the header of RFC 3164 or RFC 5424, and the frames of RFC 6587.

In go queued events, out comes one message for each, without a newline inside. The time in the header is the
event's own: in UTC, or with RFC 3164, which has no room for year and zone, in the zone in which its receiver
reads it. The CEF behind it always says `rt`.
"""

import datetime as dt
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

from worker.destinations.syslog_cef.cef import Header, cef_messages
from worker.destinations.syslog_cef.mapping import HIGH, LOW, MEDIUM, CefEventKind
from worker.model.events import QueuedEvent

#: RFC 5424, table 1: local0 is 16, and so on to local7.
_LOCAL0 = 16
#: CEF's severity to syslog's: error, warning, informational (RFC 5424, table 2).
_SEVERITIES = {HIGH: 3, MEDIUM: 4, LOW: 6}
#: RFC 3164, 4.1.2: the months are English, whatever the locale.
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
#: The last second that both headers can write: the year has four digits.
_LAST_SECOND = 253_402_300_799

_NEWLINE = b"\n"

#: Writes a header of a priority, a host, a kind of event and a time in seconds since 1970 UTC.
_WriteHeader = Callable[[str, str, CefEventKind, int], Header]


@dataclass(frozen=True, slots=True)
class SyslogCefFormat:
    """Events to syslog messages that carry CEF.

    `priorities` is what a message begins with, by its severity in CEF. Formats with the same `options` write
    the same.
    """

    priorities: dict[int, str]
    header: _WriteHeader
    hostname: str
    send_src: bool
    limit: int
    options: tuple[Hashable, ...]

    @classmethod
    def of(
        cls,
        *,
        facility: str,
        header: str,
        hostname: str,
        send_src: bool,
        limit: int,
        zone: dt.tzinfo = dt.UTC,
    ) -> "SyslogCefFormat":
        """Prepare for one integration: `facility` is local0 to local7, `header` rfc3164 or rfc5424.

        `limit` is in bytes, header included, from 480 up; `hostname` has at most 255 printable characters.
        `zone` is that of the times in a header of rfc3164.
        """
        number = _LOCAL0 + int(facility.removeprefix("local"))
        priorities = {cef: f"<{number * 8 + syslog}>" for cef, syslog in _SEVERITIES.items()}
        headers: dict[str, _WriteHeader] = {"rfc3164": partial(_rfc3164, zone), "rfc5424": _rfc5424}
        options = facility, header, hostname, send_src, limit, zone
        return cls(priorities, headers[header], hostname, send_src, limit, options)

    def messages(self, events: Sequence[QueuedEvent]) -> list[bytes]:
        """Return one syslog message each (header and CEF, no frame, no newline), at most `limit` bytes."""
        return self._written(events, b"")

    def frames(self, events: Sequence[QueuedEvent], *, counts_octets: bool) -> list[bytes]:
        """Return the same messages in frames (see `framed`)."""
        if counts_octets:
            return framed(self.messages(events), counts_octets=True)
        return self._written(events, _NEWLINE)

    def _written(self, events: Sequence[QueuedEvent], end: bytes) -> list[bytes]:
        return cef_messages(events, self._header, send_src=self.send_src, limit=self.limit, end=end)

    def _header(self, kind: CefEventKind, second: int) -> Header:
        return self.header(self.priorities[kind.severity], self.hostname, kind, second)


def framed(messages: Sequence[bytes], *, counts_octets: bool) -> list[bytes]:
    """Put each message into a frame: behind its length (RFC 6587, 3.4.1), or before a newline (3.4.2)."""
    if counts_octets:
        return [b"%d %b" % (len(message), message) for message in messages]
    return [message + _NEWLINE for message in messages]


def _rfc3164(zone: dt.tzinfo, priority: str, hostname: str, _kind: CefEventKind, second: int) -> Header:
    """Write `<PRI>Mmm dd hh:mm:ss HOST ` (RFC 3164, 4.1)."""
    return _bsd_header(priority, second, zone, hostname), b""


def _rfc5424(priority: str, hostname: str, kind: CefEventKind, second: int) -> Header:
    """Write `<PRI>1 TIMESTAMP HOST mitrity - MSGID - ` (RFC 5424, 6), the type of the event as MSGID.

    The byte order mark that 6.4 asks for is left out: parsers look for `CEF:` at the very beginning.
    """
    before = f"{priority}1 {_iso_time(second)}."
    return before.encode(), f"Z {hostname} mitrity - {kind.event_class} - ".encode()


@lru_cache(maxsize=4096)
def _bsd_header(priority: str, second: int, zone: dt.tzinfo, hostname: str) -> bytes:
    return f"{priority}{_bsd_time(second, zone)} {hostname} ".encode()


def _bsd_time(second: int, zone: dt.tzinfo) -> str:
    try:
        moment = _moment(second).astimezone(zone)
    except OverflowError:  # the last hours of the calendar, east of Greenwich
        moment = dt.datetime.max.replace(tzinfo=zone)
    return f"{_MONTHS[moment.month - 1]} {moment.day:2} {moment:%H:%M:%S}"


@lru_cache(maxsize=4096)
def _iso_time(second: int) -> str:
    return _moment(second).strftime("%Y-%m-%dT%H:%M:%S")


def _moment(second: int) -> dt.datetime:
    """Read a second since 1970; what neither header could write becomes the nearest that they can."""
    return dt.datetime.fromtimestamp(min(max(second, 0), _LAST_SECOND), dt.UTC)
