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
from typing import Any

import msgspec

from worker.model.events import QueuedEvent

_MILLISECONDS, _MICROSECONDS = b'{"time":%d.%03d', b'{"time":%d.%06d'
_END = b"}"


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

    def envelopes(self, events: Sequence[QueuedEvent]) -> list[bytes]:
        """Wrap events, one envelope each."""
        head, time, end = self.head, _time, _END
        return [b"".join((time(event), head, event.raw, end)) for event in events]


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
