"""`siem … --json` prints what the API answers, for every resource that both show.

The bodies are compared whole. Where a tenant is not shown a value that operators see, the test names it.
"""

import json
from typing import Any

import pytest

from tests.api.conftest import Api, api, bare_fleet
from tests.api.settled import bury, settle
from tests.attacks.test_invalid_events import broken, reject
from tests.cli.running import call
from tests.ledger.entries import NOON
from worker.ledger.replays import create_replay
from worker.model.deliveries import Cause, Status
from worker.model.replays import Selection

__all__ = ["api", "bare_fleet"]


def siem(api: Api, arguments: str) -> Any:
    """Return the document that `siem` prints, also when it reports trouble by its exit code."""
    return call(api.fleet.environment, *arguments.split(), "--json").report


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
    chosen = Selection(integration_id=home, since_ms=NOON, causes=("refused",))
    engine = api.resources.engine
    by_hand = create_replay(engine, chosen, target_id=home, rate=1, made_by="cli:jane").id
    told, shown = api.get(path)["items"], api.get(f"{path}/{by_hand}")

    listed = [one for one in siem(api, "replays list")["items"] if one["integration_id"] == home]
    assert [one["made_by"] for one in told] == ["operator", "api:admin of ours"]
    assert listed == [{**told[0], "made_by": "cli:jane"}, told[1]]
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
