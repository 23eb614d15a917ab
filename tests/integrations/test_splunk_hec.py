"""Splunk's HEC as a customer configures it: fields to index, and acknowledgement."""

from typing import Any

import pytest

from tests.integrations.refusals import SECRET, document, refusal, splunk

PATTERN = "string should match pattern '^[A-Za-z][A-Za-z0-9_]{0,63}$'"


def test_what_is_left_out() -> None:
    """Nothing is indexed beside the event, and delivered means accepted."""
    read = splunk()

    assert (read.source_type, read.index, read.host, read.source) == (
        "mitrity:governance",
        None,
        "mitrity",
        "mitrity",
    )
    assert (read.fields, read.gzip, read.use_ack, read.ack_timeout_seconds) == ({}, False, False, 30.0)
    assert (read.batch_events, read.batch_bytes, read.timeout_seconds) == (500, 900_000, 20.0)


def test_fields_are_kept_in_their_order() -> None:
    """Up to twenty of them, of any text."""
    fields = {f"field_{number}": f"żółć {number}" for number in range(20)}

    assert list(splunk(fields=fields).fields.items()) == list(fields.items())


@pytest.mark.parametrize("name", ["", "1st", "_x", "a b", "a.b", "a-b", "ä", "x" * 65, "a\n"])
def test_a_field_is_named_as_splunk_wants_it(name: str) -> None:
    """A letter first, then letters, digits and underscores."""
    error = refusal(document("splunk_hec", fields={name: SECRET}))

    assert error.field.startswith("fields.")
    assert error.reason == PATTERN


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"a": ""}, "fields.a", "string should have at least 1 character"),
        ({"a": SECRET * 50}, "fields.a", "string should have at most 256 characters"),
        ({"a": 7}, "fields.a", "input should be a valid string"),
        ({"a": {"b": SECRET}}, "fields.a", "input should be a valid string"),
        (SECRET, "fields", "input should be a valid dictionary"),
        (None, "fields", "input should be a valid dictionary"),
        (
            {f"f{number}": SECRET for number in range(21)},
            "fields",
            "dictionary should have at most 20 items",
        ),
    ],
)
def test_a_field_holds_a_short_text(fields: Any, field: str, reason: str) -> None:
    """What is no text, too much of it or too many is refused by the name of the field."""
    error = refusal(document("splunk_hec", fields=fields))

    assert error.field == field
    assert error.reason.startswith(reason)


@pytest.mark.parametrize(
    ("seconds", "reason"),
    [
        (0.9, "input should be greater than or equal to 1"),
        (251, "input should be less than or equal to 250"),
        (SECRET, "input should be a valid number, unable to parse string as a number"),
    ],
)
def test_acknowledgement_is_waited_for_within_bounds(seconds: Any, reason: str) -> None:
    """From a second to what a lease can hold."""
    error = refusal(document("splunk_hec", use_ack=True, ack_timeout_seconds=seconds))

    assert (error.field, error.reason) == ("ack_timeout_seconds", reason)


@pytest.mark.parametrize("field", ["use_ack", "gzip"])
def test_a_switch_is_on_or_off(field: str) -> None:
    """Nothing else is a boolean."""
    error = refusal(document("splunk_hec", **{field: SECRET}))

    assert (error.field, error.reason) == (
        field,
        "input should be a valid boolean, unable to interpret input",
    )


@pytest.mark.parametrize("field", ["source_type", "host", "source"])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "string should have at least 1 character"),
        (SECRET * 50, "string should have at most 256 characters"),
        (7, "input should be a valid string"),
    ],
)
def test_metadata_is_a_short_text(field: str, value: Any, reason: str) -> None:
    """What stands beside each event is neither empty nor a novel."""
    error = refusal(document("splunk_hec", **{field: value}))

    assert (error.field, error.reason) == (field, reason)


@pytest.mark.parametrize("token", ["", SECRET + " ", f"{SECRET}\r\nX-Injected: 1", "x" * 513])
def test_a_token_is_told_how_it_should_be(token: str) -> None:
    """In words that help whoever copied too much."""
    error = refusal(document("splunk_hec", token=token))

    assert (error.field, error.reason) == (
        "token",
        "give the token as Splunk shows it: printable characters, no spaces",
    )


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (
            f"https://x/?token={SECRET}",
            "give an address like https://splunk.example.com:8088/services/collector/event",
        ),
        ("syslog://x", "give an address like https://splunk.example.com:8088/services/collector/event"),
        (
            f"https://{SECRET}@x",
            "has a user name in it: leave it out, the token is all that Splunk needs",
        ),
    ],
)
def test_a_url_is_told_how_it_should_be(url: str, reason: str) -> None:
    """By an example, and never by repeating what was given."""
    error = refusal(document("splunk_hec", url=url))

    assert (error.field, error.reason) == ("url", reason)
