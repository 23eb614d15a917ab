"""Envelopes of Splunk's HTTP Event Collector, spliced around the untouched bytes of each event.

An envelope is `{"time":…,"host":…,"source":…,"sourcetype":…,"index":…,"fields":{…},"event":<the event>}`; a
body is envelopes one after the other, with nothing between them (Splunk: "Format events for HTTP Event
Collector"). `fields` are flat, of text, and the same for every event of an integration.
Of its keys only these may be used: an unknown one makes Splunk drop the rest of the body with a 200.
"""

import datetime as dt
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

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
        known: dict[int, bytes] = {}
        openings: list[bytes] = []
        for event in events:
            # Of neighbours, many have the same millisecond.
            if _is_in_milliseconds(event.raw):
                opening = known.get(event.time_ms)
                if opening is None:
                    opening = known[event.time_ms] = _MILLISECONDS % divmod(event.time_ms, 1000) + self.head
            else:
                opening = _time(event) + self.head
            openings.append(opening)
        return HecEnvelopes(openings, [event.raw for event in events])


class HecEnvelopes:
    """The envelopes of events, which are known by their places; none is copied but into a body.

    `sizes` are their bytes.
    """

    __slots__ = ("_openings", "_raws", "sizes")

    def __init__(self, openings: list[bytes], raws: list[bytes]) -> None:
        """Take what stands before the bytes of each event, and those."""
        self._openings, self._raws = openings, raws
        around = len(_END)
        self.sizes = [len(opening) + len(raw) + around for opening, raw in zip(openings, raws, strict=True)]

    def body(self, places: Iterable[int]) -> bytes:
        """Return these envelopes, one after the other."""
        openings, raws = self._openings, self._raws
        return b"".join([piece for at in places for piece in (openings[at], raws[at], _END)])


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
