"""Replays through the API: counted, made, followed, cancelled; never of another tenant's dead letters."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import READ_ONLY, THEIRS, Api, running
from tests.api.publishing import JSON
from tests.api.settled import bury, pages
from tests.fleet import Fleet, wait_until
from tests.ledger.entries import NOON
from worker.ledger.replays import create_replay
from worker.model.deliveries import Cause, Failure
from worker.model.failures import FailureCode
from worker.model.replays import DeadLetterFilter

_TIMEOUT = Failure(FailureCode.TIMED_OUT, "no answer", "see that it is well")


def _path(home: str, replay: str = "") -> str:
    return f"/integrations/siem/{home}/replays{'/' if replay else ''}{replay}"


def _ask(api: Api, home: str, **body: Any) -> Any:
    return api.ask("POST", _path(home), json=body)


@pytest.fixture
def home(api: Api) -> str:
    """Give an integration with three dead letters, of two causes."""
    made: str = api.create()["id"]
    bury(api, made, {"evt_1": b"{}", "evt_2": b"{}"})
    bury(api, made, {"evt_3": b"{}"}, NOON + 1000, cause=Cause.REFUSED, failure=_TIMEOUT)
    return made


def test_a_dry_run_counts(api: Api, home: str) -> None:
    """What would be replayed, by reason; nothing is made."""
    answer = _ask(api, home, all=True, dry_run=True)

    assert answer.status_code == 200
    assert answer.json() == {
        "replayable": 3,
        "invalid": 0,
        "unreadable": 0,
        "homeless": 0,
        "groups": [
            {"integration_id": home, "error_code": "destination_busy", "count": 2},
            {"integration_id": home, "error_code": "timed_out", "count": 1},
        ],
    }
    assert api.get(_path(home))["items"] == []


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ({"causes": ["refused"]}, 1),
        ({"codes": ["destination_busy", "timed_out"]}, 3),
        ({"since": "2026-11-22T22:15:00.500Z"}, 1),
        ({"until": "2026-11-23T00:15:00.500+02:00"}, 2),
        ({"event_types": ["policy.deny"], "causes": ["exhausted"]}, 2),
        ({"event_types": ["hold.denied"]}, 0),
    ],
)
def test_what_is_asked_for_is_selected(api: Api, home: str, asked: dict[str, Any], count: int) -> None:
    """By cause, reason, time and type."""
    assert _ask(api, home, **asked, dry_run=True).json()["replayable"] == count


def test_a_replay_is_made_and_shown(api: Api) -> None:
    """With what was asked for; read-only keys see it, and make none."""
    home, other = api.create()["id"], api.create()["id"]
    ids = bury(api, home, {"evt_1": b"{}", "evt_2": b"{}"})
    made = _ask(api, home, ids=ids[:1], rate=7, into=other)
    shown = api.get(_path(home, made.json()["id"]), role=READ_ONLY)
    refused = api.ask("POST", _path(home), READ_ONLY, json={"all": True})

    assert made.status_code == 201
    assert made.headers["Location"] == f"/api/v1{_path(home, made.json()['id'])}"
    assert refused.status_code == 403
    assert shown == {
        **made.json(),
        "result": {"delivered": 0, "dead": 0, "under_way": 0},
    }
    kept = ("integration_id", "into", "state", "rate", "total", "replayed", "made_by", "ended_at")
    assert [shown[name] for name in kept] == [home, other, "running", 7, 1, 0, "api:admin of ours", None]
    assert shown["selection"]["ids"] == ids[:1]


def test_what_is_wrong_is_named(api: Api, home: str) -> None:
    """The field, and what would be right."""
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "all"),
        ({"all": True, "causes": ["refused"]}, "all"),
        ({"causes": ["bad luck"]}, "causes.0"),
        ({"since": "2026-11-22T10:00:00"}, "since"),
        ({"all": True, "rate": 0}, "rate"),
        ({"all": True, "colour": "red"}, "colour"),
        ({"all": True, "into": "int_0"}, "into"),
        ({"ids": ["1-2-3"]}, "ids"),
        ({"ids": ["x"] * 501}, "ids"),
        ({"event_types": ["hold.denied"]}, "body"),
    ]
    for body, field in cases:
        answer = _ask(api, home, **body)

        assert (answer.status_code, answer.json()["field"]) == (422, field), body
        assert answer.json()["hint"], body


def test_replays_are_listed_in_pages(api: Api) -> None:
    """The newest first; only those of this integration, whatever texts the others hold."""
    home, other = api.create()["id"], api.create()["id"]
    ids = bury(api, home, {f"evt_{number}": b"{}" for number in range(3)})
    made = [_ask(api, home, ids=[one]).json()["id"] for one in ids]
    quoting = DeadLetterFilter(integration_id=other, codes=(f'"integration_id":"{home}"',))
    create_replay(api.resources.engine, quoting, target_id=home, rate=1, made_by="test")
    create_replay(api.resources.engine, DeadLetterFilter(), target_id=None, rate=1, made_by="test")
    found = [one["id"] for page in pages(api, _path(home), limit=2) for one in page["items"]]

    assert sorted(found) == sorted(made)
    assert len(api.get(_path(other))["items"]) == 1


def test_an_operator_is_not_named(api: Api, home: str) -> None:
    """Who works at the other end of the command line is not named; what made one by itself is."""
    for maker in ("cli:jane", "redrive"):
        create_replay(
            api.resources.engine, DeadLetterFilter(integration_id=home), target_id=None, rate=1, made_by=maker
        )
    shown = api.get(_path(home))["items"]

    assert {one["made_by"] for one in shown} == {"operator", "redrive"}


def test_a_replay_is_cancelled_once(api: Api, home: str) -> None:
    """One that has ended cannot be."""
    made = _ask(api, home, all=True).json()["id"]
    cancelled = api.ask("DELETE", _path(home, made))
    again = api.ask("DELETE", _path(home, made))

    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    assert cancelled.json()["note"] == "by api:admin of ours"
    assert cancelled.json()["ended_at"]
    assert again.status_code == 409


def test_nothing_of_another_tenant_is_shown(api: Api, home: str) -> None:
    """Its integrations and replays are as unknown as those that never were, and so are its dead letters."""
    theirs = api.create(tenant=THEIRS)["id"]
    [letter_id] = bury(api, theirs, {"evt_1": b"{}"})
    replay = api.ask("POST", _path(theirs), tenant=THEIRS, json={"ids": [letter_id]}).json()["id"]
    for method, place, body in (
        ("POST", "", {"all": True}),
        ("POST", "", {}),
        ("GET", "", None),
        ("GET", replay, None),
        ("DELETE", replay, None),
    ):
        known, unknown = (api.ask(method, _path(one, place), json=body) for one in (theirs, "int_0"))
        assert (known.status_code, known.content) == (404, unknown.content)
    for method in ("GET", "DELETE"):
        known, unknown = (api.ask(method, _path(home, one)) for one in (replay, "rpl_0"))
        assert (known.status_code, known.content) == (404, unknown.content)
    for text, one in (('{"ids": ["?"]}', letter_id), ('{"all": true, "into": "?"}', theirs)):
        known, unknown = (
            api.ask("POST", _path(home), content=text.replace("?", named), headers=JSON)
            for named in (one, "1-2-3")
        )
        assert (known.status_code, known.content) == (422, unknown.content)


@pytest.mark.slow
def test_a_recorder_carries_it_out(tmp_path: Path) -> None:
    """It puts the events into the backlog again, and the API tells how far it is."""
    with Fleet(tmp_path) as fleet, running(fleet) as api:
        home = api.create()["id"]
        event = {"id": "evt_1", "type": "policy.deny", "timestamp": "2026-11-22T10:11:12Z"}
        [letter_id] = bury(api, home, {"evt_1": json.dumps(event).encode()})
        fleet.start("recorder")
        made = _ask(api, home, all=True).json()["id"]
        done = wait_until(lambda: _done(api.get(_path(home, made))), "the replay is done")

        assert done["total"] == 1
        assert done["replayed"] == 1
        assert done["skipped"] == 0
        assert done["result"] == {"delivered": 0, "dead": 0, "under_way": 1}
        letter = api.get(f"/integrations/siem/{home}/dead-letters/{letter_id}")
        assert (letter["state"], letter["replay_id"]) == ("replayed", made)
        assert api.ask("DELETE", f"/integrations/siem/{home}/dead-letters/{letter_id}").status_code == 409


def _done(replay: Any) -> Any:
    return replay if replay["state"] == "done" else None
