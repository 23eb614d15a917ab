"""Envelopes of Splunk's HTTP Event Collector, spliced around the untouched bytes of each event.

An envelope is `{"time":…,"host":…,"source":…,"sourcetype":…,"index":…,"fields":{…},"event":<the event>}`; a
body is envelopes one after the other, with nothing between them (Splunk: "Format events for HTTP Event
Collector"). `fields` are flat, of text, and the same for every event of an integration.
Of its keys only these may be used: an unknown one makes Splunk drop the rest of the body with a 200.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.model.events import QueuedEvent

_TIME = b'{"time":%d.%03d'
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
        """Wrap one event; `time` is in seconds with milliseconds, never in scientific notation."""
        seconds, milliseconds = divmod(event.time_ms, 1000)
        return _TIME % (seconds, milliseconds) + self.head + event.raw + _END

    def envelopes(self, events: Sequence[QueuedEvent]) -> list[bytes]:
        """Wrap events, one envelope each."""
        head, time, end = self.head, _TIME, _END
        return [b"".join((time % divmod(event.time_ms, 1000), head, event.raw, end)) for event in events]
