"""What someone typed into a form stays, whatever happens to it; and a form that comes twice is done once."""

import contextlib
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.pages.conftest import HOME, OURS, THEIRS, Site, Visitor
from tests.pages.reading import Fields, Page
from tests.pages.test_forms import FULL, edit_of, opened
from worker.integrations.splunk_hec import SplunkHec
from worker.integrations.webhook import Webhook
from worker.ledger.api_keys import ApiKeyStore
from worker.model.api_keys import Role

NEW = HOME + "/new/splunk_hec"
SECRET = "typed-once-and-never-shown"
URL = "https://splunk.example.com:8088/services/collector/event"


def form_of(visitor: Visitor, name: str, **typed: str) -> Fields:
    """Return the form of a new integration as someone fills it in."""
    form = visitor.get(NEW).filled | {"name": [name], "url": [URL], "token": [SECRET]}
    return form | {field: [text] for field, text in typed.items()}


def token_of(site: Site, location: str) -> str:
    """Return the token of the integration whose page that is."""
    destination = opened(site, location.rpartition("/")[2]).destination
    assert isinstance(destination, SplunkHec)
    return destination.token.get_secret_value()


def test_every_mistake_is_shown_at_once_beside_its_field(site: Site) -> None:
    """And above the form, with a way to each."""
    visitor = site.visitor()
    wrong = {
        "url": "ftp://x",
        "index": "UPPER",
        "timeout_seconds": "soon",
        "fields": "no pair",
        "ca_pem": "x",
    }
    answer = visitor.http.post(NEW, data=form_of(visitor, "wrong", **wrong))
    page = Page(answer.text)

    assert answer.status_code == 422
    invalid = {
        one.attributes["name"] for one in page.elements if one.attributes.get("aria-invalid") == "true"
    }
    assert invalid == set(wrong)
    assert {one.attributes["href"] for one in page.all("a")} >= {
        f"#f-{name.replace('.', '-')}" for name in wrong
    }
    assert {name: page.filled[name] for name in wrong} == {name: [text] for name, text in wrong.items()}


def test_a_secret_survives_a_mistake_without_being_shown(site: Site) -> None:
    """It is kept for the next attempt, sealed; the test and the preview use it as well."""
    visitor = site.visitor()
    refused = visitor.http.post(NEW, data=form_of(visitor, "mistaken", url="ftp://splunk"))
    again = Page(refused.text)
    previewed = visitor.http.post(NEW + "/preview", data=again.filled | {"url": [URL]})
    client = site.fleet.client
    kept = [client.get(key) for key in client.keys("siem:draft:*")]
    saved = visitor.http.post(NEW, data=again.filled | {"url": [URL]})

    assert refused.status_code == 422
    assert "Kept from your last attempt" in again.text
    assert SECRET not in refused.text
    assert again.filled["token"] == [""]
    assert kept
    assert all(SECRET.encode() not in (value or b"") for value in kept)
    assert "sourcetype" in previewed.text
    assert saved.status_code == 303
    assert token_of(site, saved.headers["location"]) == SECRET


def test_a_kept_secret_can_be_typed_again(site: Site) -> None:
    """What is typed last counts."""
    visitor = site.visitor()
    again = Page(visitor.http.post(NEW, data=form_of(visitor, "anew", url="ftp://splunk")).text)
    saved = visitor.http.post(NEW, data=again.filled | {"url": [URL], "token": ["another-one"]})

    assert token_of(site, saved.headers["location"]) == "another-one"


def test_a_double_click_makes_one_integration(site: Site) -> None:
    """Without a name, which would be another one each time; both answers lead to it."""
    visitor = site.visitor()
    form, before = form_of(visitor, ""), len(site.fleet.store.records())
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: visitor.http.post(NEW, data=form), range(3)))

    assert [answer.status_code for answer in answers] == [303] * 3
    assert len({answer.headers["location"] for answer in answers}) == 1
    assert len(site.fleet.store.records()) == before + 1


def test_a_form_that_was_used_asks_before_it_makes_another_one(site: Site) -> None:
    """As after the browser's way back; what was typed is there, the secret as well."""
    visitor = site.visitor()
    form = form_of(visitor, "first of two")
    assert visitor.http.post(NEW, data=form).status_code == 303
    asked = visitor.http.post(NEW, data=form | {"name": ["second of two"]})
    page = Page(asked.text)
    saved = visitor.http.post(NEW, data=page.filled)

    assert asked.status_code == 409
    assert "has created an integration already" in page.text
    assert page.filled["name"] == ["second of two"]
    assert token_of(site, saved.headers["location"]) == SECRET


def test_a_change_that_is_sent_twice_is_no_conflict(site: Site) -> None:
    """No one else has changed anything."""
    integration = site.integrate("sent_twice")
    visitor = site.visitor()
    form = visitor.get(edit_of(integration)).filled | {"max_retries": ["1"]}
    answers = [visitor.http.post(edit_of(integration), data=form) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [303, 303]
    assert opened(site, integration).max_retries == 1


def test_a_conflict_shows_both_and_keeps_what_was_typed(site: Site) -> None:
    """What only the other one changed is taken over, so that saving again does not undo it."""
    integration = site.integrate("both", type="webhook", **FULL["webhook"])
    visitor = site.visitor()
    mine, theirs = (visitor.get(edit_of(integration)).filled for _ in range(2))
    secrets = {"auth.value": [SECRET], "headers": ["X-Team: blue"]}
    changes = {"batch_events": ["33"], "url": ["https://theirs.example.com/"], "verify_tls": []}
    assert visitor.http.post(edit_of(integration), data=theirs | changes | secrets).status_code == 303
    typed = {"url": ["https://mine.example.com/"], "connections": ["7"], **secrets}
    answer = visitor.http.post(edit_of(integration), data=mine | typed)
    page = Page(answer.text)
    saved = visitor.http.post(edit_of(integration), data=page.filled)
    now = opened(site, integration).destination

    assert answer.status_code == 412
    assert "Saved meanwhile: https://theirs.example.com/" in page.text
    assert page.text.count("Changed meanwhile to what stands here.") == 2
    assert SECRET not in answer.text
    assert saved.status_code == 303
    assert isinstance(now, Webhook)
    assert now.url == "https://mine.example.com/"
    assert now.connections == 7
    assert now.batch_events == 33
    assert not now.verify_tls
    assert getattr(now.auth, "value").get_secret_value() == SECRET  # noqa: B009 - only one kind of auth has it


@pytest.mark.parametrize("form", ["new", "edit"])
def test_an_ended_session_keeps_what_was_typed(site: Site, form: str) -> None:
    """Who signs in with the same key finds the form as it was, secrets included."""
    visitor = site.visitor()
    integration = site.integrate(f"ended_{form}", type="splunk_hec", url=URL, token="before")
    place = NEW if form == "new" else edit_of(integration)
    typed = visitor.get(place).filled | {"name": [f"typed {form}"], "url": [URL], "token": [SECRET]}
    visitor.http.cookies.clear()
    sent_away = visitor.http.post(place, data=typed)
    asked = visitor.get(sent_away.headers["location"])
    signed_in = visitor.http.post(
        "/sign-in", data={"key": site.keys[OURS, Role.ADMIN], "next": asked.value_of("next")}
    )
    again = visitor.get(signed_in.headers["location"])
    saved = visitor.http.post(place, data=again.filled)

    assert sent_away.status_code == 303
    assert "Your session has ended" in asked.text
    assert "Your input was restored" in again.text
    assert again.filled["name"] == [f"typed {form}"]
    assert SECRET not in again.markup
    assert token_of(site, saved.headers["location"]) == SECRET


def test_a_sign_in_in_between_keeps_what_was_typed(site: Site) -> None:
    """In another tab, with the same key: the form comes back at once."""
    visitor = site.visitor()
    typed = form_of(visitor, "in between")
    visitor.http.post("/sign-in", data={"key": site.keys[OURS, Role.ADMIN]})
    answer = visitor.http.post(NEW, data=typed)
    again = visitor.get(answer.headers["location"])
    saved = visitor.http.post(NEW, data=again.filled)

    assert answer.status_code == 303
    assert again.filled["name"] == ["in between"]
    assert token_of(site, saved.headers["location"]) == SECRET


def test_what_was_typed_is_for_its_tenant_and_its_secrets_for_their_key(site: Site) -> None:
    """Another key of the tenant sees what is no secret; another tenant sees nothing."""
    visitor = site.visitor()
    typed = {**form_of(visitor, "of one key"), "url": "https://hook.example.com/in?key=typed-k3y"}
    visitor.http.post("/sign-in", data={"key": site.keys[THEIRS, Role.ADMIN]})
    answer = visitor.http.post(NEW, data=typed)
    asked = visitor.get(answer.headers["location"])
    place = asked.value_of("next")
    theirs = visitor.get(place)
    other = ApiKeyStore(site.fleet.engine).create(OURS, Role.ADMIN, "another key")
    visitor.http.post("/sign-in", data={"key": other.text})
    same_tenant = visitor.get(place)
    saved = visitor.http.post(NEW, data=same_tenant.filled)

    assert "key of another tenant" in asked.text
    assert "of one key" not in theirs.markup
    assert same_tenant.filled["name"] == ["of one key"]
    assert same_tenant.filled["url"] == ["https://hook.example.com/in?key=…"]
    assert "typed-k3y" not in same_tenant.markup
    assert "type them again" in same_tenant.text
    assert saved.status_code == 422
    assert Page(saved.text).filled["name"] == ["of one key"]


def test_a_token_cannot_be_made_up_nor_used_as_a_proof(site: Site) -> None:
    """A made-up one is none; a real one without the session's proof saves nothing."""
    visitor, before = site.visitor(), len(site.fleet.store.records())
    form = form_of(visitor, "forged")
    made_up = visitor.http.post(NEW, data=form | {"form": ["x"], "csrf": ["x"]})
    without = visitor.http.post(NEW, data=form | {"csrf": ["x"]})

    assert made_up.status_code == 403
    assert without.headers["location"].startswith(NEW + "?draft=")
    assert len(site.fleet.store.records()) == before


def test_a_draft_that_is_gone_is_reported(site: Site) -> None:
    """The form is as empty as at first."""
    page = site.visitor().get(NEW, params={"draft": "never-was"})

    assert "no longer kept" in page.text


@pytest.mark.slow
def test_an_outage_of_the_database_keeps_what_was_typed(site: Site) -> None:
    """Nothing could be saved; the page that says so leads back to the form."""
    visitor = site.visitor()
    typed = form_of(visitor, "in an outage")
    with contextlib.closing(
        sqlite3.connect(str(site.fleet.engine.url.database), isolation_level=None)
    ) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        answer = visitor.http.post(NEW, data=typed)
        lock.execute("ROLLBACK")
    [back] = [
        one.attributes["href"] for one in Page(answer.text).all("a") if "draft=" in one.attributes["href"]
    ]
    again = visitor.get(back)
    saved = visitor.http.post(NEW, data=again.filled)

    assert answer.status_code == 503
    assert again.filled["name"] == ["in an outage"]
    assert token_of(site, saved.headers["location"]) == SECRET
