"""Envelopes of Splunk's HTTP Event Collector, spliced around the untouched bytes of each event.

An envelope is `{"time":…,"host":…,"source":…,"sourcetype":…,"index":…,"fields":{…},"event":<the event>}`; a
body is envelopes one after the other, with nothing between them (Splunk: "Format events for HTTP Event
Collector"). `fields` are flat, of text, and the same for every event of an integration.
Of its keys only these may be used: an unknown one makes Splunk drop the rest of the body with a 200.
"""

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from operator import add, eq
from typing import Any

import msgspec

from worker.model.event_runs import EventRun
from worker.model.events import QueuedEvent

_MILLISECONDS, _MICROSECONDS = b'{"time":%d.%03d', b'{"time":%d.%06d'
_END = b"}"
#: Where an event's time stands, as events are written by most.
_TIMESTAMP = b'"timestamp":"'
#: From there to the point of `2026-11-22T10:11:12.045Z`, and behind what may follow its third digit.
_POINT = len(_TIMESTAMP) + len("2026-11-22T10:11:12")
_ZONE = _POINT + len(".045")
#: The point and what follows the third digit, where that is the last one.
_THREE_DIGITS = frozenset({b".Z", b".+", b".-"})


@dataclass(frozen=True, slots=True)
class HecFormat:
    """The constant part of every envelope of one integration."""

    head: bytes

    @classmethod
    def of(
        cls, *, host: str, source: str, source_type: str, index: str | None, fields: Mapping[str, str]
    ) -> "HecFormat":
        """Build the constant part; without an index, the token's own default decides in Splunk."""
        constant: dict[str, Any] = {"host": host, "source": source, "sourcetype": source_type}
        if index is not None:
            constant["index"] = index
        if fields:
            constant["fields"] = dict(fields)
        text = json.dumps(constant, separators=(",", ":"), ensure_ascii=False)
        return cls(b"," + text[1:-1].encode() + b',"event":')

    def envelope(self, event: QueuedEvent) -> bytes:
        """Wrap one event; `time` is in seconds, never in scientific notation."""
        return b"".join((_time(event), self.head, event.raw, _END))

    def wrapped(self, events: Sequence[QueuedEvent]) -> "HecEnvelopes":
        """Wrap events, one envelope each."""
        return self.wrapped_runs((EventRun(events),))

    def wrapped_runs(self, runs: Sequence[EventRun]) -> "HecEnvelopes":
        """Wrap the events of runs, which other integrations may have in other envelopes."""
        return HecEnvelopes(self.head, [run.made(_pieces) for run in runs if run.events])


class HecEnvelopes:
    """The envelopes of events, which are known by their places; none is copied but into a body.

    `sizes` are their bytes.
    """

    __slots__ = ("_head", "_runs", "sizes")

    def __init__(self, head: bytes, runs: Sequence["_Pieces"]) -> None:
        """Take what all have in common, and what the events themselves say."""
        self._head, self._runs = head, runs
        around = len(head)
        self.sizes = [length + around for run in runs for length in run.lengths]

    def body(self, places: Sequence[int]) -> bytes:
        """Return these envelopes, one after the other."""
        if len(places) == len(self.sizes) and all(map(eq, places, count())):
            return b"".join([self._head.join(run.pieces) for run in self._runs])
        return b"".join([self._envelope(at) for at in places])

    def _envelope(self, place: int) -> bytes:
        run, at = self._runs[0], place
        for run in self._runs:
            if at < len(run.lengths):
                break
            at -= len(run.lengths)
        before = run.pieces[at] if not at else run.pieces[at][-run.openings[at] :]
        return before + self._head + run.pieces[at + 1][: run.lengths[at] - run.openings[at]]


@dataclass(frozen=True, slots=True)
class _Pieces:
    """What stands before, between and behind the heads of envelopes, which all integrations have in common.

    Between two heads are an event, the end of its envelope, and the time that begins the next. `openings` are
    the bytes of these times, `lengths` those of an envelope without its head.
    """

    pieces: list[bytes]
    openings: list[int]
    lengths: list[int]


def _pieces(events: Sequence[QueuedEvent]) -> _Pieces:
    """Cut what the envelopes of events have in common at the heads; a body is then joined by one call."""
    times = _times(events)
    raws = [event.raw for event in events]
    openings = [len(time) - len(_END) for time in times]
    lengths = [opening + len(raw) + len(_END) for opening, raw in zip(openings, raws, strict=True)]
    pieces = [times[0][len(_END) :], *map(add, raws, times[1:]), raws[-1] + _END]
    return _Pieces(pieces, openings, lengths)


def _times(events: Sequence[QueuedEvent]) -> list[bytes]:
    """Return for each event the end of the envelope before it, and its own time."""
    known: dict[int, bytes] = {}
    times: list[bytes] = []
    for event in events:
        # Of neighbours, many have the same millisecond.
        if _is_in_milliseconds(event.raw):
            time = known.get(event.time_ms)
            if time is None:
                time = known[event.time_ms] = _END + _MILLISECONDS % divmod(event.time_ms, 1000)
        else:
            time = _END + _time(event)
        times.append(time)
    return times


def _is_in_milliseconds(raw: bytes) -> bool:
    """Whether the event's time is seen to have three digits behind the second; False says nothing.

    To look costs a third of decoding. No text of JSON has these bytes within it, and no object that stands in
    the event begins before them.
    """
    at = raw.find(_TIMESTAMP)
    if at < 0 or raw[at + _POINT : at + _ZONE + 1 : _ZONE - _POINT] not in _THREE_DIGITS:
        return False
    return raw.find(b"{", 1, at) < 0


class _Moment(msgspec.Struct, gc=False):
    timestamp: dt.datetime


_moment = msgspec.json.Decoder(_Moment).decode


def _time(event: QueuedEvent) -> bytes:
    """Begin an envelope with the event's time: in milliseconds, or in microseconds if it has any.

    The order of events within a millisecond is that of their timestamps then.
    """
    try:
        microseconds = _moment(event.raw).timestamp.microsecond % 1000
    except (
        msgspec.DecodeError,
        UnicodeDecodeError,
        RecursionError,
    ):  # of a leap second, and if it is damaged
        microseconds = 0
    if microseconds == 0:
        return _MILLISECONDS % divmod(event.time_ms, 1000)
    return _MICROSECONDS % divmod(event.time_ms * 1000 + microseconds, 1_000_000)
