"""HEC envelopes: the event's own bytes, untouched, between a time and nothing that Splunk does not know."""

import datetime as dt
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.demo.samples import sample_lines
from worker.demo.splunk import index_body
from worker.formats.hec import HecFormat
from worker.model.events import QueuedEvent, decode_event

PLAIN = HecFormat.of(host="mitrity", source="mitrity", source_type="mitrity:governance", index=None)
#: Splunk: "Format events for HTTP Event Collector". Any other key makes it drop the rest of the body.
KNOWN_KEYS = {"time", "host", "source", "sourcetype", "index", "event"}


def queued(raw: bytes) -> QueuedEvent:
    """Queue the event as the router does."""
    event = decode_event(raw)
    return QueuedEvent(event.id, event.type, event.time_ms, 0, raw)


def test_an_envelope_byte_by_byte() -> None:
    """The golden envelope: compact, in this order, the event with its own blanks and order of keys."""
    raw = b'{"type": "policy.deny","id":"e1", "timestamp":"2026-11-22T10:11:12.045Z","x":1e2}'

    assert PLAIN.envelope(queued(raw)) == (
        b'{"time":1795342272.045,"host":"mitrity","source":"mitrity","sourcetype":"mitrity:governance",'
        b'"event":' + raw + b"}"
    )


def test_an_index_is_named_only_if_there_is_one() -> None:
    """Without it, the token's default decides; null would be refused."""
    named = HecFormat.of(host="h", source="s", source_type="t", index="security")

    assert named.head == b',"host":"h","source":"s","sourcetype":"t","index":"security","event":'
    assert b"index" not in PLAIN.head


@pytest.mark.parametrize(
    ("time_ms", "written"),
    [
        (0, b"0.000"),
        (1, b"0.001"),
        (999, b"0.999"),
        (1_000, b"1.000"),
        (1_795_342_272_120, b"1795342272.120"),
        (253_402_300_799_999, b"253402300799.999"),
    ],
)
def test_times_are_written_exactly(time_ms: int, written: bytes) -> None:
    """Seconds and three digits, for every year: no exponent, no rounding."""
    event = QueuedEvent("e", "policy.deny", time_ms, 0, b"{}")

    assert PLAIN.envelope(event).startswith(b'{"time":' + written + b",")


def test_many_envelopes_are_the_same_as_each() -> None:
    """The quick way for a batch writes what the way for one writes."""
    events = [queued(line) for line in sample_lines(50)]

    assert PLAIN.envelopes(events) == [PLAIN.envelope(event) for event in events]
    assert PLAIN.envelopes([]) == []


def test_a_body_of_samples_is_taken_by_splunk() -> None:
    """Envelopes one after the other, with nothing between them, are indexed one by one."""
    lines = list(sample_lines(200))

    indexed = index_body(b"".join(PLAIN.envelopes([queued(line) for line in lines])), lambda _event: False)

    assert indexed.reply.code == 0
    assert indexed.events == [json.loads(line) for line in lines]


names = st.text(min_size=1, max_size=30)
extras = st.dictionaries(
    st.text().map("x".__add__), st.none() | st.integers() | st.text() | st.lists(st.text())
)
moments = st.datetimes(dt.datetime(1970, 1, 1), dt.datetime(9999, 12, 31), timezones=st.just(dt.UTC))  # noqa: DTZ001 - hypothesis adds the zone


@settings(deadline=None, max_examples=150)
@given(names, names, names, st.none() | st.just("security"), moments, extras)
def test_any_event_comes_back_whole(
    host: str, source: str, source_type: str, index: str | None, moment: dt.datetime, extra: dict[str, Any]
) -> None:
    """Whatever stands in names and events, an envelope is JSON with them in it, and no key besides."""
    event = extra | {"id": "e", "type": "policy.deny", "timestamp": moment.isoformat()}
    taken = queued(json.dumps(event, ensure_ascii=False).encode())

    written = HecFormat.of(host=host, source=source, source_type=source_type, index=index).envelope(taken)
    envelope = json.loads(written, parse_float=str)

    assert envelope["event"] == event
    assert int(envelope["time"].replace(".", "")) == taken.time_ms
    assert (envelope["host"], envelope["source"], envelope["sourcetype"]) == (host, source, source_type)
    assert envelope.get("index") == index
    assert set(envelope) == KNOWN_KEYS - ({"index"} if index is None else set())


@pytest.mark.parametrize(
    "text", ['"', "\\", '","index":"other', "\n", "\0", "\x7f", "é", "\u2028", "🚀", "a\tb"]
)
def test_no_name_breaks_out_of_its_place(text: str) -> None:
    """Quotes, backslashes, line ends and scripts are carried, and add no key."""
    head = HecFormat.of(host=text, source=text, source_type=text, index=text).head

    assert json.loads(b'{"time":0' + head + b"0}") == {
        "time": 0,
        "host": text,
        "source": text,
        "sourcetype": text,
        "index": text,
        "event": 0,
    }
    assert b"\n" not in head
