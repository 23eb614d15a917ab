"""Splunk's HEC as a customer configures it: fields to index, and acknowledgement."""

from typing import Any

import pytest

from tests.integrations.refusals import SECRET, document, refusal, splunk, wrong_refusals

METADATA = ("source_type", "host", "source")
PATTERN = "string should match pattern '^[A-Za-z][A-Za-z0-9_]{0,63}$'"


def test_what_is_left_out() -> None:
    """Nothing is indexed beside the event, and delivered means accepted."""
    defaults: dict[str, Any] = {
        "source_type": "mitrity:governance",
        "index": None,
        "host": "mitrity",
        "source": "mitrity",
        "fields": {},
        "gzip": False,
        "use_ack": False,
        "ack_timeout_seconds": 30.0,
        "batch_events": 500,
        "batch_bytes": 900_000,
        "timeout_seconds": 20.0,
    }

    assert splunk().model_dump(include=set(defaults)) == defaults


def test_fields_are_kept_in_their_order() -> None:
    """Up to twenty of them, of any text."""
    fields = {f"field_{number}": f"żółć {number}" for number in range(20)}

    assert list(splunk(fields=fields).fields.items()) == list(fields.items())


TOO_LONG = "string should have at most 256 characters"
EMPTY = "string should have at least 1 character"
NO_TEXT = "input should be a valid string"
NO_SWITCH = "input should be a valid boolean, unable to interpret input"
NO_TOKEN = "give the token as Splunk shows it: printable characters, no spaces"
NO_INDEX = "give 1 to 80 lower-case letters, digits, underscores and hyphens, the first no hyphen"
EXAMPLE = "give an address like https://splunk.example.com:8088/services/collector/event"
USER_NAME = "has a user name in it: leave it out, the token is all that Splunk needs"


def test_a_field_is_named_as_splunk_wants_it() -> None:
    """A letter first, then letters, digits and underscores."""
    for name in ("", "1st", "_x", "a b", "a.b", "a-b", "ä", "x" * 65, "a\n"):
        error = refusal(document("splunk_hec", fields={name: SECRET}))

        assert error.field.startswith("fields."), name
        assert error.reason == PATTERN, name


def test_a_field_holds_a_short_text() -> None:
    """What is no text, too much of it or too many is refused by the name of the field."""
    cases: list[tuple[Any, str, str]] = [
        ({"a": ""}, "fields.a", EMPTY),
        ({"a": SECRET * 50}, "fields.a", TOO_LONG),
        ({"a": 7}, "fields.a", NO_TEXT),
        ({"a": {"b": SECRET}}, "fields.a", NO_TEXT),
        (SECRET, "fields", "input should be a valid dictionary"),
        (None, "fields", "input should be a valid dictionary"),
        (
            {f"f{number}": SECRET for number in range(21)},
            "fields",
            "dictionary should have at most 20 items after validation, not more",
        ),
    ]

    assert (
        wrong_refusals("splunk_hec", [({"fields": given}, field, why) for given, field, why in cases]) == {}
    )


NO_TOKENS = ("", SECRET + " ", " x", "a b", f"{SECRET}\r\nX-Injected: 1", "a\tb", "é", "\x7f", "x" * 513)
NO_INDEXES = ("Main", "-main", "x" * 81, "main\n", "", "ä", "a b", "a/b")
#: Fields that only Splunk has, what they cannot be, and the reason.
WRONG: list[tuple[str, Any, str]] = [
    *((switch, SECRET, NO_SWITCH) for switch in ("use_ack", "gzip")),
    *((field, "", EMPTY) for field in METADATA),
    *((field, SECRET * 50, TOO_LONG) for field in METADATA),
    *((field, 7, NO_TEXT) for field in METADATA),
    ("host", "x" * 257, TOO_LONG),
    ("source", SECRET + "\ud800", f"{NO_TEXT}, unable to parse raw data as a unicode string"),
    *(("token", token, NO_TOKEN) for token in NO_TOKENS),
    ("token", None, NO_TEXT),
    ("token", 7, NO_TEXT),
    ("tokens", SECRET, "extra inputs are not permitted"),
    *(("index", index, NO_INDEX) for index in NO_INDEXES),
]


def test_a_refusal_names_the_field() -> None:
    """Field, and what would be right; no value is repeated.

    In a header, a line break would be another one, and a blank the end of the token.
    """
    assert wrong_refusals("splunk_hec", [({field: given}, field, why) for field, given, why in WRONG]) == {}


@pytest.mark.parametrize("index", ["main", "_internal", "x" * 80, "a-b_c9", None])
def test_an_index_may_be_named_or_left_to_the_token(index: str | None) -> None:
    """Without one, the token's own default decides."""
    assert splunk(index=index).index == index


@pytest.mark.parametrize(
    "url",
    [
        "http://splunk",
        "https://splunk.example.com:8088/services/collector/event",
        "https://10.0.0.1/splunk/services/collector",
        "https://[2001:db8::1]:8088/",
        "HTTPS://SPLUNK.EXAMPLE.COM",
    ],
)
def test_a_url_is_kept_as_it_was_given(url: str) -> None:
    """Whatever names a host by http or https is a destination."""
    assert splunk(url=url).url == url


UNDIALLABLE = [
    "syslog://x",
    "",
    "splunk.example.com:8088",
    "ftp://splunk.example.com",
    "https://",
    "https:///services/collector",
    "https://:8088",
    f"https://admin:{SECRET}/x@splunk.example.com/",
    f"https://splunk.example.com/?token={SECRET}",
    "https://splunk.example.com/#events",
    f"https://splunk.example.com:{SECRET}/",
    "https://splunk.example.com:0/",
    "https://splunk.example.com:65536/",
    "https://splunk.example.com:-1/",
    "https://[::1",
    f"https://[{SECRET}]/",
    f"https://{SECRET}\u2100.example.com/",
    "https://splunk.example.com ",
    " https://splunk.example.com",
    "https://splunk.example.com /services",
    "https://splunk.example.com/\r\nX-Injected: 1",
    "https://splunk.example.com\n",
]


def test_a_url_that_cannot_be_dialled_is_refused() -> None:
    """No host, no port, a query, blanks: all are found at set-up, not at the first use."""
    assert wrong_refusals("splunk_hec", [({"url": url}, "url", EXAMPLE) for url in UNDIALLABLE]) == {}


def test_a_url_carries_no_credentials() -> None:
    """The token is all that Splunk needs, and the refusal says so."""
    urls = [f"https://{user}@splunk.example.com/" for user in (f"admin:{SECRET}", SECRET, "")]

    assert wrong_refusals("splunk_hec", [({"url": url}, "url", USER_NAME) for url in urls]) == {}


def test_acknowledgement_is_waited_for_within_bounds() -> None:
    """From a second to what a lease can hold."""
    field = "ack_timeout_seconds"
    cases: list[tuple[Any, str]] = [
        (0.9, "input should be greater than or equal to 1"),
        (251, "input should be less than or equal to 250"),
        (SECRET, "input should be a valid number, unable to parse string as a number"),
    ]
    asked = [({"use_ack": True, field: given}, field, why) for given, why in cases]

    assert wrong_refusals("splunk_hec", asked) == {}
