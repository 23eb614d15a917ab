"""Runs of keys that are kept give the same bytes as writing every value, and stay within their bounds."""

import json
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings

from tests.destinations.golden_events import queued
from tests.destinations.hostile_events import hostile_events, overlong_events, published
from tests.destinations.syslog_cef.plain_cef import plain_message
from worker.destinations.syslog_cef import runs
from worker.destinations.syslog_cef.runs import AGENTS, DEEDS, MOST_CHARACTERS, MOST_RUNS
from worker.destinations.syslog_cef.syslog import SyslogCefFormat
from worker.model.events import QueuedEvent
from worker.samples import sample_lines

#: Keys that every SIEM needs, keys left out, keys cut, and room for all.
LIMITS = (480, 800, 2048, 8000, 1_000_000)
FORMATS = [
    SyslogCefFormat.of(facility="local4", header=header, hostname="plane-1", send_src=send_src, limit=limit)
    for header, send_src, limit in product(("rfc3164", "rfc5424"), (True, False), LIMITS)
]
TEXTS = [
    *("", " ", "  a  ", "a|b=c\\d", "\\", "=", "\\n", "\n", "\r\n", "a\x00\x01b", "\x7f", "é", "漢字", "🙂"),
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


def test_ids_and_strange_types() -> None:
    """Ids that do not fit, types that are none of ours, bytes that cannot be read."""
    for event_id in IDS:
        check(with_raw("{}", event_id))
    for event_type in ["", "{agent}", "{score}{agent}", "a|b\\c", "policy.deny ", "x" * 100, "é", "\n"]:
        check(with_raw('{"agent_id":"a","drift_score":1}', event_type=event_type))
    for raw in [b"", b"{", b"\xff", b"[]", b'{"agent_id":1}', b'{"context":' + b"[" * 5_000]:
        check(with_raw(raw))


def test_what_is_kept_is_bounded_in_number() -> None:
    """A tenant whose agents and policies never repeat."""
    many = MOST_RUNS + 100
    events = [with_raw(f'{{"agent_id":"{number}","policy":{{"id":"{number}"}}}}') for number in range(many)]
    messages = FORMATS[0].messages(events)

    assert len(set(messages)) == many
    assert 0 < DEEDS.counts()[0] <= MOST_RUNS
    assert 0 < AGENTS.counts()[0] <= MOST_RUNS


def test_what_is_kept_is_bounded_in_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    """And one whose names are long; what is longer than any name drives nothing out."""
    long = "x" * 3_900
    for number in range(2 * MOST_CHARACTERS // 4_000):
        FORMATS[0].messages([with_raw(f'{{"policy":{{"id":"{number}","name":"{long}"}}}}')])
        assert DEEDS.counts()[1] <= MOST_CHARACTERS
    before = DEEDS.counts()
    FORMATS[0].messages([with_raw(json.dumps({"policy": {"name": "x" * 200_000}}))])

    assert DEEDS.counts() == before
    monkeypatch.setattr(runs, "MOST_RUNS", 1)
    FORMATS[0].messages([with_raw('{"policy":{"id":"last"}}')])
    assert DEEDS.counts()[0] == 1
