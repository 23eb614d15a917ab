"""HEC envelopes: the event's own bytes, untouched, between a time and nothing that Splunk does not know."""

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.destinations.golden_events import GOLDEN, golden_event, queued
from worker.demo.splunk import index_body
from worker.destinations.splunk_hec.format import HecFormat
from worker.model.event_runs import EventRun
from worker.model.events import EventType, QueuedEvent
from worker.samples import sample_lines

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
PLAIN = HecFormat.of(
    host="mitrity", source="mitrity", source_type="mitrity:governance", index=None, fields={}
)
FULL = HecFormat.of(
    host="mitrity",
    source="mitrity",
    source_type="mitrity:governance",
    index="security",
    fields={"site": "eu"},
)
#: Splunk: "Format events for HTTP Event Collector". Any other key makes it drop the rest of the body.
KNOWN_KEYS = {"time", "host", "source", "sourcetype", "index", "fields", "event"}


def test_the_golden_body_of_each_type() -> None:
    """Every byte of the event as it was published, line ends and blanks included, in its envelope."""
    golden = {name: (GOLDEN / "splunk_hec" / f"{name}.txt").read_bytes() for name in EventType}

    assert {name: PLAIN.envelope(golden_event(name)) for name in EventType} == golden
    assert {name: index_body(body).reply.code for name, body in golden.items()} == dict.fromkeys(golden, 0)


def test_the_golden_body_with_index_and_fields() -> None:
    """What an integration may add stands before the event."""
    golden = (GOLDEN / "splunk_hec" / "with_index_and_fields.txt").read_bytes()
    full = HecFormat.of(
        host="mitrity",
        source="mitrity",
        source_type="mitrity:governance",
        index="security",
        fields={"site": "Zürich", "stage": "production"},
    )

    assert full.envelope(golden_event("policy.deny")) == golden
    assert index_body(golden).events == [json.loads(golden_event("policy.deny").raw)]


def test_an_envelope_byte_by_byte() -> None:
    """The golden envelope: compact, in this order, the event with its own blanks and order of keys."""
    raw = b'{"type": "policy.deny","id":"e1", "timestamp":"2026-11-22T10:11:12.045Z","x":1e2}'

    assert PLAIN.envelope(queued(raw)) == (
        b'{"time":1795342272.045,"host":"mitrity","source":"mitrity","sourcetype":"mitrity:governance",'
        b'"event":' + raw + b"}"
    )


def test_an_index_is_named_only_if_there_is_one() -> None:
    """Without it, the token's default decides; null would be refused."""
    named = HecFormat.of(host="h", source="s", source_type="t", index="security", fields={})

    assert named.head == b',"host":"h","source":"s","sourcetype":"t","index":"security","event":'
    assert b"index" not in PLAIN.head


def test_fields_stand_in_every_envelope() -> None:
    """They are indexed with the event, beside it; without any, the key is left out."""
    format_ = HecFormat.of(
        host="h", source="s", source_type="t", index=None, fields={"site": "Zürich", "team": 'a"b'}
    )

    assert format_.head == (
        ',"host":"h","source":"s","sourcetype":"t","fields":{"site":"Zürich","team":"a\\"b"},"event":'.encode()
    )
    assert b"fields" not in PLAIN.head


def test_times_are_written_exactly() -> None:
    """Seconds and three digits, for every year: no exponent, no rounding."""
    written = {
        0: b"0.000",
        1: b"0.001",
        999: b"0.999",
        1_000: b"1.000",
        1_795_342_272_120: b"1795342272.120",
        253_402_300_799_999: b"253402300799.999",
    }

    events = {time_ms: QueuedEvent("e", "policy.deny", time_ms, 0, b"{}") for time_ms in written}
    times = {time_ms: PLAIN.envelope(event).partition(b",")[0] for time_ms, event in events.items()}

    assert times == {time_ms: b'{"time":' + text for time_ms, text in written.items()}


def test_many_envelopes_are_the_same_as_each() -> None:
    """The quick way for a batch writes what the way for one writes."""
    events = [queued(line) for line in sample_lines(50)]

    wrapped = FULL.wrapped(events)

    assert [wrapped.body([place]) for place in range(50)] == [FULL.envelope(event) for event in events]
    assert wrapped.body([3, 1]) == FULL.envelope(events[3]) + FULL.envelope(events[1])
    assert wrapped.sizes == [len(FULL.envelope(event)) for event in events]
    assert FULL.wrapped([]).body([]) == b""


def test_integrations_that_have_the_same_events_have_envelopes_of_their_own() -> None:
    """What was made of shared events for one says nothing of its host, source, index or fields to another."""
    events = [queued(line) for line in sample_lines(50)]
    runs = [EventRun(events[:1]), EventRun(events[1:30]), EventRun(events[30:])]

    for format_ in (FULL, PLAIN, FULL):
        wrapped, each = format_.wrapped_runs(runs), [format_.envelope(event) for event in events]
        assert wrapped.body(range(50)) == b"".join(each)
        assert wrapped.body([49, *range(49)]) == b"".join([each[49], *each[:49]])
        assert [wrapped.body([place]) for place in range(50)] == each
        assert wrapped.sizes == list(map(len, each))


@pytest.mark.parametrize(
    "raw",
    [
        b'{"timestamp":"2026-11-22T10:11:12.045678Z","id":"e"}',
        b'{"timestamp":"2026-11-22T10:11:12.0456Z"}',
        b'{"timestamp":"2026-11-22T10:11:12.045999+02:00"}',
        b'{"timestamp":"2026-11-22T10:11:12.045-02:00"}',
        b'{"timestamp":"2026-11-22T10:11:12.04+02:00"}',
        b'{"timestamp":"2026-11-22T10:11:12Z"}',
        b'{"timestamp" : "2026-11-22T10:11:12.045678Z"}',
        b'{"context":{"timestamp":"2026-11-22T10:11:12.045Z"},"timestamp":"2026-11-22T10:11:12.045678Z"}',
        b'{"reason":"\\"timestamp\\":\\"2026-11-22T10:11:12.045Z","timestamp":"2026-11-22T10:11:12.045678Z"}',
        b'{"list":[{"timestamp":"2026-11-22T10:11:12.045Z"}],"timestamp":"2026-11-22T10:11:12.045678Z"}',
        b'{"timest\\u0061mp":"2026-11-22T10:11:12.045678Z","x":{"timestamp":"2026-11-22T10:11:12.045Z"}}',
        b'{"timestamp":"2026-11-22T10:11:12.0',
        b'{"id":"e"}',
        b"",
    ],
)
def test_a_time_that_is_not_decoded_is_the_one_that_is(raw: bytes) -> None:
    """Digits behind the millisecond are found wherever the event's own time stands, and only there."""
    event = QueuedEvent("e", "policy.deny", 1_795_342_272_045, 0, raw)
    usual = QueuedEvent("u", "policy.deny", 1_795_342_272_045, 0, b'{"timestamp":"2026-11-22T10:11:12.045Z"}')

    assert PLAIN.wrapped([usual, event]).body([1]) == PLAIN.envelope(event)


@pytest.mark.parametrize("format_", [PLAIN, FULL])
def test_a_body_of_samples_is_taken_by_splunk(format_: HecFormat) -> None:
    """Envelopes one after the other, with nothing between them, are indexed one by one."""
    lines = list(sample_lines(200))

    indexed = index_body(format_.wrapped([queued(line) for line in lines]).body(range(len(lines))))

    assert indexed.reply.code == 0
    assert indexed.events == [json.loads(line) for line in lines]


names = st.text(min_size=1, max_size=30)
extras = st.dictionaries(
    st.text().map("x".__add__), st.none() | st.integers() | st.text() | st.lists(st.text())
)
moments = st.datetimes(dt.datetime(1970, 1, 1), dt.datetime(9999, 12, 31), timezones=st.just(dt.UTC))  # noqa: DTZ001 - hypothesis adds the zone


@settings(max_examples=150)
@given(names, names, st.none() | st.just("security"), st.dictionaries(names, names), moments, extras)
def test_any_event_comes_back_whole(
    host: str,
    source: str,
    index: str | None,
    fields: dict[str, str],
    moment: dt.datetime,
    extra: dict[str, Any],
) -> None:
    """Whatever stands in names and events, an envelope is JSON with them in it, and no key besides."""
    event = extra | {"id": "e", "type": "policy.deny", "timestamp": moment.isoformat()}
    taken = queued(json.dumps(event, ensure_ascii=False).encode())

    format_ = HecFormat.of(host=host, source=source, source_type="t", index=index, fields=fields)
    envelope = json.loads(format_.envelope(taken), parse_float=str)

    assert envelope["event"] == event
    assert Decimal(envelope["time"]) == Decimal((moment - EPOCH) // dt.timedelta(microseconds=1)) / 1_000_000
    assert envelope["host"] == host
    assert envelope["source"] == source
    assert envelope["sourcetype"] == "t"
    assert (envelope.get("index"), envelope.get("fields", {})) == (index, fields)
    assert None not in envelope.values()
    assert set(envelope) <= KNOWN_KEYS


def test_no_name_breaks_out_of_its_place() -> None:
    """Quotes, backslashes, line ends and scripts are carried, and add no key."""
    for text in ('"', "\\", '","index":"other', "\n", "\0", "\x7f", "é", "\u2028", "🚀", "a\tb"):
        head = HecFormat.of(host=text, source=text, source_type=text, index=text, fields={text: text}).head
        names = dict.fromkeys(("host", "source", "sourcetype", "index"), text)

        assert (
            json.loads(b'{"time":0' + head + b"0}") == {"time": 0, "fields": {text: text}, "event": 0} | names
        )
        assert b"\n" not in head, text
