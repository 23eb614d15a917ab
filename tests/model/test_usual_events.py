"""What is accepted without a judge is what the judge accepts, and no field in it stands twice."""

import json
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.model.errors import InvalidEvent
from worker.model.event_decoder import accept_event, judge_event
from worker.model.events import EventHead, GovernanceEvent, Policy
from worker.model.usual_events import _Policy, _UsualEvent, usual_event
from worker.samples import sample_lines

HEAD = b'"id":"evt_1","type":"policy.deny","timestamp":"2026-11-22T10:11:12.345Z"'


def spliced(*members: str) -> bytes:
    """Write a valid event without blanks, with more members as they stand."""
    return b"{" + b",".join([HEAD, *(one.encode("utf-8", "surrogatepass") for one in members)]) + b"}"


def facts(head: EventHead) -> tuple[Any, ...]:
    """Return what routing needs of an event."""
    return head.id, head.type, head.timestamp, head.tenant_id


def test_events_of_a_control_plane_are_usual() -> None:
    """What the benchmarks and most publishers send takes the short way: else it would save nothing."""
    lines = list(sample_lines(500, run="usual"))

    assert [usual_event(line) is None for line in lines].count(True) == 0


def test_it_knows_the_fields_of_an_event() -> None:
    """A new field of the event would otherwise make each that has it unusual."""
    assert _UsualEvent.__struct_fields__ == GovernanceEvent.__struct_fields__
    assert _Policy.__struct_fields__ == Policy.__struct_fields__


UNUSUAL = [
    '"tenant_id":"a","tenant_id":"b"',
    '"decision":"deny","decision":"allow"',
    '"decision":"deny","d\\u0065cision":"allow"',
    '"drift_score":1,"drift_score":1',
    '"hold":{},"hold":{}',
    '"reason":null',
    '"x":0',
    '"":0',
    '"reason": "r"',
    '"reason":"\\u0041"',
    '"reason":"\\/"',
    '"policy":{"id":"a","id":"b"}',
    '"policy":{"x":0}',
    # As 1000000000000000.0 it is 14 bytes longer than it came, which would hide the other:
    '"policy":{"version":1e15,"id":null}',
    '"policy":{"version":%s}' % ("9" * 310),
    '"drift_score":"0.1"',
    '"drift_score":1e400',
    '"drift_score":NaN',
    '"behavioral_hash_delta":{}',
    '"hold":[]',
    '"context":1',
    '"context":{"x":1e400}',
    '"context":{"x":%s}' % ("9" * 310),
    '"context":{"x":"\\ud83d"}',
    '"context":{"x":"\udc80"}',
    '"agent_id":5',
    '"agent_id":"\\ud83d"',
    '"decision":"maybe"',
]


def test_what_is_not_as_it_should_be_is_left_to_the_judge(subtests: pytest.Subtests) -> None:
    """Each would be accepted unseen: repeated, unknown, repaired or refused."""
    for members in UNUSUAL:
        with subtests.test(members=ascii(members)):
            assert usual_event(spliced(members)) is None


@pytest.mark.parametrize("stamp", ["2026-11-22T10:11:12", "2016-12-31T23:59:60Z", "1969-12-31T23:59:59Z", 5])
def test_unusual_times_are_left_to_the_judge(stamp: str | int) -> None:
    """Without a zone, in a leap second, before 1970."""
    event = {"id": "e", "type": "policy.deny", "timestamp": stamp}

    assert usual_event(json.dumps(event, separators=(",", ":")).encode()) is None


def test_no_text_is_encoded_longer_than_it_may_stand() -> None:
    """All rests on this: a text that became longer would make room for a field that stands twice."""
    assert not [code for code in range(sys.maxunicode + 1) if not _is_shortest(code)]


def _is_shortest(code: int) -> bool:
    if 0xD800 <= code <= 0xDFFF:
        return True  # half a character, which is never decoded
    char = chr(code)
    least = len(char.encode())
    if char in '"\\\b\f\n\r\t':
        least = 2
    elif code < ord(" "):
        least = 6
    return len(msgspec.json.encode(char)) == least + 2


_TEXTS = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(
    ['"', "\\", '\\"', "\\u0041", "é"]
)
_VALUES = (
    _TEXTS.map(lambda text: json.dumps(text, ensure_ascii=False))
    | _TEXTS.map(json.dumps)
    | st.sampled_from(
        ["0", "1e15", "-0", "1.0", "0.20", "null", "true", "{}", "[]", '{"id":"x"}', "1e999", '""']
    )
    | st.sampled_from(
        ['{"version":1e15}', '{"version":2,"id":null}', '{"id":"a","id":"b"}', '{"x":"\\"\\\\"}']
    )
)
_NAMES = st.sampled_from([*GovernanceEvent.__struct_fields__, "x", "d\\u0065cision"])


@given(st.lists(st.tuples(_NAMES, _VALUES), max_size=5))
def test_what_is_usual_is_what_the_judge_accepts(members: list[tuple[str, str]]) -> None:
    """Whatever it takes, the judge takes as well, as it stands, and reads the same in it."""
    raw = spliced(*(f'"{name}":{value}' for name, value in members))
    usual = usual_event(raw)
    if usual is None:
        return
    names = [name for name, _ in members]

    head, accepted = judge_event(raw)

    assert facts(usual) == facts(head)
    assert accepted is raw
    assert len({*names}) == len(names)


@given(st.binary(max_size=40), st.integers(0, 700), st.integers(0, 20))
def test_damaged_events_are_judged_the_same(bytes_: bytes, at: int, length: int) -> None:
    """Cut, overwritten or mixed up at any place: the same becomes of an event with the short way."""
    [line] = sample_lines(1, run="damaged", start_ms=1_795_342_272_345)
    raw = line[:at] + bytes_ + line[at + length :]

    assert _became(accept_event, raw) == _became(judge_event, raw)


def _became(judge: Any, raw: bytes) -> Any:
    try:
        head, accepted = judge(raw)
    except InvalidEvent as error:
        return str(error)
    return facts(head), accepted
