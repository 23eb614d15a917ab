"""`siem … --json` prints what the API answers, for every resource that both show.

The bodies are compared whole. Where a tenant is not shown a value that operators see, the test names it.
"""

import json
import re
from operator import itemgetter
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from tests.api.conftest import Api, api, bare_fleet, running
from tests.api.publishing import event, lines, publish, taken
from tests.api.settled import bury, settle
from tests.attacks.test_invalid_events import broken, reject
from tests.cli.running import call
from tests.fleet import Fleet, wait_until
from tests.ledger.entries import NOON
from worker.ledger.replays import create_replay
from worker.model.deliveries import Cause, Status
from worker.model.replays import DeadLetterFilter

__all__ = ["api", "bare_fleet"]


def siem(api: Api, arguments: str) -> Any:
    """Return the document that `siem` prints, also when it reports trouble by its exit code."""
    return json.loads(call(api.fleet.environment, *arguments.split(), "--json").out)


def without(document: Any, *names: str) -> Any:
    """Return a document without these keys, wherever they stand in it."""
    match document:
        case dict():
            return {key: without(value, *names) for key, value in document.items() if key not in names}
        case list():
            return [without(one, *names) for one in document]
        case _:
            return document


@pytest.fixture
def home(api: Api) -> str:
    """Give an integration whose events were delivered, tried again, and given up."""
    made: str = api.create()["id"]
    settle(api, made, Status.DELIVERED, f"{made}-a", at_ms=NOON)
    settle(api, made, Status.RETRYING, f"{made}-b", at_ms=NOON + 1000)
    settle(api, made, Status.DEAD, f"{made}-b", at_ms=NOON + 2000)
    bury(api, made, {f"{made}-b": b'{"id": "\xc3\xa9"}', f"{made}-c": b"\xff"}, NOON + 2000)
    return made


def test_deliveries(api: Api, home: str) -> None:
    """Lists, their pages, and one event with its attempts."""
    path = f"/integrations/siem/{home}/deliveries"
    whole, first = (api.get(path, params=asked) for asked in ({}, {"limit": 1}))
    second = api.get(path, params={"limit": 1, "cursor": first["next"]})
    event = api.get("/deliveries", params={"event_id": f"{home}-b"})

    assert len(whole["items"]) == 2
    assert len(event["items"][0]["history"]) == 2
    asked = f"deliveries --integration {home}"
    assert siem(api, asked) == whole
    assert siem(api, f"{asked} --limit 1") == first
    assert siem(api, f"{asked} --limit 1 --cursor {first['next']}") == second
    assert siem(api, f"deliveries --event-id {home}-b") == event


def test_dead_letters(api: Api, home: str) -> None:
    """Lists, their pages, and each with its history and its payload: text, or base64."""
    path = f"/integrations/siem/{home}/dead-letters"
    whole, first = (api.get(path, params=asked) for asked in ({}, {"limit": 1}))
    second = api.get(path, params={"limit": 1, "cursor": first["next"]})
    shown = [api.get(f"{path}/{one['id']}") for one in whole["items"]]

    assert {(one["payload"], one["payload_base64"]) for one in shown} == {
        ('{"id": "é"}', None),
        (None, "/w=="),
    }
    assert sorted(len(one["history"]) for one in shown) == [0, 2]
    assert sorted(one["delivery"] is None for one in shown) == [False, True]
    assert all([death["id"] for death in one["deaths"]] == [one["id"]] for one in shown)
    asked = f"dead-letters list --integration {home}"
    assert siem(api, asked) == whole
    assert siem(api, f"{asked} --limit 1") == first
    assert siem(api, f"{asked} --limit 1 --cursor {first['next']}") == second
    assert [siem(api, f"dead-letters show {one['id']}") for one in shown] == shown


def test_invalid_events(api: Api) -> None:
    """They are dead letters of a tenant instead of an integration."""
    letter = reject(api.fleet, broken())
    shown = api.get(f"/dead-letters/{letter}")
    [listed] = [one for one in api.get("/dead-letters")["items"] if one["id"] == letter]

    assert (shown["tenant_id"], shown["integration_id"]) == ("ours", None)
    assert siem(api, f"dead-letters show {letter}") == shown
    found = siem(api, "dead-letters list --cause invalid")
    assert [one for one in found["items"] if one["id"] == letter] == [listed]


def test_what_a_replay_would_do(api: Api, home: str) -> None:
    """Counts by integration and reason, the largest group first."""
    bury(api, home, {f"{home}-d": b"{}"}, NOON, cause=Cause.UNREADABLE)
    counted = api.ask("POST", f"/integrations/siem/{home}/replays", json={"all": True, "dry_run": True})

    assert counted.json() == siem(api, f"dead-letters replay --integration {home} --dry-run")
    assert counted.json()["unreadable"] == 1


def test_replays(api: Api, home: str) -> None:
    """In lists, with their results, and cancelled. Tenants are not shown an operator's name."""
    path = f"/integrations/siem/{home}/replays"
    by_key = api.ask("POST", path, json={"all": True, "rate": 7}).json()
    chosen = DeadLetterFilter(integration_id=home, since_ms=NOON, causes=("refused",))
    engine = api.resources.engine
    by_hand = create_replay(engine, chosen, target_id=home, rate=1, made_by="cli:jane").id
    reported, shown = api.get(path)["items"], api.get(f"{path}/{by_hand}")

    listed = [one for one in siem(api, "replays list")["items"] if one["integration_id"] == home]
    assert [one["made_by"] for one in reported] == ["operator", "api:admin of ours"]
    assert listed == [{**reported[0], "made_by": "cli:jane"}, reported[1]]
    assert siem(api, f"replays show {by_hand}") == {**shown, "made_by": "cli:jane"}
    assert siem(api, f"replays show {by_key['id']}") == api.get(f"{path}/{by_key['id']}")
    assert siem(api, f"replays cancel {by_key['id']}") == api.get(f"{path}/{by_key['id']}")
    made = siem(api, f"dead-letters replay --integration {home} --yes")
    assert made == {
        key: value
        for key, value in {**api.get(f"{path}/{made['id']}"), "made_by": made["made_by"]}.items()
        if key != "result"
    }
    first = siem(api, "replays list --limit 1")
    assert siem(api, f"replays list --limit 1 --cursor {first['next']}")["items"] != first["items"]
    assert json.dumps(first).isascii()


def test_integrations(api: Api) -> None:
    """Each as it was made, changed, paused and enabled again; of a secret, since when it is set."""
    made = api.create(
        auth={"kind": "bearer", "token": "a-token-that-is-long-enough"}, headers={"X-Env": "production"}
    )
    path, home = f"/integrations/siem/{made['id']}", made["id"]

    assert made["auth"]["token"]["set"] is True
    assert siem(api, f"integrations show {home}") == made
    for command in ("pause", "resume", "disable", "enable", "update --connections 3"):
        verb, *options = command.split()
        assert siem(api, " ".join(["integrations", verb, home, *options])) == api.get(path), command
    made = siem(
        api, "integrations create --name shaped --tenant ours --auth none --url https://hook.example.com/"
    )
    assert made == api.get(f"/integrations/siem/{made['id']}")
    listed, reported = siem(api, "integrations list --tenant ours"), api.get("/integrations/siem?limit=200")
    assert sorted(listed["items"], key=itemgetter("id")) == sorted(reported["items"], key=itemgetter("id"))
    assert listed["next"] == reported["next"]


def test_health(api: Api, home: str) -> None:
    """Of one integration, in the list of all, and in the status, which adds how it is set and its counts."""
    reported = api.get(f"/integrations/siem/{home}/health")
    [listed] = [one for one in siem(api, "health")["integrations"] if one["id"] == home]
    [status] = [one for one in siem(api, "status")["integrations"] if one["id"] == home]

    assert reported["last_error"]["at"] == "2026-11-22T22:15:02.000Z"
    single = siem(api, f"health {home}")
    for one in (reported, single, listed, status):
        # Nothing waits to be recorded: it is the moment of the question.
        assert re.fullmatch(r"2[-0-9]{9}T[0-9:.]{12}Z", one.pop("recorded_until"))
    assert single == listed == reported
    assert {name: status[name] for name in reported} == reported
    added = {name: status[name] for name in status if name not in reported}
    assert added == {
        "enabled": True,
        "paused": False,
        "disabled_reason": None,
        "breaker_open": None,
        "delivered": 0,
        "retried": 0,
        "dead": 0,
    }


def test_health_without_the_database(tmp_path: Path) -> None:
    """The same fields are null; only why the database is away is said to operators in other words."""
    with Fleet(tmp_path) as fleet, running(fleet) as away:
        home = away.create()["id"]
        away.take_away_ledger()
        reported = away.get(f"/integrations/siem/{home}/health")
        single = siem(away, f"health {home}")
        [listed] = siem(away, "health")["integrations"]

    assert reported["unknown"][0]["source"] == "database"
    assert reported["unknown"][0]["reason"] != single["unknown"][0]["reason"]
    varying = ("reason", "recorded_until")
    assert without(single, *varying) == without(listed, *varying) == without(reported, *varying)


def test_the_fleet(api: Api) -> None:
    """With the token, every part is shown with its details; without it, these are short."""
    with running(api.fleet, metrics_token=SecretStr("let-me-see")) as closed:
        key = {"Authorization": "Bearer let-me-see"}

        def reported(**more: Any) -> Any:
            return httpx.get(f"{closed.url}/readyz", trust_env=False, **more).json()

        wait_until(lambda: reported(headers=key) == siem(api, "health")["fleet"], "both show the same")
        assert without(reported(), "detail") == without(siem(api, "health")["fleet"], "detail")


def test_a_test_of_an_integration(api: Api, home: str) -> None:
    """The same steps; `siem doctor` adds what it found out about the installation."""
    reported = api.ask("POST", f"/integrations/siem/{home}/test?test_event=false").json()
    printed = siem(api, f"doctor {home} --no-test-event")
    installation = siem(api, "doctor")

    assert [one["step"] for one in reported["steps"]]
    assert set(printed) == {*reported, "installation"}
    assert without(printed, "installation", "milliseconds") == without(reported, "milliseconds")
    assert {tuple(one) for one in printed["installation"] + installation["installation"]} == {
        tuple(reported["steps"][0])
    }


def test_publishing(api: Api, tmp_path: Path) -> None:
    """How many were accepted, and what is wrong with each line that was not."""
    body = lines(event(1), b"{nonsense", event(2, type="policy"), event(3))
    file = tmp_path / "events.jsonl"
    file.write_bytes(body)
    reported = publish(api, body)
    printed = siem(api, f"publish {file}")
    taken(api)

    assert [(one["line"], one["id"]) for one in reported.json()["errors"]] == [(2, None), (3, "evt_2")]
    assert printed == reported.json()
