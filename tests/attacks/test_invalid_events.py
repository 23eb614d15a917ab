"""An event that is not valid is seen by its tenant, moves health, and can be published corrected."""

import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import OURS, PUBLISH_ONLY, READ_ONLY, THEIRS, Api, api, bare_fleet
from tests.api.publishing import event, taken
from tests.cli.running import call
from tests.fleet import Fleet
from tests.pages.conftest import HOME, Site, site, standing_site
from worker.background.health import HealthService
from worker.broker.ingress import IngressEntry
from worker.ledger.dead_letters import find_letter
from worker.ledger.recording import record_entries
from worker.model.api_keys import Role
from worker.model.replays import LetterState
from worker.pipeline.routing import route_entries

__all__ = ["api", "bare_fleet", "site", "standing_site"]

_numbers = itertools.count(1)


def reject(fleet: Fleet, raw: bytes, waited: int = 0) -> str:
    """Let a router judge these bytes and a recorder keep what it says; return the id of the dead letter.

    They were published `waited` seconds before that.
    """
    now_ms = time.time_ns() // 1_000_000
    entry, published_ms = f"{now_ms}-{next(_numbers)}", now_ms - waited * 1000
    arrived = IngressEntry(b"%d-0" % published_ms, published_ms, raw, [b"event", raw])
    [dead] = route_entries([arrived], {}).dead
    record_entries(fleet.engine, [], [(entry, dead)])
    return f"{entry}-0"


def broken(tenant: str = OURS, number: int = 1) -> bytes:
    """Write an event of which the score is no number."""
    return json.dumps(event(number, tenant_id=tenant, drift_score="high")).encode()


@pytest.fixture
def letter(api: Api) -> Iterator[str]:
    """Give the id of a dead letter of ours; what is published is taken away."""
    taken(api)
    yield reject(api.fleet, broken())
    taken(api)


def ask(api: Api, letter: str, raw: bytes, **more: Any) -> Any:
    """Publish a letter's event corrected."""
    return api.ask("POST", f"/dead-letters/{letter}/correction", content=raw, **more)


def test_its_tenant_sees_it_and_no_other(api: Api, letter: str) -> None:
    """With its id, type and time, and the reason in words that help."""
    [found] = [one for one in api.get("/dead-letters")["items"] if one["id"] == letter]
    whole = api.get(f"/dead-letters/{letter}", role=READ_ONLY)

    assert (found["event_id"], found["event_type"], found["cause"]) == ("evt_1", "policy.deny", "invalid")
    assert (found["error"], found["integration_id"]) == ('drift_score: is "high"', None)
    assert found["event_at"] == "2026-11-22T10:11:12.000Z"
    assert whole["payload"] == broken().decode()
    assert api.get("/dead-letters?event_id=evt_1&cause=invalid&type=policy.deny")["items"]
    assert api.get("/dead-letters?cause=refused")["items"] == []
    assert letter not in json.dumps(api.get("/dead-letters", tenant=THEIRS))
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/correction")):
        answer = api.ask(method, f"/dead-letters/{letter}{path}", tenant=THEIRS)
        assert answer.status_code == 404
    assert ask(api, letter, b"{}", role=PUBLISH_ONLY).status_code == 403


def test_no_tenant_sees_what_names_no_tenant_or_two(api: Api) -> None:
    """But those who run the fleet."""
    raw = broken()[:-1] + b',"tenant\\u005fid":"theirs"}'
    letters = {reject(api.fleet, raw), reject(api.fleet, b'{"context":{"tenant_id":"ours"},"id":"x"')}

    for tenant in (OURS, THEIRS):
        assert not letters & {one["id"] for one in api.get("/dead-letters?limit=200", tenant=tenant)["items"]}
    told = call(api.fleet.environment, "dead-letters", "list", "--cause", "invalid", "--json").json
    assert letters <= {one["id"] for one in told["items"]}


def test_it_is_published_corrected_and_waits_no_longer(api: Api, letter: str) -> None:
    """By the API: the tenant is filled in, the id must stay, and the field that is wrong is named."""
    right = json.dumps(event(1, drift_score=0.5)).encode()
    wrong = ask(api, letter, broken())
    other = ask(api, letter, json.dumps(event(2)).encode())
    foreign = ask(api, letter, json.dumps(event(1, tenant_id=THEIRS)).encode())
    assert [(one.status_code, one.json()["field"]) for one in (wrong, other, foreign)] == [
        (422, "drift_score"),
        (422, "id"),
        (422, "tenant_id"),
    ]
    assert taken(api) == []

    done = ask(api, letter, right)
    again = ask(api, letter, right)
    assert (done.status_code, done.json()["state"]) == (202, "replayed")
    assert (again.status_code, again.json()["field"]) == (422, "id")
    [published] = taken(api)
    assert json.loads(published) == event(1, drift_score=0.5, tenant_id=OURS)


def test_it_can_be_discarded(api: Api, letter: str) -> None:
    """It stays readable until it is pruned."""
    assert api.ask("DELETE", f"/dead-letters/{letter}").status_code == 204
    assert api.ask("DELETE", f"/dead-letters/{letter}").status_code == 204
    assert api.get(f"/dead-letters/{letter}")["state"] == "discarded"
    assert ask(api, letter, json.dumps(event(1)).encode()).status_code == 422


def test_the_command_line_publishes_it_corrected(api: Api, letter: str, tmp_path: Path) -> None:
    """Operators of the fleet may do so for any tenant, with the tenant in the event."""
    file = tmp_path / "event.json"
    file.write_bytes(json.dumps(event(1)).encode())
    refused = call(api.fleet.environment, "dead-letters", "correct", letter, str(file))
    file.write_bytes(json.dumps(event(1, tenant_id=OURS, note="\ud83d")).encode())
    done = call(api.fleet.environment, "dead-letters", "correct", letter, str(file), "--json")
    again = call(api.fleet.environment, "dead-letters", "correct", letter, str(file))
    never = call(api.fleet.environment, "dead-letters", "correct", "1-1-1", str(file))

    assert (refused.code, "tenant_id: is another one" in refused.err) == (2, True)
    assert (done.code, done.json["event_id"]) == (0, "evt_1")
    assert (again.code, "replayed already" in again.err) == (2, True)
    assert never.code == 4
    [published] = taken(api)
    assert json.loads(published)["siem_repaired"] == ["unpaired_surrogate"]


def test_a_page_shows_it_and_publishes_it_corrected(site: Site) -> None:
    """What was typed stays when it is still wrong; who may only read is shown no form."""
    letter = reject(site.fleet, broken(number=77))
    path = f"{HOME}/dead-letters/{letter}"
    visitor = site.visitor()
    assert "evt_77" in visitor.get(f"{HOME}/dead-letters").text
    assert "Correct and publish" in visitor.get(path).text
    assert "Correct and publish" not in site.visitor(Role.READ_ONLY).get(path).text
    site.visitor(tenant=THEIRS).get(path, 404)

    refused = visitor.post(f"{path}/correct", status=422, event=broken(number=77).decode() + " ")
    assert "drift_score: is" in refused.text
    assert "high" in refused.text
    visitor.post(f"{path}/correct", event=json.dumps(event(77, drift_score=1)))

    assert find_letter(site.fleet.engine, letter).state is LetterState.REPLAYED
    found: Any = site.resources.client.xrevrange("siem:events", count=1)
    assert json.loads(found[0][1][b"event"])["tenant_id"] == OURS


def test_it_moves_health_and_makes_nothing_unready(tmp_path: Path) -> None:
    """A part of the fleet shows operators how many of whom; what the public may read names no tenant.

    What waited for a router for longer than is looked at was judged just now.
    """
    with Fleet(tmp_path) as fleet:
        health = HealthService(fleet.engine, fleet.client, fleet.settings)

        def part() -> Any:
            return next(one for one in health.fleet().parts if one.name == "events")

        assert part().ok
        letters = [
            reject(fleet, broken("acme")),
            reject(fleet, broken("acme")),
            reject(fleet, b"{", waited=3600),
        ]
        told, late = part(), find_letter(fleet.engine, letters[-1])

        assert not told.ok
        assert not told.holds_events
        assert "3 in the last 5 min were not valid, of acme, no known tenant" in told.words
        assert "acme" not in told.public
        assert late.dead_ms - late.published_ms >= 3_600_000
        for one in letters:
            call(fleet.environment, "dead-letters", "discard", "--id", one, "--yes")
        assert part().ok
