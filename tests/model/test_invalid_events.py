"""A refusal of an event names the field, what is wrong with it, and what would be right."""

import json
import re
from typing import Any

import pytest

from tests.model.test_event_decoder import VALID, encoded, refusal, spliced
from worker.model.event_decoder import decode_event

#: Fields, what they cannot be, the reason, and words of the hint.
REFUSED: list[tuple[str, Any, str, str]] = [
    ("id", 7, "is 7", "128 printable characters"),
    ("id", None, "is null", "128 printable characters"),
    ("id", "", "is empty", "128 printable characters"),
    ("id", "x" * 129, "is 129 characters long", "128 printable characters"),
    ("id", "a\nb", "has characters that cannot be printed", "128 printable characters"),
    ("id", "a\u200bb", "has characters that cannot be printed", "128 printable characters"),
    ("id", "\0", "has characters that cannot be printed", "128 printable characters"),
    (
        "type",
        "policy.maybe",
        'is "policy.maybe"',
        "give one of policy.deny, policy.alert",
    ),
    ("type", "POLICY.DENY", 'is "POLICY.DENY"', "give one of policy.deny"),
    ("type", None, "is null", "give one of policy.deny"),
    ("timestamp", 1, "is 1", "give RFC 3339 with a zone"),
    ("timestamp", "yesterday", 'is "yesterday"', "give RFC 3339 with a zone"),
    ("timestamp", "2026-11-22", 'is "2026-11-22"', "give RFC 3339 with a zone"),
    ("timestamp", "2026-11-22T10:11:12", 'is "2026-11-22T10:11:12", which names no zone', "with a zone"),
    ("timestamp", "1969-12-31T23:59:59.999Z", "lies before 1970", "give RFC 3339 with a zone"),
    ("timestamp", "1970-01-01T00:00:00+00:01", "lies before 1970", "give RFC 3339 with a zone"),
    ("timestamp", "0001-01-01T00:00:00+23:59", "lies before 1970", "give RFC 3339 with a zone"),
    ("timestamp", "2016-12-31T22:59:60Z", 'is "2016-12-31T22:59:60Z"', "give RFC 3339"),
    ("timestamp", "2016-12-30T23:59:60Z", 'is "2016-12-30T23:59:60Z"', "give RFC 3339"),
    ("timestamp", "9999-12-31T23:59:60Z", 'is "9999-12-31T23:59:60Z"', "give RFC 3339"),
    ("timestamp", "9999-12-31T23:59:59-01:00", "lies after the year 9999 in UTC", "give RFC 3339"),
    ("timestamp", "2026-02-30T00:00:00Z", 'is "2026-02-30T00:00:00Z"', "give RFC 3339"),
    ("tenant_id", "", "is empty", "128 characters, or leave it out"),
    ("tenant_id", "t" * 129, "is 129 characters long", "128 characters"),
    ("tenant_id", None, "is null", "128 characters, or leave it out"),
    ("agent_id", 7, "is 7", "give a string, or leave it out"),
    ("agent_name", [], "is an array", "give a string, or leave it out"),
    ("action_type", {}, "is an object", "give a string, or leave it out"),
    ("policy", "x", 'is "x"', "give an object with id, name and version"),
    ("decision", "perhaps", 'is "perhaps"', "give one of allow, deny, alert, hold"),
    ("drift_score", "0.5", 'is "0.5"', "give a number"),
    ("drift_score", True, "is true", "give a number"),
    ("behavioral_hash", 7, "is 7", "give a string, or leave it out"),
    ("behavioral_hash_delta", [], "is an array", "give a number or a string"),
    ("hold", "x", 'is "x"', "give an object, or leave it out"),
    ("reason", 7, "is 7", "give a string, or leave it out"),
    ("context", [], "is an array", "give an object, or leave it out"),
]


def test_a_refusal_names_field_reason_and_hint(subtests: pytest.Subtests) -> None:
    """A publisher who reads it knows what to change, and into what."""
    for field, value, reason, hint in REFUSED:
        with subtests.test(field=field, value=value):
            error = refusal(encoded(**{field: value}))

            assert (error.field, error.reason) == (field, reason)
            assert hint in error.hint
            assert str(error) == f"{error.field}: {error.reason}; {error.hint}"


@pytest.mark.parametrize("field", ["id", "type", "timestamp"])
def test_a_missing_field_is_named(field: str) -> None:
    """Each of the three required fields is missed by its name, with what it should be."""
    error = refusal(json.dumps({name: value for name, value in VALID.items() if name != field}).encode())

    assert (error.field, error.reason) == (field, "is missing")
    assert error.hint.startswith("give ")


@pytest.mark.parametrize(
    ("policy", "field"),
    [({"id": 1}, "policy.id"), ({"version": []}, "policy.version"), ({"name": []}, "policy.name")],
)
def test_a_field_within_the_policy_is_named_with_its_path(policy: dict[str, Any], field: str) -> None:
    """The hint is that of this field."""
    error = refusal(encoded(policy=policy))

    assert error.field == field
    assert error.hint.startswith("give a string, or" if field != "policy.version" else "give a string or a")


@pytest.mark.parametrize("version", ["3", 3, 1.5, None])
def test_a_version_is_text_or_any_number(version: Any) -> None:
    """`1.5` is what many call a version."""
    policy = decode_event(encoded(policy={"id": "p", "version": version})).policy

    assert policy is not None
    assert policy.version == version


def test_a_score_that_no_double_holds_is_shown_as_it_came() -> None:
    """Of a field that is a number, no text can take the place."""
    error = refusal(spliced('"drift_score":1e400'))

    assert (error.field, error.reason) == ("drift_score", "is 1e400")
    assert error.hint == "give a number up to 1.7e308, or leave it out"


INVALID = [
    *(encoded(**{field: value}) for field in VALID for value in (7, None, "")),
    *(encoded(**{field: [7]}) for field in (*VALID, "tenant_id", "decision", "policy")),
    encoded(policy={"version": []}),
    encoded()[:-5],
    encoded() + b"x",
    encoded()[:-2] + b"\xff" + b'"}',
    b"[]",
]


def test_no_word_of_the_decoder_comes_through() -> None:
    """A publisher needs to know nothing of what reads an event here."""
    inner = re.compile("expected|enum|`|[$]|utf-8|codec|malformed|RFC3339|truncated")
    refusals = {raw: str(refusal(raw)) for raw in INVALID}

    assert {raw: words for raw, words in refusals.items() if inner.search(words)} == {}


@pytest.mark.parametrize("field", ["type", "decision"])
def test_a_value_cannot_pretend_to_be_another_field(field: str) -> None:
    """A value that imitates the decoder's way of naming a place misleads no reader."""
    assert refusal(encoded(**{field: "x - at `$.id`"})).field == field


def test_a_refusal_does_not_repeat_a_mass_of_data() -> None:
    """The value that is refused may be as large as an event; the reason is not."""
    refused = refusal(encoded(type="x" * 200_000))

    assert len(str(refused)) < 500
    assert "x…" in str(refused)
