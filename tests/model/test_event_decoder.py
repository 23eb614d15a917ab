"""What is a governance event and what is not: one judge, whose refusals can be acted upon."""

import json
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.model.errors import InvalidEvent
from worker.model.event_decoder import MAX_DEPTH, decode_event
from worker.model.events import MAX_EVENT_BYTES, Decision, EventType, EventTypeName, GovernanceEvent
from worker.samples import sample_lines

VALID: dict[str, Any] = {"id": "evt_1", "type": "policy.deny", "timestamp": "2026-11-22T10:11:12.345Z"}
OPTIONAL = [
    "agent_id",
    "agent_name",
    "action_type",
    "policy",
    "decision",
    "drift_score",
    "behavioral_hash",
    "behavioral_hash_delta",
    "hold",
    "reason",
    "context",
]
WHOLE = "give one JSON object in UTF-8, of at most 256 KiB"


def encoded(**fields: Any) -> bytes:
    """Write a valid event with these fields changed."""
    return json.dumps(VALID | fields).encode()


def spliced(member: str) -> bytes:
    """Write a valid event with one more member, as it stands."""
    return json.dumps(VALID).encode()[:-1] + b"," + member.encode("utf-8", "surrogatepass") + b"}"


def refusal(raw: bytes) -> InvalidEvent:
    """Return the error with which the bytes are refused."""
    with pytest.raises(InvalidEvent) as caught:
        decode_event(raw)
    return caught.value


def test_the_least_event_has_defaults() -> None:
    """Three fields suffice; the tenant is `default`, the rest is unknown."""
    event = decode_event(encoded())

    assert (event.id, event.type, event.tenant_id) == ("evt_1", "policy.deny", "default")
    assert event.time_ms == 1_795_342_272_345
    assert {getattr(event, name) for name in OPTIONAL} == {None}


def test_null_is_the_same_as_leaving_an_optional_field_out() -> None:
    """Encoders that write null for what they do not know are understood."""
    read = {field: getattr(decode_event(encoded(**{field: None})), field) for field in OPTIONAL}

    assert read == dict.fromkeys(OPTIONAL)


def test_block_is_a_decision() -> None:
    """What older control planes call `block` is accepted."""
    assert decode_event(encoded(decision="block")).decision is Decision.BLOCK


def test_the_type_names_are_those_of_the_enum() -> None:
    """The two spellings of the list of types never drift apart."""
    assert list(get_args(EventTypeName)) == [one.value for one in EventType]
    assert len(EventType) == 11


def test_every_type_is_accepted() -> None:
    """All that the control plane reports is a governance event."""
    assert [decode_event(encoded(type=kind)).type for kind in EventType] == list(EventType)


def test_ids_count_characters_not_bytes() -> None:
    """An id of 128 characters is accepted in any script, whatever its punctuation."""
    ids = ["x", "x" * 128, "é" * 128, "🚀" * 128, "with blanks", '"|\\=']

    assert [decode_event(encoded(id=event_id)).id for event_id in ids] == ids


TIMES = {
    "1970-01-01T00:00:00Z": 0,
    "1970-01-01T01:00:00+01:00": 0,
    "9999-12-31T23:59:59.999Z": 253_402_300_799_999,
    "9999-12-31T22:59:59.999-01:00": 253_402_300_799_999,
    "9999-12-31T23:59:59.999999Z": 253_402_300_799_999,
    "2016-12-31T23:59:60Z": 1_483_228_800_000,
    "1990-12-31T15:59:60.5-08:00": 662_688_000_500,
    "1985-06-30t23:59:60z": 489_024_000_000,
    "2026-11-22T10:11:12.123999Z": 1_795_342_272_123,
    "2026-11-22t10:11:12z": 1_795_342_272_000,
    "2024-02-29T00:00:00.001Z": 1_709_164_800_001,
}


def test_times_are_exact_to_the_millisecond() -> None:
    """Any zone, any year from 1970 to 9999; what is finer than a millisecond is cut off."""
    assert {text: decode_event(encoded(timestamp=text)).time_ms for text in TIMES} == TIMES


def test_an_event_of_exactly_the_limit_is_accepted() -> None:
    """256 KiB is in, one byte more is out."""
    raw = encoded(padding="")
    full = encoded(padding="x" * (MAX_EVENT_BYTES - len(raw)))

    assert decode_event(full).id == "evt_1"
    assert refusal(full + b" ").reason == f"is {256 * 1024 + 1} bytes long"


NO_JSON = [
    '"x":NaN',
    '"drift_score":NaN',
    '"x":-Infinity',
    '"x":01',
    '"x":1.',
    '"x":"\\q"',
    '"x":"\n"',
    '"x":[1,]',
    "'x':1",
    '"x":"\ud800"',
    '"x":1}{"y":1',
]


def test_what_is_not_json_is_refused_even_in_unknown_fields(subtests: pytest.Subtests) -> None:
    """No byte of an event is left unread: a SIEM would choke on it later."""
    for member in NO_JSON:
        with subtests.test(member=ascii(member)):
            error = refusal(spliced(member))

            assert (error.field, error.hint) == ("event", WHOLE)
            assert error.reason.startswith(("is not JSON around its byte", "is not UTF-8"))


def test_invalid_utf8_is_refused_even_in_unknown_fields() -> None:
    """Half a character in a field that is not read still breaks the event."""
    error = refusal(encoded(note="@").replace(b"@", b"\xff"))

    assert error.reason == "is not UTF-8 after its first 89 of 92 bytes"


#: Bytes, and how the reason for which they are refused begins.
NO_OBJECTS = [
    (b"", "is empty"),
    (b" \n", "is empty"),
    (b"null", "is null, not an object"),
    (b"[]", "is an array, not an object"),
    (b'"x"', "is a string, not an object"),
    (b"1", "is a number, not an object"),
    (b"true", "is true, not an object"),
    (encoded() + encoded(), "is not JSON around its byte 80"),
    (encoded()[:-1], "ends before its JSON does, after 78 bytes"),
    (b"\xef\xbb\xbf" + encoded(), "begins with a byte order mark"),
    (encoded().decode().encode("utf-16"), "is not UTF-8 after its first 0 of"),
    (encoded() + b"\0", "is not JSON around its byte 80"),
]


def test_what_is_not_one_object_in_utf8_is_refused_as_a_whole(subtests: pytest.Subtests) -> None:
    """Nothing, a list, two objects, half an object, a byte order mark, another encoding."""
    for raw, reason in NO_OBJECTS:
        with subtests.test(raw=raw):
            error = refusal(raw)

            assert (error.field, error.hint) == ("event", WHOLE)
            assert error.reason.startswith(reason)


def test_white_space_around_the_object_is_accepted() -> None:
    """The newline of a line of NDJSON does no harm."""
    assert decode_event(b" \r\n\t" + encoded() + b"\n ").id == "evt_1"


def test_unknown_fields_are_no_reason_to_refuse() -> None:
    """They are kept in the bytes, whatever JSON they hold."""
    assert decode_event(spliced('"x":{"y":[1e400,"\\u0000",null]}')).id == "evt_1"


@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize("field", ["x", "context"])
def test_deep_nesting_is_refused_and_never_crashes(opening: str, field: str) -> None:
    """As many levels as are promised pass, one more does not."""
    closing = {"[": "]", '{"a":': "}"}[opening]

    def nested(levels: int) -> bytes:
        inner = opening * levels + "1" + closing * levels
        return spliced(f'"{field}":{{"b":{inner}}}')

    assert decode_event(nested(MAX_DEPTH - 2)).id == "evt_1"
    assert refusal(nested(MAX_DEPTH - 1)).reason == "is nested too deeply"
    assert refusal(nested(40_000)).reason == "is nested too deeply"


def test_brackets_inside_strings_do_not_count() -> None:
    """A text may be full of them, and of quotes."""
    assert decode_event(spliced('"x":"' + '[{\\"' * 1000 + '"')).id == "evt_1"


def test_a_string_without_an_end_is_read_once() -> None:
    """Looking for its end again at each of its quotes would take hours."""
    raw = b'{"x":' + b"[]," * (MAX_DEPTH * 2) + b'"' + b'\\"' * 120_000

    assert refusal(raw).reason.startswith("is not JSON around its byte 8, at ")


def test_every_sample_is_valid() -> None:
    """What the demonstration publishes is what we ask of others; one cycle holds all types."""
    assert {decode_event(line).type for line in sample_lines(200)} == set(EventType)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
field_names = st.sampled_from([*VALID, "tenant_id", *OPTIONAL, "unknown"])
near_events = st.dictionaries(field_names, json_values | st.sampled_from(list(VALID.values())), max_size=6)


@settings(max_examples=400)
@given(
    st.binary(max_size=200)
    | near_events.map(lambda fields: json.dumps(VALID | fields).encode())
    | st.tuples(st.integers(0, 80), st.binary(max_size=3)).map(
        lambda cut: encoded()[: cut[0]] + cut[1] + encoded()[cut[0] :]
    )
)
def test_whatever_comes_in_is_judged(raw: bytes) -> None:
    """Out comes an event or InvalidEvent with words, and what is an event is JSON to others, too."""
    try:
        event = decode_event(raw)
    except InvalidEvent as error:
        assert error.field  # noqa: PT017 - either way is right, and says so
        assert error.hint.startswith(("give ", "nest "))  # noqa: PT017 - the same
    else:
        assert isinstance(event, GovernanceEvent)
        assert event.time_ms >= 0
        assert json.loads(raw)["id"] == event.id
