"""The forms of the three types: what they create, what a change leaves alone, how a mistake is answered."""

from typing import Any

import pytest
import trustme

from tests.pages.conftest import HOME, OURS, Site
from tests.pages.reading import Page
from worker.integrations import CONFIGS
from worker.integrations.integration import Integration
from worker.integrations.syslog_cef import SyslogCef
from worker.pages.form_fields import main_fields

TOKEN = "the-token-of-splunk-f3"
#: What someone fills in who knows nothing but the address.
LEAST: dict[str, dict[str, str]] = {
    "splunk_hec": {"url": "https://splunk.example.com:8088/services/collector/event", "token": TOKEN},
    "syslog_cef": {"url": "syslog://siem.example.com"},
    "webhook": {"url": "https://hook.example.com/in"},
}
#: What someone has set up who knows everything; nothing of it is a default.
FULL: dict[str, dict[str, Any]] = {
    "splunk_hec": {
        **LEAST["splunk_hec"],
        "index": "security",
        "source_type": "ours",
        "host": "h",
        "source": "s",
        "gzip": True,
        "use_ack": True,
        "ack_timeout_seconds": 60.0,
        "fields": {"team": "red", "zone": "a: b"},
        "batch_events": 17,
        "batch_bytes": 54_321,
        "timeout_seconds": 2.5,
        "verify_tls": False,
    },
    "syslog_cef": {
        "url": "syslog+tls://siem.example.com:6514",
        "facility": "local7",
        "header": "rfc5424",
        "framing": "newline",
        "hostname": "us",
        "send_src": False,
        "confirm_by_shutdown": True,
        "max_message_bytes": 4000,
        "max_datagrams_per_second": 77,
        "timeout_seconds": 3.0,
    },
    "webhook": {
        **LEAST["webhook"],
        "auth": {"kind": "api_key", "header": "X-Key", "value": "the-key-itself"},
        "body": "array",
        "headers": {"X-Team": "red"},
        "connections": 3,
        "batch_events": 11,
    },
}


@pytest.mark.parametrize("kind", LEAST)
def test_the_least_that_can_be_filled_in_makes_an_integration(site: Site, kind: str) -> None:
    """As a browser sends the form: what was left empty has its default."""
    visitor = site.visitor()
    form = visitor.get(f"{HOME}/new/{kind}").filled | {"name": [f"least {kind}"]} | LEAST[kind]
    answer = visitor.http.post(f"{HOME}/new/{kind}", data=form)
    made = opened(site, answer.headers["location"].rpartition("/")[2])

    assert answer.status_code == 303
    assert made.tenant_id == OURS
    assert made == Integration.model_validate(
        {"id": made.id, "name": f"least {kind}", "tenant_id": OURS}
        | {"destination": {"type": kind, **LEAST[kind]}}
    )


def test_the_time_zone_of_a_header_is_chosen_and_kept(site: Site) -> None:
    """It goes with RFC 3164 alone; what is no zone is answered beside its field."""
    visitor = site.visitor()
    path = f"{HOME}/new/syslog_cef"
    form = visitor.get(path).filled | {"name": ["zoned"], "url": ["syslog://siem"]}
    wrong = visitor.http.post(path, data=form | {"time_zone": ["Mars/Phobos"]})
    answer = visitor.http.post(path, data=form | {"time_zone": ["Asia/Kolkata"]})
    made = opened(site, answer.headers["location"].rpartition("/")[2]).destination

    assert "IANA time zone database" in wrong.text
    assert isinstance(made, SyslogCef)
    assert made.time_zone == "Asia/Kolkata"


@pytest.mark.parametrize("kind", FULL)
def test_a_form_that_is_saved_unchanged_changes_nothing(site: Site, kind: str) -> None:
    """No field is forgotten, no secret is lost, and nothing that the form does not show is set back."""
    more: dict[str, Any] = {
        "max_retries": 1,
        "redrive": False,
        "event_types": ["policy.allow", "hold.denied"],
    }
    integration_id = site.integrate(f"full_{kind}", type=kind, **FULL[kind], **more)
    visitor, before = site.visitor(), opened(site, integration_id)
    answer = visitor.http.post(edit_of(integration_id), data=visitor.get(edit_of(integration_id)).filled)

    assert answer.status_code == 303, answer.text
    assert opened(site, integration_id) == before


@pytest.mark.parametrize("kind", FULL)
def test_no_form_holds_a_secret(site: Site, kind: str) -> None:
    """Only that it is set, and how it ends."""
    integration_id = site.integrate(f"hidden_{kind}", type=kind, **FULL[kind])
    page = site.visitor().get(edit_of(integration_id))

    assert TOKEN not in page.markup
    assert "the-key-itself" not in page.markup
    if kind == "splunk_hec":
        assert "ends in …f3" in page.text


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_form_shows_the_fields_of_its_type_alone(site: Site, kind: str) -> None:
    """No one is asked for a token by a form for syslog."""
    names = set(site.visitor().get(f"{HOME}/new/{kind}").filled)
    others = {field.name for other in CONFIGS if other != kind for field in main_fields(other)}

    assert {field.name for field in main_fields(kind)} <= names
    assert not names & (others - {field.name for field in main_fields(kind)})


MISTAKES = {
    "splunk_hec": [
        ("url", "ftp://splunk.example.com"),
        ("token", ""),
        ("timeout_seconds", "soon"),
        ("fields", "no pair"),
    ],
    "syslog_cef": [
        ("url", "http://siem.example.com"),
        ("facility", "local9"),
        ("max_message_bytes", "1"),
    ],
    "webhook": [
        ("batch_events", "0"),
        ("headers", "X-Team red"),
        ("ca_pem", "no certificate"),
        ("ca_pem", "# Größe"),
        ("max_retries", "4"),
        ("event_types", "policy.unheard"),
    ],
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_mistake_is_shown_beside_its_field(site: Site, kind: str) -> None:
    """Nothing is saved, and what was filled in is still there, but for secrets."""
    visitor, before = site.visitor(), len(site.fleet.store.records())
    for field, value in MISTAKES[kind]:
        form = visitor.get(f"{HOME}/new/{kind}").filled | {"name": "wrong"} | LEAST[kind] | {field: value}
        answer = visitor.http.post(f"{HOME}/new/{kind}", data=form)
        page = Page(answer.text)

        assert answer.status_code == 422, (field, value)
        assert "Nothing was saved" in page.text, (field, value)
        assert field in page.text
        places = [one for one in page.elements if one.attributes.get("aria-invalid") == "true"]
        assert [one.attributes["name"] for one in places] == ([field] if field != "event_types" else [])
        assert page.filled["name"] == ["wrong"], (field, value)
        assert TOKEN not in answer.text, (field, value)
    assert len(site.fleet.store.records()) == before


def test_a_change_that_came_second_is_not_saved(site: Site) -> None:
    """Two tabs, both open before either was saved."""
    integration_id = site.integrate("overtaken")
    visitor = site.visitor()
    tabs = [visitor.get(edit_of(integration_id)).filled for _ in range(2)]
    first = visitor.http.post(edit_of(integration_id), data=tabs[0] | {"name": "of the other"})
    second = visitor.http.post(edit_of(integration_id), data=tabs[1] | {"name": "of mine"})

    assert (first.status_code, second.status_code) == (303, 412)
    assert "was changed since" in second.text
    assert opened(site, integration_id).name == "of the other"


def test_secrets_are_kept_replaced_or_forgotten_as_asked(site: Site) -> None:
    """Empty keeps, a value replaces, a tick forgets."""
    integration_id = site.integrate("secretive", type="webhook", **FULL["webhook"])
    visitor = site.visitor()

    def save(**changes: str) -> Any:
        form = visitor.get(edit_of(integration_id)).filled | changes
        assert visitor.http.post(edit_of(integration_id), data=form).status_code == 303
        return opened(site, integration_id).destination

    kept = save()
    replaced = save(**{"auth.value": "another-key"})
    forgotten = save(**{"forget:headers": "yes"})

    assert kept.auth.value.get_secret_value() == "the-key-itself"
    assert replaced.auth.value.get_secret_value() == "another-key"
    assert {name: value.get_secret_value() for name, value in replaced.headers.items()} == {"X-Team": "red"}
    assert dict(forgotten.headers) == {}


def test_a_client_certificate_is_kept_with_its_key(site: Site) -> None:
    """A key of many lines comes back as it was given, without ever being shown."""
    issued = trustme.CA().issue_cert("client.example.com")
    integration_id = site.integrate(
        "mutual",
        client_cert_pem=issued.cert_chain_pems[0].bytes().decode().strip(),
        client_key_pem=issued.private_key_pem.bytes().decode().strip(),
    )
    visitor, before = site.visitor(), opened(site, integration_id)
    page = visitor.get(edit_of(integration_id))
    answer = visitor.http.post(edit_of(integration_id), data=page.filled)

    assert answer.status_code == 303, answer.text
    assert "PRIVATE KEY" not in page.markup
    assert opened(site, integration_id) == before


def edit_of(integration_id: str) -> str:
    """Return where an integration is changed."""
    return f"{HOME}/{integration_id}/edit"


def opened(site: Site, integration_id: str) -> Integration:
    """Return the integration as it is now, with its secrets."""
    return site.resources.integrations_of(OURS).get(integration_id)


def test_a_revision_of_too_many_digits_is_unknown(site: Site) -> None:
    """It is reported as a change in between, and not as a fault of ours."""
    integration_id = site.integrate("long_revision")
    visitor = site.visitor()
    form = visitor.get(edit_of(integration_id)).filled | {"revision": ["9" * 5000]}

    assert visitor.http.post(edit_of(integration_id), data=form).status_code == 412
