"""The page of the audit trail; and every form of the pages that changes something leaves one record."""

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi.routing import APIRoute

from tests.attacks.test_invalid_events import broken, reject
from tests.audit_trail import left_behind, raw_table, take_in
from tests.pages.conftest import HOME, OURS, THEIRS, Site, Visitor
from tests.pages.test_dead_letters import bury
from worker.ledger.api_keys import ApiKeyStore
from worker.model.api_keys import Role
from worker.model.audit import Action
from worker.pages.app import ROUTERS

_ONE = HOME + "/{integration_id}"
_LETTER = HOME + "/dead-letters/{letter_id}"
#: What shows something that was typed, and changes nothing.
_NO_CHANGE = {HOME + "/dead-letters/count", HOME + "/new/{kind}/preview", _ONE + "/preview"}
_numbers = itertools.count(1)
_URL = "https://hook.example.com/in"


@dataclass(frozen=True)
class Way:
    """How a form is sent: what must be there first, and what is in it; and what the record says was done."""

    action: Action
    make: Callable[[Site], dict[str, str]]
    fields: Callable[[Site, dict[str, str]], dict[str, Any]] = lambda _site, _ids: {}
    status: int = 303


def _integrate(site: Site, **more: Any) -> dict[str, str]:
    return {"integration_id": site.integrate(f"audited-{next(_numbers)}", **more)}


def _signed(site: Site) -> dict[str, str]:
    return _integrate(site, signing_secrets=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])


def _letter(site: Site) -> dict[str, str]:
    home = site.integrate(f"audited-{next(_numbers)}")
    return {"letter_id": bury(site, home, f"{home}-1")[0], "home": home}


def _invalid(site: Site) -> dict[str, str]:
    return {"letter_id": reject(site.fleet, broken(number=next(_numbers) + 700))}


def _replay(site: Site) -> dict[str, str]:
    visitor, made = site.visitor(), _letter(site)
    sent = visitor.post(HOME + "/replays", integration=made["home"])
    return {"replay_id": sent.headers["location"].rpartition("/")[2]}


def _sure(_site: Site, _ids: dict[str, str]) -> dict[str, str]:
    return {"sure": "yes"}


def _filled(site: Site, path: str, **changes: str) -> dict[str, Any]:
    """Return what stands in a form, changed; its proof is that of who sends it."""
    filled = site.visitor().get(path).filled
    return {name: values for name, values in filled.items() if name != "csrf"} | changes


def _named(site: Site, _ids: dict[str, str]) -> dict[str, Any]:
    return _filled(site, f"{HOME}/new/webhook", name=f"made-{next(_numbers)}", url=_URL)


def _edited(site: Site, ids: dict[str, str]) -> dict[str, Any]:
    return _filled(site, f"{HOME}/{ids['integration_id']}/edit", max_retries="1")


def _corrected(site: Site, ids: dict[str, str]) -> dict[str, str]:
    page = site.visitor().get(f"{HOME}/dead-letters/{ids['letter_id']}")
    [text] = page.filled["event"]
    return {"event": json.dumps({**json.loads(text), "drift_score": 0.5})}


def _home_of_letter(_site: Site, ids: dict[str, str]) -> dict[str, str]:
    return {"integration": ids["home"]}


def _switch(word: str) -> Callable[[Site], dict[str, str]]:
    before = {"resume": {"paused": True}, "enable": {"enabled": False}}.get(word, {})
    return lambda site: {**_integrate(site, **before), "switch": word}


#: By path; of a path with several meanings, one for each.
WAYS: dict[str, list[Way]] = {
    _ONE + "/delete": [Way(Action.INTEGRATION_DELETED, _integrate, _sure)],
    _ONE + "/secret/new": [Way(Action.INTEGRATION_SECRETS_CHANGED, _integrate, status=200)],
    _ONE + "/secret/{what}": [
        Way(Action.INTEGRATION_SECRETS_CHANGED, lambda site: {**_signed(site), "what": "none"}, _sure)
    ],
    _ONE + "/{switch}": [
        Way(Action.INTEGRATION_PAUSED, _switch("pause")),
        Way(Action.INTEGRATION_RESUMED, _switch("resume")),
        Way(Action.INTEGRATION_ENABLED, _switch("enable")),
        Way(Action.INTEGRATION_DISABLED, _switch("disable"), _sure),
    ],
    HOME + "/new/{kind}": [Way(Action.INTEGRATION_CREATED, lambda _site: {"kind": "webhook"}, _named)],
    _ONE + "/edit": [Way(Action.INTEGRATION_CHANGED, _integrate, _edited)],
    HOME + "/new/{kind}/test": [
        Way(Action.INTEGRATION_TESTED, lambda _site: {"kind": "webhook"}, _named, status=200)
    ],
    _ONE + "/test": [Way(Action.INTEGRATION_TESTED, _integrate, status=200)],
    _LETTER + "/discard": [Way(Action.LETTERS_DISCARDED, _letter, _sure)],
    _LETTER + "/correct": [Way(Action.LETTER_CORRECTED, _invalid, _corrected)],
    HOME + "/replays": [Way(Action.REPLAY_CREATED, _letter, _home_of_letter)],
    HOME + "/replays/{replay_id}/cancel": [Way(Action.REPLAY_CANCELLED, _replay)],
}
#: What is recorded by way of Redis: tested by itself.
_SESSIONS = {"/sign-in", "/sign-out"}


def _posts() -> set[str]:
    routes = (route for router in ROUTERS for route in router.routes)
    return {one.path for one in routes if isinstance(one, APIRoute) and "POST" in (one.methods or ())}


@pytest.mark.slow
def test_every_form_that_changes_something_leaves_one_record(site: Site, subtests: pytest.Subtests) -> None:
    """By the key that signed in, from where; a path that is not in the table fails here."""
    assert _posts() - _NO_CHANGE == WAYS.keys() | _SESSIONS
    visitor = site.visitor()
    for path, ways in WAYS.items():
        for way in ways:
            with subtests.test(path=path, action=way.action):
                ids = way.make(site)
                fields = {"csrf": visitor.csrf(), **way.fields(site, ids)}
                with left_behind(site.fleet.engine) as found:
                    answer = visitor.http.post(path.format(**ids), data=fields)
                [record] = found

                assert answer.status_code == way.status, answer.text
                assert (record.action, record.tenant_id, record.actor.kind) == (way.action, OURS, "page")
                assert (record.actor.key_name, record.actor.address) == (f"admin of {OURS}", "127.0.0.1")
                if "integration_id" in ids:
                    assert record.integration_id == ids["integration_id"]


def _try(visitor: Visitor, key: str) -> int:
    return visitor.http.post("/sign-in", data={"key": key}).status_code


def test_who_signed_in_and_out_and_who_could_not(site: Site) -> None:
    """A wrong text for a key that there is counts once a minute; one that names no key leaves nothing."""
    take_in(site.fleet)
    keys = ApiKeyStore(site.fleet.engine)
    made = keys.create(OURS, Role.ADMIN, "signs in")
    with left_behind(site.fleet.engine) as found:
        visitor = site.visitor(None)
        wrong = made.text[:-4] + "0000"
        answers = [_try(visitor, text) for text in (wrong, wrong, f"siem_{'0' * 16}_{'0' * 64}", "nothing")]
        assert answers == [401] * 4
        assert _try(visitor, made.text) == 303
        visitor.post("/sign-out")
        take_in(site.fleet)

    assert [one.action for one in found] == ["session.refused", "session.begun", "session.ended"]
    assert {one.actor.key_id for one in found} == {made.key.id}
    assert {(one.tenant_id, one.actor.address) for one in found} == {(OURS, "127.0.0.1")}
    assert made.text.rsplit("_", 1)[1] not in raw_table(site.fleet.engine)
    visitor.http.close()


def test_the_page_shows_before_and_after(site: Site) -> None:
    """Found by its filters, linked from the integration's own page; another tenant sees nothing."""
    home = site.integrate(f"shown-{next(_numbers)}")
    visitor = site.visitor()
    visitor.post(f"{HOME}/{home}/pause")
    visitor.post(f"{HOME}/{home}/edit", status=303, **_edited(site, {"integration_id": home}))
    page = visitor.get(f"{HOME}/audit", params={"integration": home})
    paused = visitor.get(f"{HOME}/audit", params={"integration": home, "action": "integration.paused"})
    nothing = visitor.get(f"{HOME}/audit", params={"key": "0" * 16})
    theirs = site.visitor(tenant=THEIRS).get(f"{HOME}/audit")

    assert "max_retries 3 → 1" in page.text
    assert "paused no → yes" in page.text
    assert f"admin of {OURS}" in page.text
    assert "max_retries" not in paused.text
    assert "No record matches" in nothing.text
    assert home not in theirs.markup
    assert page.all("a", href=f"{HOME}/{home}")
    assert visitor.get(f"{HOME}/{home}").all("a", href=f"{HOME}/audit?integration={home}")
    assert visitor.http.get("/audit").headers["location"] == f"{HOME}/audit"
    for field, value in (("action", "bored"), ("since", "then"), ("before", "' OR 1=1")):
        assert field in visitor.get(f"{HOME}/audit", 422, params={field: value}).text


def test_who_may_read_sees_the_trail(site: Site) -> None:
    """An auditor needs no right to change."""
    assert "Who changed what" in site.visitor(Role.READ_ONLY).get(f"{HOME}/audit").text


def test_many_records_are_shown_a_page_at_a_time(site: Site) -> None:
    """The latest first, none twice and none left out."""
    home = site.integrate(f"many-{next(_numbers)}")
    store = site.resources.integrations_of(OURS)
    for number in range(60):
        store.set_paused(home, paused=number % 2 == 0)
    visitor = site.visitor()
    first = visitor.get(f"{HOME}/audit", params={"integration": home})
    [following] = [one.attributes["href"] for one in first.elements if one.attributes.get("rel") == "next"]
    second = visitor.get(following)

    assert first.text.count("the fleet") + second.text.count("the fleet") == 61
    assert second.text.count("the fleet") == 11
    assert "integration: created" in second.text.partition("Before and after")[2]
