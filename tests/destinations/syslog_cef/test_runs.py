"""Runs that are kept, and fields that are written together, give the same bytes as writing every value.

What is kept stays within its bounds.
"""

import json
from itertools import product
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.destinations.golden_events import queued
from tests.destinations.hostile_events import MISLEADING, hostile_events, overlong_events, published
from tests.destinations.syslog_cef.plain_cef import plain_message
from worker.destinations.syslog_cef import runs
from worker.destinations.syslog_cef.runs import AGENTS, DEEDS, MOST_CHARACTERS, MOST_RUNS, TEMPLATES
from worker.destinations.syslog_cef.syslog import SyslogCefFormat, framed
from worker.model.events import QueuedEvent
from worker.samples import sample_lines

#: Keys that every SIEM needs, keys left out, keys cut, and room for all.
LIMITS = (480, 800, 2048, 8000, 1_000_000)
FORMATS = [
    SyslogCefFormat.of(facility="local4", header=header, hostname="plane-1", send_src=send_src, limit=limit)
    for header, send_src, limit in product(("rfc3164", "rfc5424"), (True, False), LIMITS)
]
TEXTS = [
    *(
        "",
        " ",
        "  a  ",
        "a|b=c\\d",
        "\\",
        "=",
        "\\n",
        "\n",
        "\r\n",
        "a\x00\x01b",
        "a\x00b",
        "\x7f",
        "é",
        "漢字",
        "🙂",
    ),
    *("\u00a0x\u00a0", "\u2028", "\u202eabc", "\ufeff", "{agent}", "{", "%s", '"', "\x85", "\x1f", "\t"),
    *("x" * size for size in (40, 41, 63, 64, 128, 129, 255, 256, 512, 513, 1023, 1024)),
    *("=" * size for size in (63, 512, 1023)),
]
SCORES = ['""', '"0.5"', '"a=b\\n"', "null", "0", "-0.0", "1e300", "true", "[1]", "{}", "0." + "1" * 500]
OBJECTS = [
    *("{}", "null", "[]", '"text"', '" "', "17", '{"a":"\x7f=\\u0000\\\\"}', '{ "a" : [ 1 , 2 ] }', "{ }"),
    *('{"a":"é\u00a0\u2028🙂"}', json.dumps({"long": "x" * 5_000}), json.dumps({"b": "=" * 2_000})),
]
IDS = ["", " ", "evt 1", " evt", "a=b", "a\\b", "\x85", "é", *("x" * size for size in (40, 41, 128, 129))]


def check(event: QueuedEvent) -> None:
    """See the same bytes twice: when its runs are made, and when they are found."""
    for format_, _ in product(FORMATS, range(2)):
        (message,) = format_.messages([event])
        start = message[: message.index(b"CEF:0")]

        assert message == plain_message(event, start, send_src=format_.send_src, limit=format_.limit)


def check_batch(events: list[QueuedEvent]) -> None:
    """See that each event gives the same bytes in a batch as alone, and in a frame."""
    for format_ in FORMATS:
        messages = format_.messages(events)

        assert messages == [message for event in events for message in format_.messages([event])]
        assert format_.frames(events, counts_octets=False) == framed(messages, counts_octets=False)
        assert format_.frames(events, counts_octets=True) == framed(messages, counts_octets=True)


def with_raw(raw: str | bytes, event_id: str = "evt_1", event_type: str = "policy.deny") -> QueuedEvent:
    """Queue these bytes, valid or not."""
    data = raw.encode() if isinstance(raw, str) else raw
    return QueuedEvent(event_id, event_type, 1_767_323_045_678, 0, data)


def test_the_samples() -> None:
    """All types in their mixture, under every option."""
    for line in sample_lines(100, start_ms=1_767_323_045_678):
        check(queued(line))


@settings(max_examples=25, deadline=None)
@given(hostile_events)
def test_hostile_texts(event: dict[str, Any]) -> None:
    """Whatever the texts of a valid event."""
    check(published(event))


@settings(max_examples=25, deadline=None)
@given(overlong_events)
def test_overlong_texts(event: dict[str, Any]) -> None:
    """And whatever their length."""
    check(published(event))


def test_a_batch_of_samples() -> None:
    """Of many seconds, and from before the first; as they are published, and with blanks between members."""
    lines = list(sample_lines(60, start_ms=1_767_323_045_678))
    spaced = [json.dumps(json.loads(line)).encode() for line in lines]
    late = [queued(line) for line in lines + spaced]

    check_batch(late)
    times = [0, 5, 999, 1000, -1, -1000, 253_402_300_799_999, 253_402_300_800_000]
    check_batch([msgspec.structs.replace(late[at % 7], time_ms=time_ms) for at, time_ms in enumerate(times)])
    assert FORMATS[0].messages([]) == []


@settings(max_examples=40, deadline=None)
@given(st.lists(hostile_events | overlong_events, min_size=1, max_size=3), st.integers(0, 20))
def test_hostile_events_among_others(hostile: list[dict[str, Any]], usual: int) -> None:
    """Whatever one event holds, it changes nothing of the others, and is written as it would be alone."""
    events = [*map(queued, sample_lines(usual, start_ms=1_767_323_045_678)), *map(published, hostile)]
    check_batch(events[::-1] if usual % 2 else events)


@pytest.mark.parametrize("field", ["reason", "behavioral_hash", "context", "hold", "behavioral_hash_delta"])
def test_one_odd_value_among_usual_ones(field: str) -> None:
    """Each odd value in turn, in the middle of a batch."""
    usual = [{"agent_id": "a", "reason": "r", "behavioral_hash": "h", "context": {"a": "b=c"}}] * 3
    odd: list[Any] = [
        *TEXTS,
        None,
        1,
        1.5,
        [],
        {},
        {"a": "\x7f"},
        {"é": "\u2028"},
        {"a": "x" * 3_000},
        {"\x00": " "},
    ]
    batches = [[with_raw(json.dumps(one, ensure_ascii=False)) for one in usual] for _ in odd]
    for batch, value in zip(batches, odd, strict=True):
        batch[1] = with_raw(json.dumps(usual[0] | {field: value}, ensure_ascii=False))
        for format_ in FORMATS[2:4]:
            assert format_.messages(batch) == [one for event in batch for one in format_.messages([event])]


@pytest.mark.parametrize("field", ["agent_id", "agent_name", "action_type", "tenant_id", "reason", "policy"])
def test_each_text_at_its_borders(field: str) -> None:
    """Blanks, escapes, controls, places of a sentence, lengths at and beyond what a key takes."""
    for text in TEXTS:
        event: dict[str, Any] = {field: {"name": text, "id": text} if field == "policy" else text}
        check(with_raw(json.dumps(event | {"drift_score": 0.5})))
        check(with_raw(json.dumps(event, ensure_ascii=False), event_type="drift.critical"))


@pytest.mark.parametrize("event_type", ["policy.deny", "drift.warning", "agent.connected", "hold.denied"])
def test_scores_objects_and_decisions(event_type: str) -> None:
    """What no publisher may write, but what an earlier release may have let through."""
    for field, value in [
        *product(("drift_score", "behavioral_hash_delta"), SCORES),
        *product(("hold", "context"), OBJECTS),
        *product(["decision"], ['"block"', '"deny"', '"strange"', "null", '""']),
        *product(["siem_repaired"], ["[]", '["id"]', '["a","b=c"]', "1", "null"]),
    ]:
        check(with_raw(f'{{"agent_id":"a","{field}":{value}}}', event_type=event_type))


def test_each_control_in_an_object() -> None:
    """Those that JSON lets stand; behind a letter that is not ASCII, for that is looked for otherwise."""
    for control in ["\x7f", *map(chr, range(0x80, 0xA0)), "\u2028", "\u2029", *MISLEADING]:
        check(with_raw(json.dumps({"context": {"é": control}}, ensure_ascii=False)))


def test_ids_and_strange_types() -> None:
    """Ids that do not fit, types that are none of ours, bytes that cannot be read."""
    for event_id in IDS:
        check(with_raw("{}", event_id))
    for event_type in ["", "{agent}", "{score}{agent}", "a|b\\c", "policy.deny ", "x" * 100, "é", "\n"]:
        check(with_raw('{"agent_id":"a","drift_score":1}', event_type=event_type))
    damaged = [b"", b"{", b"\xff", b"[]", b'{"agent_id":1}', b'{"context":' + b"[" * 5_000]
    for field in (b"drift_score", b"behavioral_hash_delta", b"context", b"hold", b"siem_repaired"):
        damaged += [b'{"%b":%b}' % (field, value) for value in (b'"\xff"', b'["\xff"]', b'"\\ud800"')]
    for raw in damaged:
        check(with_raw(raw))
    check_batch(list(map(with_raw, damaged)))


def test_what_is_kept_is_bounded_in_number() -> None:
    """A tenant whose agents and policies never repeat."""
    many = MOST_RUNS + 100
    events = [with_raw(f'{{"agent_id":"{number}","policy":{{"id":"{number}"}}}}') for number in range(many)]
    messages = FORMATS[0].messages(events)

    assert len(set(messages)) == many
    assert 0 < DEEDS.counts()[0] <= MOST_RUNS
    assert 0 < AGENTS.counts()[0] <= MOST_RUNS
    assert 0 < TEMPLATES.counts()[0] <= MOST_RUNS


def test_what_is_kept_is_bounded_in_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    """And one whose names are long; what is longer than any name drives nothing out."""
    long = "x" * 3_900
    for number in range(2 * MOST_CHARACTERS // 4_000):
        FORMATS[0].messages([with_raw(f'{{"policy":{{"id":"{number}","name":"{long}"}}}}')])
        assert DEEDS.counts()[1] <= MOST_CHARACTERS
        assert TEMPLATES.counts()[1] <= MOST_CHARACTERS
    before = DEEDS.counts(), TEMPLATES.counts()
    FORMATS[0].messages([with_raw(json.dumps({"policy": {"name": "x" * 200_000}}))])

    assert (DEEDS.counts(), TEMPLATES.counts()) == before
    monkeypatch.setattr(runs, "MOST_RUNS", 1)
    FORMATS[0].messages([with_raw('{"policy":{"id":"last"}}')])
    assert DEEDS.counts()[0] == TEMPLATES.counts()[0] == 1
