"""What all three types have in common: numbers within bounds, TLS, and no unknown field."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.integrations.refusals import SECRET, VALID, document, refusal, wrong_refusals
from worker.integrations import CONFIGS, DestinationConfig, destination_types
from worker.integrations.integration import parse_integration
from worker.model.errors import InvalidIntegration

BOUNDS = {
    "batch_events": (1, 1000),
    "batch_bytes": (1000, 4_000_000),
}
ABOVE = "input should be less than or equal to"
BELOW = "input should be greater than or equal to"


@pytest.mark.parametrize("kind", destination_types())
def test_sizes_have_bounds(kind: str) -> None:
    """The bounds themselves are allowed; the words of a refusal name them."""
    for field, (least, most) in BOUNDS.items():
        allowed = [getattr(_read(kind, **{field: value}), field) for value in (least, most)]
        reasons = [refusal(document(kind, **{field: value})).reason for value in (least - 1, most + 1)]

        assert (field, allowed) == (field, [least, most])
        assert (field, reasons) == (field, [f"{BELOW} {least}", f"{ABOVE} {most}"])


@pytest.mark.parametrize("kind", destination_types())
def test_a_request_ends_within_half_a_minute(kind: str) -> None:
    """No request takes no time, and none for ever."""
    cases: dict[Any, str] = {
        0: "input should be greater than 0",
        -1: "input should be greater than 0",
        30.1: f"{ABOVE} 30",
        float("inf"): f"{ABOVE} 30",
        float("nan"): f"{ABOVE} 30",
        SECRET: "input should be a valid number, unable to parse string as a number",
    }
    field = "timeout_seconds"

    assert wrong_refusals(kind, [({field: value}, field, reason) for value, reason in cases.items()]) == {}


NO_SERVER_NAMES = (7, "", "https://siem", "siem:6514", "-siem", "siem..example.com", "[::1]", "a" * 64)
OF_ANOTHER_KIND: tuple[tuple[str, Any], ...] = (
    ("batch_events", SECRET),
    ("batch_events", 1.5),
    ("batch_bytes", SECRET),
    ("batch_bytes", None),
    ("verify_tls", SECRET),
    ("ca_pem", 7),
    ("client_cert_pem", [SECRET]),
    ("client_key_pem", 7),
    *(("tls_server_name", name) for name in (*NO_SERVER_NAMES, f"{SECRET} x")),
    ("url", None),
    ("url", 7),
    ("unknown", SECRET),
)


@pytest.mark.parametrize("kind", destination_types())
def test_a_value_of_another_kind_is_refused(kind: str) -> None:
    """Every field that all types share is called by its name."""
    named = {
        (field, repr(value)): refusal(document(kind, **{field: value})) for field, value in OF_ANOTHER_KIND
    }

    assert {case: error.field for case, error in named.items() if error.field != case[0]} == {}


@pytest.mark.parametrize("kind", destination_types())
def test_a_client_certificate_and_its_key_go_together(kind: str) -> None:
    """Half a pair is refused in words that name both."""
    halves = ("client_cert_pem", "client_key_pem")
    reasons = {half: refusal(document(kind, **{half: SECRET})).reason for half in halves}

    both = "client_cert_pem and client_key_pem go together: give both or neither"
    assert reasons == dict.fromkeys(halves, both)


@pytest.mark.parametrize("kind", destination_types())
def test_without_a_url_there_is_no_destination(kind: str) -> None:
    """What is required and absent is said to be so."""
    given_document = document(kind)
    del given_document["destination"]["url"]
    error = refusal(given_document)

    assert (error.field, error.reason) == ("url", "field required")


@pytest.mark.parametrize("kind", [None, SECRET, "", 7, "Webhook"])
def test_the_type_is_one_of_three(kind: Any) -> None:
    """A destination of an unknown type, or of none, is answered with those that there are."""
    destination = {"url": "https://x"} | ({} if kind is None else {"type": kind})
    error = refusal({"id": "int_1", "name": "SIEM", "destination": destination})

    assert (error.field, error.reason) == ("type", "give one of splunk_hec, syslog_cef, webhook")


@pytest.mark.parametrize(
    ("kind", "foreign"),
    [
        ("syslog_cef", "token"),
        ("syslog_cef", "auth"),
        ("webhook", "token"),
        ("webhook", "index"),
        ("splunk_hec", "facility"),
        ("splunk_hec", "signing_secrets"),
    ],
)
def test_what_belongs_to_another_type_is_refused(kind: str, foreign: str) -> None:
    """An option without effect is a mistake that its author wants to hear of."""
    error = refusal(document(kind, **{foreign: SECRET}))

    assert (error.field, error.reason) == (foreign, "extra inputs are not permitted")


@pytest.mark.parametrize("kind", destination_types())
def test_what_was_read_cannot_be_changed(kind: str) -> None:
    """A destination is a value: threads share it."""
    with pytest.raises(ValueError, match="frozen"):
        _read(kind).url = "https://elsewhere"


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text(), max_size=2)
nested = values | st.dictionaries(st.text(), values, max_size=2) | st.lists(values, max_size=2)
names = st.sampled_from(
    sorted({"unknown"}.union(*(config.model_fields for config in CONFIGS.values())) - {"type"})
)


@settings(max_examples=300)
@given(st.sampled_from(sorted(VALID)), st.dictionaries(names, nested, max_size=3))
def test_whatever_is_configured_is_judged(kind: str, destination: dict[str, Any]) -> None:
    """Out comes an integration, or InvalidIntegration that names a field."""
    try:
        integration = parse_integration(document(kind, **destination))
    except InvalidIntegration as error:
        assert error.field  # noqa: PT017 - either way is right
    else:
        assert integration.type == kind


def _read(kind: str, **changes: Any) -> DestinationConfig:
    return parse_integration(document(kind, **changes)).destination
