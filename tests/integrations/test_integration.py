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
