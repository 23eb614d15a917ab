"""A refusal of an event names the field, what is wrong with it, and what would be right."""

import json
from typing import Any

import pytest

from tests.model.test_events import VALID, encoded, refusal, spliced


@pytest.mark.parametrize(
    ("field", "value", "reason", "remedy"),
    [
        ("id", 7, "expected str, got int", "128 printable characters"),
        ("id", None, "expected str, got null", "128 printable characters"),
        ("id", "", "expected str of length >= 1", "128 printable characters"),
        ("id", "x" * 129, "expected str of length <= 128", "128 printable characters"),
        ("id", "a\nb", "has characters that cannot be printed", "128 printable characters"),
        ("id", "a\u200bb", "has characters that cannot be printed", "128 printable characters"),
        ("id", "\0", "has characters that cannot be printed", "128 printable characters"),
        (
            "type",
            "policy.maybe",
            "invalid enum value 'policy.maybe'",
            "give one of policy.deny, policy.alert",
        ),
        ("type", "POLICY.DENY", "invalid enum value 'POLICY.DENY'", "give one of policy.deny"),
        ("type", None, "expected str, got null", "give one of policy.deny"),
        ("timestamp", 1, "expected datetime, got int", "give RFC 3339 with a zone"),
        ("timestamp", "yesterday", "invalid RFC3339 encoded datetime", "give RFC 3339 with a zone"),
        ("timestamp", "2026-11-22", "invalid RFC3339 encoded datetime", "give RFC 3339 with a zone"),
        ("timestamp", "2026-11-22T10:11:12", "expected datetime with a timezone component", "with a zone"),
        ("timestamp", "1969-12-31T23:59:59.999Z", "lies before 1970", "give RFC 3339 with a zone"),
        ("timestamp", "1970-01-01T00:00:00+00:01", "lies before 1970", "give RFC 3339 with a zone"),
        ("timestamp", "0001-01-01T00:00:00+23:59", "lies before 1970", "give RFC 3339 with a zone"),
        ("timestamp", "2016-12-31T23:59:60Z", "invalid RFC3339 encoded datetime", "give RFC 3339"),
        ("timestamp", "2026-02-30T00:00:00Z", "invalid RFC3339 encoded datetime", "give RFC 3339"),
        ("tenant_id", "", "expected str of length >= 1", "128 characters, or leave it out"),
        ("tenant_id", None, "expected str, got null", "128 characters, or leave it out"),
        ("agent_id", 7, "expected str | null, got int", "give a string, or leave it out"),
        ("agent_name", [], "expected str | null, got array", "give a string, or leave it out"),
        ("action_type", {}, "expected str | null, got object", "give a string, or leave it out"),
        ("policy", "x", "expected object | null, got str", "give an object with id, name and version"),
        ("decision", "perhaps", "invalid enum value 'perhaps'", "give one of allow, deny, alert, hold"),
        ("drift_score", "0.5", "expected float | null, got str", "give a number"),
        ("drift_score", True, "expected float | null, got bool", "give a number"),
        ("behavioral_hash", 7, "expected str | null, got int", "give a string, or leave it out"),
        ("behavioral_hash_delta", [], "expected float | str | null, got array", "give a number or a string"),
        ("hold", "x", "expected object | null, got str", "give an object, or leave it out"),
        ("reason", 7, "expected str | null, got int", "give a string, or leave it out"),
        ("context", [], "expected object | null, got array", "give an object, or leave it out"),
    ],
)
def test_a_refusal_names_field_reason_and_remedy(field: str, value: Any, reason: str, remedy: str) -> None:
    """Whoever reads it knows what to change, and into what."""
    error = refusal(encoded(**{field: value}))

    assert (error.field, error.reason) == (field, reason)
    assert remedy in error.remedy
    assert str(error) == f"{error.field}: {error.reason}; {error.remedy}"


@pytest.mark.parametrize("field", ["id", "type", "timestamp"])
def test_a_missing_field_is_named(field: str) -> None:
    """Each of the three required fields is missed by its name, with what it should be."""
    error = refusal(json.dumps({name: value for name, value in VALID.items() if name != field}).encode())

    assert (error.field, error.reason) == (field, "is missing")
    assert error.remedy.startswith("give ")


@pytest.mark.parametrize(
    ("policy", "field"),
    [({"id": 1}, "policy.id"), ({"version": 1.5}, "policy.version"), ({"name": []}, "policy.name")],
)
def test_a_field_within_the_policy_is_named_with_its_path(policy: dict[str, Any], field: str) -> None:
    """The remedy is that of the policy."""
    error = refusal(encoded(policy=policy))

    assert error.field == field
    assert error.remedy.startswith("give an object with id, name and version")


def test_a_number_too_large_within_an_object_is_refused_with_the_objects_remedy() -> None:
    """Where exactly it stands is not told, but whose fault it is."""
    error = refusal(spliced('"hold":{"a":1e400}'))

    assert error.field.startswith("hold")
    assert (error.reason, error.remedy) == ("number out of range", "give an object, or leave it out")


@pytest.mark.parametrize("field", ["type", "decision"])
def test_a_value_cannot_pretend_to_be_another_field(field: str) -> None:
    """A value that imitates the decoder's way of naming a place misleads nobody."""
    assert refusal(encoded(**{field: "x - at `$.id`"})).field == field


def test_a_refusal_does_not_repeat_a_mass_of_data() -> None:
    """The value that is refused may be as large as an event; the reason is not."""
    refused = refusal(encoded(type="x" * 200_000))

    assert len(str(refused)) < 500
    assert "x…" in str(refused)
