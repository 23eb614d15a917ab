"""What a page must not let others do: forge forms, frame it, run scripts in it, change what it says."""

import json
import re
from typing import Any

import httpx
import pytest

from tests.ledger.entries import NOON, letter, outcome
from tests.pages.conftest import HOME, OURS, THEIRS, Site
from tests.pages.reading import Page
from worker.ledger.recording import record_entries
from worker.model.api_keys import Role
from worker.model.deliveries import Failure, Status
from worker.model.failures import FailureCode

#: Forms that change something; `{}` is an integration.
FORMS = (
    *("/sign-out", HOME + "/new/webhook", HOME + "/{}/edit", HOME + "/{}/pause", HOME + "/{}/resume"),
    *(HOME + "/{}/enable", HOME + "/{}/disable", HOME + "/{}/delete", HOME + "/{}/test"),
    *(HOME + "/{}/preview", HOME + "/{}/secret/new", HOME + "/{}/secret/old", HOME + "/replays"),
    *(HOME + "/dead-letters/count", HOME + "/dead-letters/1-0-0/discard", HOME + "/replays/rpl_1/cancel"),
    *(HOME + "/new/splunk_hec/test", HOME + "/new/syslog_cef/preview"),
)
PAGES = (
    HOME,
    HOME + "/new",
    HOME + "/new/webhook",
    HOME + "/dead-letters",
    HOME + "/events?id=x",
    "/sign-in",
)
NASTY = "\"><script>alert(1)</script><img src=x onerror=alert(2)>'{{7*7}}"


def test_a_form_without_the_sessions_proof_changes_nothing(site: Site) -> None:
    """CSRF: the cookie alone is not enough."""
    visitor, home = site.visitor(), site.integrate("formed")
    before = site.fleet.store.get(home)
    taken = {}
    for form in FORMS:
        for proof in ({}, {"csrf": ""}, {"csrf": "0" * 43}, {"csrf": "é"}):
            data = {"name": "forged", "url": "https://evil.example/", **proof}
            answer = visitor.http.post(form.format(home), data=data)
            if answer.status_code != 403 or "not sent from a page of yours" not in answer.text:
                taken[form, str(proof)] = answer.status_code

    assert taken == {}
    assert site.fleet.store.get(home) == before
    assert visitor.http.get(HOME).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_form_from_another_site_is_refused_even_with_the_proof(site: Site, headers: dict[str, str]) -> None:
    """The browser itself says where a form comes from."""
    visitor = site.visitor()
    data = {"csrf": visitor.csrf()}
    signing_in = {"key": site.keys[OURS, Role.ADMIN]}

    assert visitor.http.post("/sign-out", data=data, headers=headers).status_code == 403
    assert visitor.http.post("/sign-in", data=signing_in, headers=headers).status_code == 403
    assert visitor.http.get(HOME).status_code == 200


def test_the_proof_of_one_session_is_no_proof_in_another(site: Site) -> None:
    """Also not when both are of the same key."""
    one, other = site.visitor(), site.visitor()

    assert other.http.post("/sign-out", data={"csrf": one.csrf()}).status_code == 403


@pytest.mark.parametrize("page", PAGES)
def test_every_page_forbids_frames_foreign_sources_and_inline_scripts(site: Site, page: str) -> None:
    """Clickjacking and injected markup: the browser learns what a page may do, and no page needs more."""
    answer = site.visitor().http.get(page)
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))

    assert answer.status_code == 200
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert re.search(r"\son[a-z]+=|\sstyle=|javascript:|<style", answer.text) is None
    assert re.findall(r"<script(?![^>]*src=\"/static/)", answer.text) == []
    assert re.findall(r"(?:src|href)=\"(?:https?:)?//", answer.text) == []


def test_a_name_is_never_markup(site: Site) -> None:
    """Stored XSS through the name and the url of an integration, in every page that shows it."""
    integration = site.integrate("nasty", url=f"https://hook.example.com/{NASTY.replace(' ', '')}")
    changes: dict[str, Any] = {
        "revision": "1",
        "name": NASTY,
        "url": "https://h.example/",
        "auth.kind": "none",
    }
    site.visitor().post(f"{HOME}/{integration}/edit", **changes, event_types="policy.deny")
    visitor = site.visitor()
    for path in (HOME, f"{HOME}/{integration}", f"{HOME}/{integration}/edit", f"{HOME}/dead-letters"):
        page = visitor.get(path)

        assert page.all("script", src="") == []
        assert page.all("img") == []
        assert "alert(1)" in page.text or "alert(1)" in page.markup
        assert "<script>alert" not in page.markup


def test_an_event_is_never_markup(site: Site) -> None:
    """Stored XSS through every field of an event and the words of a destination, wherever they show."""
    home = site.integrate("struck")
    payload = json.dumps(
        dict.fromkeys(("id", "type", "agent_id", "agent_name", "reason", "policy", NASTY), NASTY)
    )
    entry = f"{NOON}-77"
    struck = Failure(FailureCode.EVENT_REFUSED, f"HTTP 400: {NASTY}", NASTY, 400)
    dead = letter({NASTY: payload.encode()}, integration_id=home, failure=struck)
    ended = outcome([NASTY], Status.DEAD, integration_id=home, failure=struck)
    record_entries(site.fleet.engine, [(entry, [ended])], [(entry, dead)])
    visitor = site.visitor()
    pages = [
        visitor.get(f"{HOME}/dead-letters"),
        visitor.get(f"{HOME}/dead-letters/{entry}-0"),
        visitor.get(f"{HOME}/events", params={"id": NASTY}),
        visitor.get(f"{HOME}/{home}"),
        Page(visitor.post(f"{HOME}/dead-letters/count", status=200, integration=home).text),
    ]

    for page in pages:
        assert page.all("img") == []
        assert [
            one for one in page.all("script") if not one.attributes.get("src", "").startswith("/static/")
        ] == []
        assert "<script>alert" not in page.markup
    assert all("alert(1)" in page.text for page in pages[:4])


def test_text_that_turns_around_or_hides_is_shown_by_its_code(site: Site) -> None:
    """A name with U+202E would make a page say something else than it holds."""
    page = site.visitor().get(HOME + "/events", params={"id": "x\u202ey"})

    assert "\u202e" not in page.text


@pytest.mark.parametrize("path", ["", "/edit"])
def test_another_tenants_integration_is_as_unknown_as_none(site: Site, path: str) -> None:
    """Byte for byte, but for the id."""
    theirs = site.integrate(f"theirs-{len(path)}", THEIRS)
    visitor = site.visitor()
    answers = [visitor.http.get(f"{HOME}/{one}{path}") for one in (theirs, "int_nobody")]
    texts = [answer.text.replace(theirs, "X").replace("int_nobody", "X") for answer in answers]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("what", ["pause", "delete", "edit", "test", "preview", "secret/new"])
def test_nothing_can_be_done_to_another_tenants_integration(site: Site, what: str) -> None:
    """The form's proof is for one's own."""
    theirs = site.integrate(f"untouched-{what.replace('/', '-')}", THEIRS)
    site.visitor().post(f"{HOME}/{theirs}/{what}", status=404, name="taken")
    record = site.fleet.store.get(theirs)

    assert (record.name, record.paused) == (f"untouched-{what.replace('/', '-')}", False)


def test_a_reader_changes_nothing(site: Site) -> None:
    """Read-only is more than hidden buttons."""
    reader, home = site.visitor(Role.READ_ONLY), site.integrate("read")
    proof = {"csrf": reader.csrf()}
    taken = {}
    for form in FORMS:
        if form != "/sign-out":
            answer = reader.http.post(form.format(home), data=proof)
            if answer.status_code != 403 or "read-only" not in answer.text:
                taken[form] = answer.status_code

    assert taken == {}


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", json.dumps({"csrf": "x"})),
        ("multipart/form-data; boundary=x", "--x--"),
        ("text/plain", "csrf=x"),
    ],
)
def test_only_forms_are_read(site: Site, content_type: str, body: str) -> None:
    """What another site can send without asking first is not taken for a form."""
    answer = site.visitor().http.post("/sign-out", content=body, headers={"Content-Type": content_type})

    assert answer.status_code == 415


def test_a_form_of_too_many_fields_is_refused(site: Site) -> None:
    """Before it costs anything."""
    visitor = site.visitor()
    body = "&".join(f"a{number}=1" for number in range(2000))
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = visitor.http.post("/sign-out", content=body, headers=form)

    assert answer.status_code == 400


def test_a_path_that_is_no_page_says_so(site: Site) -> None:
    """As a page; below /api as a problem."""
    assert "Not Found" in site.visitor().get("/elsewhere", status=404).text
    answer = httpx.get(site.url + "/api/v1/elsewhere", trust_env=False)
    assert answer.headers["content-type"] == "application/problem+json"
