"""An event must not say two things at once: of a repeated key, readers take the first or the last."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.model.test_event_decoder import VALID, encoded, refusal, spliced
from worker.model.event_decoder import decode_event
from worker.model.events import GovernanceEvent, Policy

FIELDS = GovernanceEvent.__struct_fields__
POLICY_FIELDS = Policy.__struct_fields__


def spellings(name: str) -> list[str]:
    """Write a name as it is, and with one of its letters, or all of them, escaped."""
    escaped = [f"\\u{ord(letter):04x}" for letter in name]
    return [
        name,
        escaped[0] + name[1:],
        name[:-1] + escaped[-1].upper().replace("\\U", "\\u"),
        "".join(escaped),
    ]


def full(**changes: object) -> bytes:
    """Write an event that has every field."""
    more = {"tenant_id": "a", "decision": "allow", "policy": {"id": "p", "name": "P", "version": 2}}
    return encoded(**more, drift_score=1, hold={}, context={"id": 1, "decision": "deny"}, **changes)


def value(name: str) -> str:
    """Return a value that the field may have, as JSON."""
    valid = {**VALID, "drift_score": 1, "policy": {}, "hold": {}, "context": {}, "decision": "deny"}
    return json.dumps(valid.get(name, "x"))


@pytest.mark.parametrize("name", FIELDS)
def test_a_repeated_field_is_refused_by_name(name: str) -> None:
    """However it is escaped, before or behind the other, with blanks and without."""
    for spelled in spellings(name):
        event = json.loads(full()) | {name: json.loads(value(name))}
        for separators in ((",", ":"), (", ", ": ")):
            raw = json.dumps(event, separators=separators).encode()
            member = f'"{spelled}":{value(name)}'.encode()
            for twice in (b"{" + member + b"," + raw[1:], raw[:-1] + b",\n" + member + b"}"):
                error = refusal(twice)
                assert (error.field, error.reason) == (name, "is given more than once")


@pytest.mark.parametrize("name", POLICY_FIELDS)
def test_a_repeated_field_of_the_policy_is_refused_by_name(name: str) -> None:
    """What a policy is called must be beyond doubt as well."""
    for spelled in spellings(name):
        policy = f'{{"id":"p","name":"P","version":2,"{spelled}":"q"}}'
        for event in (spliced(f'"policy":{policy}'), spliced(f'"policy": {policy} ,"x":1')):
            error = refusal(event)
            assert (error.field, error.reason) == (f"policy.{name}", "is given more than once")


def test_the_attack_as_it_was_found() -> None:
    """Accepted with the key of tenant A, it went to Splunk with B first."""
    raw = b'{"tenant_id":"B","id":"e","type":"policy.deny","timestamp":"2026-11-22T10:11:12Z"'
    decision = refusal(raw + b',"decision":"deny","decision":"allow","tenant\\u005fid":"A"}')
    tenant = refusal(raw + b',"tenant\\u005fid":"A"}')

    assert (decision.field, tenant.field) == ("decision", "tenant_id")


@pytest.mark.parametrize(
    "member",
    [
        '"context":{"tenant_id":"b","id":"x","decision":"deny","decision":"allow"}',
        '"x":{"id":1,"id":2}',
        '"x":"\\"id\\":\\"y\\""',
        '"reason":"\\u0069d"',
        '"unknown":1,"unknown":2',
        '"\\"id":1',
        '"policy":{"id":"\\"name\\"","name":"id","x":1,"x":2}',
    ],
)
def test_what_only_looks_repeated_is_accepted(member: str) -> None:
    """Within other values, in text, or of fields that are not read here."""
    assert decode_event(spliced(member)).id == "evt_1"


@given(
    more=st.dictionaries(
        st.text(), st.text() | st.integers() | st.dictionaries(st.text(), st.text()), max_size=6
    ),
    separators=st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :\t")]),
    ascii_only=st.booleans(),
)
def test_an_event_without_repetition_is_never_refused(
    more: dict[str, object], separators: tuple[str, str], *, ascii_only: bool
) -> None:
    """Whatever other fields it has, and however it is written."""
    event = VALID | {f"x{name}": text for name, text in more.items()} | {"context": more}
    raw = json.dumps(event, separators=separators, ensure_ascii=ascii_only).encode()

    assert decode_event(raw).id == "evt_1"
