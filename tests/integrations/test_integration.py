"""An integration is refused in words that name the field and never repeat a value."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.integrations.refusals import SECRET, refusal
from tests.integrations.refusals import document as described
from worker.integrations.integration import Integration, parse_integration
from worker.integrations.splunk_hec import SplunkHec
from worker.model.errors import InvalidIntegration
from worker.model.events import EventType
from worker.transports.tls import judged_whole


def document(**destination: Any) -> dict[str, Any]:
    """Describe an integration with Splunk with these changes to its destination."""
    return described("splunk_hec", **destination)


def test_what_may_be_left_out() -> None:
    """Id, name, url and token suffice; without types it gets all but the masses of policy.allow."""
    integration = parse_integration(document())

    assert integration.type == "splunk_hec"
    assert integration.enabled
    assert (integration.tenant_id, integration.max_retries) == ("default", 3)
    assert integration.event_types == set(EventType) - {EventType.POLICY_ALLOW}
    assert (integration.destination.batch_events, integration.destination.batch_bytes) == (500, 900_000)
    assert integration.destination.verify_tls


def test_secrets_are_never_printed() -> None:
    """Neither token nor key stands in a repr, a str, or any dump."""
    integration = parse_integration(document(client_cert_pem="cert", client_key_pem=SECRET))
    shown = [
        repr(integration),
        str(integration),
        f"{integration.destination!r}",
        integration.model_dump_json(),
    ]

    assert [text for text in [*shown, str(integration.model_dump())] if SECRET in text] == []
    assert isinstance(integration.destination, SplunkHec)
    assert integration.destination.token.get_secret_value() == SECRET


#: Changes to an integration, and the field that its refusal names.
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"id": ""}, "id"),
    ({"id": "x" * 65}, "id"),
    ({"id": SECRET + "/x"}, "id"),
    ({"id": SECRET + "\n"}, "id"),
    ({"id": 7}, "id"),
    ({"name": ""}, "name"),
    ({"name": SECRET + "\n"}, "name"),
    ({"name": "x" * 201}, "name"),
    ({"name": SECRET + "\ud800"}, "name"),
    ({"tenant_id": ""}, "tenant_id"),
    ({"tenant_id": SECRET + "\0"}, "tenant_id"),
    ({"enabled": SECRET}, "enabled"),
    ({"event_types": []}, "event_types"),
    ({"event_types": SECRET}, "event_types"),
    ({"event_types": [SECRET]}, "event_types.0"),
    ({"max_retries": 4}, "max_retries"),
    ({"max_retries": -1}, "max_retries"),
    ({"destination": SECRET}, "destination"),
    ({"unknown": SECRET}, "unknown"),
]


def test_a_refusal_names_the_field() -> None:
    """Every part of an integration that can be wrong is called by its name."""
    named = {repr(changes): refusal(document() | changes).field for changes, _ in WRONG}

    assert named == {repr(changes): field for changes, field in WRONG}


@pytest.mark.parametrize("field", ["id", "name", "destination"])
def test_a_missing_field_is_named(field: str) -> None:
    """What is required and absent is said to be so."""
    error = refusal({name: value for name, value in document().items() if name != field})

    assert (error.field, error.reason) == (field, "field required")


#: Fields of the destination, each with a value that it cannot have.
WRONG_FIELDS: list[tuple[str, Any]] = [
    ("type", SECRET),
    ("source_type", ""),
    ("host", "x" * 257),
    ("source", SECRET + "\ud800"),
    ("batch_events", 0),
    ("batch_events", 1001),
    ("batch_events", SECRET),
    ("batch_bytes", 999),
    ("batch_bytes", 4_000_001),
    ("timeout_seconds", 0),
    ("timeout_seconds", 30.1),
    ("timeout_seconds", float("nan")),
    ("verify_tls", SECRET),
    ("gzip", SECRET),
    ("client_key_pem", 7),
    ("tokens", SECRET),
]


def test_a_refusal_names_the_field_of_the_destination() -> None:
    """The path is the one that a person would use: without `destination`."""
    named = {(field, repr(value)): refusal(document(**{field: value})).field for field, value in WRONG_FIELDS}

    assert {case: field for case, field in named.items() if field != case[0]} == {}


UNDIALLABLE = [
    "",
    "splunk.example.com:8088",
    "ftp://splunk.example.com",
    "https://",
    "https:///services/collector",
    "https://:8088",
    f"https://admin:{SECRET}@splunk.example.com/",
    f"https://admin:{SECRET}/x@splunk.example.com/",
    f"https://{SECRET}@splunk.example.com/",
    "https://@splunk.example.com/",
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
    """No host, no port, credentials, a query, blanks: all are found at set-up, not at the first use."""
    refused = {url: refusal(document(url=url)) for url in UNDIALLABLE}
    hints = ("give an address like https://", "has a user name")

    assert {url: error.field for url, error in refused.items() if error.field != "url"} == {}
    assert [url for url, error in refused.items() if not any(hint in error.reason for hint in hints)] == []


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
    assert parse_integration(document(url=url)).destination.url == url


def test_a_token_that_no_header_can_carry_is_refused() -> None:
    """A line break would be another header, a blank the end of the token."""
    tokens = ["", " x", "a b", "a\r\nX-Injected: 1", "a\tb", "é", "\x7f", "x" * 513, None, 7]
    named = {token: refusal(document(token=token)).field for token in tokens}

    assert named == dict.fromkeys(tokens, "token")


def test_an_index_that_splunk_could_not_have_is_refused() -> None:
    """Lower-case letters, digits, underscores and hyphens, not beginning with a hyphen."""
    indexes = ["Main", "-main", "x" * 81, "main\n", "", "ä", "a b", "a/b"]
    named = {index: refusal(document(index=index)).field for index in indexes}

    assert named == dict.fromkeys(indexes, "index")


@pytest.mark.parametrize("index", ["main", "_internal", "x" * 80, "a-b_c9", None])
def test_an_index_may_be_named_or_left_to_the_token(index: str | None) -> None:
    """Without one, the token's own default decides."""
    destination = parse_integration(document(index=index)).destination

    assert isinstance(destination, SplunkHec)
    assert destination.index == index


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text(), max_size=2)
names = st.sampled_from([*Integration.model_fields, "unknown"])
inner = st.sampled_from(["type", "url", "token", "index", "host", "batch_bytes", "ca_pem", "unknown"])
urls = st.text(alphabet="htps:/[]@?#%.0x\uff11\u2100 \n", max_size=20).map(lambda tail: "https://" + tail)


@settings(max_examples=200)
@given(st.dictionaries(names, values, max_size=3), st.dictionaries(inner, values | urls, max_size=3))
def test_whatever_is_configured_is_judged(changes: dict[str, Any], destination: dict[str, Any]) -> None:
    """Out comes an integration, or InvalidIntegration that names a field."""
    try:
        integration = parse_integration(document(**destination) | changes)
    except InvalidIntegration as error:
        assert error.field  # noqa: PT017 - either way is right
    else:
        assert integration.destination.url


UNREPEATED = "never-repeated-in-any-words"

#: Destinations with more than one mistake, and the fields that must be named.
MISTAKES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "splunk": (
        {
            "type": "splunk_hec",
            "url": "ftp://splunk",
            "token": f"{UNREPEATED} x",
            "index": "UPPER",
            "timeout_seconds": 31,
            "ca_pem": "no certificate",
        },
        {"url", "token", "index", "timeout_seconds", "ca_pem"},
    ),
    "webhook": (
        {
            "type": "webhook",
            "url": "https://hook.example.com",
            "auth": {"kind": "bearer", "token": f"{UNREPEATED} x"},
            "headers": {"Host": "a"},
            "batch_events": 0,
        },
        {"auth.token", "headers", "batch_events"},
    ),
    "contradictions": (
        {
            "type": "syslog_cef",
            "url": "syslog+udp://siem",
            "framing": "newline",
            "confirm_by_shutdown": True,
            "max_message_bytes": 100_000,
            "hostname": "2026",
            "client_cert_pem": "half",
        },
        {"framing", "confirm_by_shutdown", "max_message_bytes", "hostname", "destination"},
    ),
    "certificates": (
        {
            "type": "webhook",
            "url": "https://hook.example.com",
            "ca_pem": "none",
            "client_cert_pem": "none",
            "client_key_pem": UNREPEATED,
        },
        {"ca_pem", "client_cert_pem"},
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_every_wrong_field_is_named(name: str) -> None:
    """Also those of the integration itself; no value is repeated."""
    destination, fields = MISTAKES[name]
    given_document = {"id": "int_1", "name": "SIEM", "max_retries": 4, "destination": destination}
    with pytest.raises(InvalidIntegration) as refused:
        judged_whole(given_document)
    error = refused.value

    assert {one.field for one in error.all} == fields | {"max_retries"}
    assert not any(UNREPEATED in str(one) for one in error.all)


def test_an_index_is_refused_in_words() -> None:
    """Not by the pattern that it does not match."""
    destination = {"type": "splunk_hec", "url": "https://splunk.example.com", "token": "t", "index": "Main"}
    with pytest.raises(InvalidIntegration) as refused:
        judged_whole({"id": "int_1", "name": "SIEM", "destination": destination})

    assert refused.value.field == "index"
    assert refused.value.reason.startswith("give 1 to 80 lower-case letters")
