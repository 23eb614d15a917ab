"""Every change by the API leaves one record, which no other tenant sees and in which no secret stands."""

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.api.conftest import ADMIN, OURS, PUBLISH_ONLY, READ_ONLY, THEIRS, Api
from tests.api.publishing import taken
from tests.api.routes import Door, doors
from tests.api.settled import bury, pages
from tests.attacks.test_invalid_events import broken, reject
from tests.audit_trail import left_behind, raw_table, trail
from worker.ledger import audit as ledger_audit
from worker.model.audit import Action, Actor, ActorKind

#: What sends events, and changes nothing of what somebody has set up.
_NO_CHANGE = {"POST /events"}
_ONE = "/integrations/siem/{integration_id}"
_numbers = itertools.count(1)


def _make(api: Api, **changes: Any) -> dict[str, str]:
    return {"integration_id": api.create(**changes)["id"]}


def _with_letter(api: Api) -> dict[str, str]:
    made = _make(api)
    [letter_id] = bury(api, made["integration_id"], {f"a{next(_numbers)}": b"{}"})
    return {**made, "letter_id": letter_id}


def _with_replay(api: Api) -> dict[str, str]:
    made = _with_letter(api)
    answer = api.ask("POST", f"/integrations/siem/{made['integration_id']}/replays", json={"all": True})
    return {"integration_id": made["integration_id"], "replay_id": answer.json()["id"]}


def _invalid(api: Api) -> dict[str, str]:
    return {"letter_id": reject(api.fleet, broken(number=next(_numbers) + 500))}


def _correction(api: Api, ids: dict[str, str]) -> dict[str, Any]:
    event = json.loads(api.get(f"/dead-letters/{ids['letter_id']}")["payload"])
    return {"json": {**event, "drift_score": 0.5}}


Body = Callable[[Api, dict[str, str]], dict[str, Any]]


def _nothing(_api: Api, _ids: dict[str, str]) -> dict[str, Any]:
    return {}


def _json(**body: Any) -> Body:
    return lambda _api, _ids: {"json": body}


#: How each door that changes something is opened, and what the record says that was done.
CHANGES: dict[str, tuple[Callable[[Api], dict[str, str]], Body, Action]] = {
    "POST /integrations/siem": (
        lambda _api: {},
        _json(type="webhook", url="https://hook.example.com/in"),
        Action.INTEGRATION_CREATED,
    ),
    f"PATCH {_ONE}": (_make, _json(max_retries=1), Action.INTEGRATION_CHANGED),
    f"DELETE {_ONE}": (_make, _nothing, Action.INTEGRATION_DELETED),
    f"POST {_ONE}/pause": (_make, _nothing, Action.INTEGRATION_PAUSED),
    f"POST {_ONE}/resume": (_make, _nothing, Action.INTEGRATION_RESUMED),
    f"POST {_ONE}/test": (_make, _nothing, Action.INTEGRATION_TESTED),
    f"POST {_ONE}/replays": (_with_letter, _json(all=True), Action.REPLAY_CREATED),
    f"DELETE {_ONE}/replays/{{replay_id}}": (_with_replay, _nothing, Action.REPLAY_CANCELLED),
    f"DELETE {_ONE}/dead-letters/{{letter_id}}": (_with_letter, _nothing, Action.LETTERS_DISCARDED),
    "DELETE /dead-letters/{letter_id}": (_invalid, _nothing, Action.LETTERS_DISCARDED),
    "POST /dead-letters/{letter_id}/correction": (_invalid, _correction, Action.LETTER_CORRECTED),
}


def _changing(api: Api) -> list[Door]:
    return [one for one in doors(api) if one.method != "GET" and str(one) not in _NO_CHANGE]


def test_every_route_that_changes_something_leaves_one_record(api: Api, subtests: pytest.Subtests) -> None:
    """By the key that asked, from where it asked; a route that is not in the table fails here."""
    assert {str(one) for one in _changing(api)} == CHANGES.keys()
    for door in _changing(api):
        with subtests.test(door=str(door)):
            make, body, action = CHANGES[str(door)]
            ids = make(api)
            more = body(api, ids)
            with left_behind(api.resources.engine) as found:
                answer = api.ask(door.method, door.path.format(**ids), **more)
            [record] = found

            assert answer.status_code < 300, answer.text
            assert (record.action, record.tenant_id, record.actor.kind) == (action, OURS, "api")
            assert (record.actor.key_name, record.actor.address) == (f"{ADMIN} of {OURS}", "127.0.0.1")
            assert record.actor.key_id
            assert api.keys[OURS, ADMIN].split("_")[1] == record.actor.key_id
            if "integration_id" in ids:
                assert record.integration_id == ids["integration_id"]
    taken(api)


def test_what_is_refused_leaves_no_record(api: Api, subtests: pytest.Subtests) -> None:
    """Neither what the role may not, nor what is not there, nor what is wrong."""
    home = api.create()["id"]
    place = f"/integrations/siem/{home}"
    with left_behind(api.resources.engine) as found:
        for door in _changing(api):
            with subtests.test(door=str(door)):
                assert door.ask(api, role=READ_ONLY).status_code == 403
                assert door.ask(api, tenant=THEIRS).status_code >= 400 or door.path == "/integrations/siem"
        assert api.ask("PATCH", place, json={"url": "nowhere"}).status_code == 422
        assert (
            api.ask("PATCH", place, json={"max_retries": 1}, headers={"If-Match": '"99"'}).status_code == 412
        )

    assert {(one.action, one.tenant_id) for one in found} == {(Action.INTEGRATION_CREATED, THEIRS)}


def test_a_repeated_request_is_recorded_once(api: Api) -> None:
    """With its Idempotency-Key."""
    given = {"type": "webhook", "url": "https://hook.example.com/in"}
    headers = {"Idempotency-Key": f"audit-{next(_numbers)}"}
    with left_behind(api.resources.engine) as found:
        answers = [api.ask("POST", "/integrations/siem", json=given, headers=headers) for _ in range(3)]

    assert {one.status_code for one in answers} == {201}
    assert [one.action for one in found] == [Action.INTEGRATION_CREATED]


def test_before_and_after_are_shown_and_no_secret(api: Api) -> None:
    """Of a secret that changes it is shown that it did; the raw table holds none of those that were used."""
    secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "query-secret-1", "query-secret-2", "hush-hush-1"]
    home = api.create(
        url=f"https://hook.example.com/in?key={secrets[1]}",
        signing_secrets=[secrets[0]],
        headers={"X-Key": secrets[3]},
    )["id"]
    place = f"/integrations/siem/{home}"
    changed = {
        "url": f"https://hook.example.com/in?key={secrets[2]}",
        "max_retries": 0,
        "headers": {"X-Key": "hush-hush-2"},
    }
    assert api.ask("PATCH", place, json=changed).status_code == 200
    assert api.ask("PATCH", place, json={"headers": {"X-Key": "hush-hush-3"}}).status_code == 200
    third, second, first = api.get("/audit", params={"integration": home})["items"]
    created = {one["field"]: one for one in first["changes"]}
    changes = {one["field"]: (one["before"], one["after"], one["secret"]) for one in second["changes"]}

    url = "https://hook.example.com/in?key=…"
    assert first["action"] == "integration.created"
    assert created["url"] == {"field": "url", "before": None, "after": url, "secret": True}
    assert created["signing_secrets"]["after"] == [{"set": True}]
    assert created["headers.X-Key"]["after"] == {"set": True}
    assert second["action"] == "integration.changed"
    assert changes == {
        "url": (url, url, True),
        "max_retries": (3, 0, False),
        "headers.X-Key": ({"set": True}, {"set": True}, True),
    }
    assert third["action"] == "integration.secrets_changed"
    whole = raw_table(api.resources.engine)
    used = [*secrets, "hush-hush-2", "hush-hush-3", *api.keys.values()]
    assert [one for one in used if one in whole] == []
    assert all(text.rsplit("_", 1)[1] not in whole for text in api.keys.values())


def test_filters_and_pages(api: Api) -> None:
    """Each filter narrows the list; pages are whole, none twice and none left out."""
    home = api.create()["id"]
    for _ in range(3):
        api.ask("POST", f"/integrations/siem/{home}/pause")
        api.ask("POST", f"/integrations/siem/{home}/resume")
    all_of_it = api.get("/audit", params={"integration": home})["items"]
    paged = [one for page in pages(api, "/audit", integration=home, limit=2) for one in page["items"]]
    paused = api.get("/audit", params={"integration": home, "action": "integration.paused"})["items"]
    middle = all_of_it[3]["at"]
    since = api.get("/audit", params={"integration": home, "since": middle})["items"]
    until = api.get("/audit", params={"integration": home, "until": middle})["items"]
    key_id = all_of_it[0]["actor"]["key_id"]

    assert len(all_of_it) == 7
    assert paged == all_of_it
    assert [one["id"] for one in all_of_it] == sorted((one["id"] for one in all_of_it), reverse=True)
    assert len(paused) == 3
    assert all_of_it[3] in since
    assert all_of_it[3] in until
    assert len(since) + len(until) >= 8
    assert home in {one["integration_id"] for one in api.get("/audit", params={"key": key_id})["items"]}
    assert api.get("/audit", params={"key": "0" * 16})["items"] == []


@pytest.mark.parametrize(
    ("field", "value"),
    [("action", "was.bored"), ("since", "yesterday"), ("until", "2026-11-22T10:00:00"), ("limit", "0")],
)
def test_a_wrong_filter_is_named(api: Api, field: str, value: str) -> None:
    """Instead of a list of everything."""
    answer = api.ask("GET", "/audit", params={field: value})

    assert answer.status_code == 422
    assert answer.json()["field"] == field


@pytest.mark.parametrize("cursor", ["nonsense", "ImF1ZF8nIE9SIDE9MSI"])
def test_a_wrong_cursor_is_named(api: Api, cursor: str) -> None:
    """Also one that holds no id of a record."""
    answer = api.ask("GET", "/audit", params={"cursor": cursor})

    assert (answer.status_code, answer.json()["field"]) == (422, "cursor")


def test_no_tenant_sees_another_ones(api: Api) -> None:
    """Whatever it asks for; who may only publish sees none, who may read sees its tenant's."""
    theirs = api.create(tenant=THEIRS, name=f"secret-name-{next(_numbers)}")
    [made] = trail(api.resources.engine, integration_id=theirs["id"])
    asked: list[dict[str, str]] = [
        {"integration": theirs["id"]},
        {"key": made.actor.key_id or ""},
        {"action": "integration.created"},
        {"limit": "1000"},
    ]
    for params in asked:
        assert theirs["id"] not in json.dumps(api.get("/audit", params=params))
    assert api.get("/audit", params={"integration": theirs["id"]}, role=READ_ONLY, tenant=THEIRS)["items"]
    assert api.ask("GET", "/audit", role=PUBLISH_ONLY).status_code == 403


def test_a_tenant_is_not_shown_which_operator_acted(api: Api) -> None:
    """Nor what concerns the whole installation."""
    home = api.create()["id"]
    cli = Actor(ActorKind.CLI, user="alice", host="bastion-7")
    api.resources.integrations_of(OURS, cli).set_paused(home, paused=True)
    ours = api.get("/audit", params={"limit": 1000})["items"]

    assert ours[0]["actor"] == {
        "kind": "cli",
        **dict.fromkeys(("key_id", "key_name", "address", "user", "host")),
    }
    assert "bastion-7" not in json.dumps(ours)
    assert "ledger.upgraded" not in {one["action"] for one in ours}
    assert "ledger.upgraded" in {one.action for one in trail(api.resources.engine)}


def test_a_tenant_cannot_flood_the_trail(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond its share its changes are refused, and nothing changes; another tenant is not affected."""
    home, theirs = api.create()["id"], api.create(tenant=THEIRS)["id"]
    monkeypatch.setattr(ledger_audit, "MOST_AN_HOUR", len(trail(api.resources.engine, tenant_id=OURS)))
    with left_behind(api.resources.engine) as found:
        refused = api.ask("POST", f"/integrations/siem/{home}/pause")
        fine = api.ask("PATCH", f"/integrations/siem/{theirs}", tenant=THEIRS, json={"name": "fine"})

    assert (refused.status_code, fine.status_code) == (429, 200)
    assert "Retry-After" in refused.headers
    assert api.get(f"/integrations/siem/{home}")["paused"] is False
    assert [one.tenant_id for one in found] == [THEIRS]


def test_the_largest_change_is_a_small_record(api: Api) -> None:
    """Many headers and a long path: shortened, and told apart by their digests."""
    headers = {f"X-Header-{number:02}-{'n' * 100}": "v" * 500 for number in range(20)}
    home = api.create(url="https://hook.example.com/" + "p" * 1500, headers=headers)["id"]
    [record] = trail(api.resources.engine, integration_id=home)
    [url] = [one for one in record.changes if one.field == "url"]

    assert len(raw_table(api.resources.engine)) / len(trail(api.resources.engine)) < 9000
    assert "characters, sha256 " in str(url.after)
    assert len(str(url.after)) <= 300
