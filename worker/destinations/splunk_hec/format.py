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
from itertools import chain, count
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
_STEP = len(".045")
_BEHIND = _POINT + _STEP + 1
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
            pieces = list(chain.from_iterable(run.around(self._head) for run in self._runs))
            if pieces:
                pieces[0] = pieces[0][len(_END) :]
                pieces.append(_END)
            return b"".join(pieces)
        return b"".join([self._envelope(at) for at in places])

    def _envelope(self, place: int) -> bytes:
        run, at = self._runs[0], place
        for run in self._runs:
            if at < len(run.raws):
                break
            at -= len(run.raws)
        return run.times[at][len(_END) :] + self._head + run.raws[at] + _END


@dataclass(frozen=True, slots=True)
class _Pieces:
    """What envelopes of events have in common, whatever their heads say.

    `times` begin an envelope, and end the one before it; `lengths` are the bytes of envelopes without heads.
    """

    times: list[bytes]
    raws: list[bytes]
    lengths: list[int]

    def around(self, head: bytes) -> list[bytes]:
        """Return envelopes with this head, less the end of the last."""
        pieces = [head] * (3 * len(self.raws))
        pieces[::3], pieces[2::3] = self.times, self.raws
        return pieces


def _pieces(events: Sequence[QueuedEvent]) -> _Pieces:
    """Make of events what their envelopes have in common: a body is then joined by one call."""
    times, raws = _times(events), [event.raw for event in events]
    return _Pieces(times, raws, list(map(add, map(len, times), map(len, raws))))


def _times(events: Sequence[QueuedEvent]) -> list[bytes]:
    """Return for each event the end of the envelope before it, and its own time."""
    # Of neighbours, many have the same millisecond.
    known: dict[int, bytes] = {}
    times: list[bytes] = []
    for event in events:
        raw = event.raw
        # Three digits behind the second? To look costs a third of decoding. No text of JSON has these bytes
        # within it, and no object that stands in the event begins before them.
        at = raw.find(_TIMESTAMP)
        if (
            at < 0
            or raw[at + _POINT : at + _BEHIND : _STEP] not in _THREE_DIGITS
            or raw.find(b"{", 1, at) > 0
        ):
            times.append(_END + _time(event))
            continue
        time = known.get(event.time_ms)
        if time is None:
            time = known[event.time_ms] = _END + _MILLISECONDS % divmod(event.time_ms, 1000)
        times.append(time)
    return times


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
