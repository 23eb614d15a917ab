"""POST /events while something is away or full: nothing is said to be accepted that is not."""

import json
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import Api, running
from tests.api.publishing import JSON, NDJSON, event, lines, publish, taken
from tests.fleet import Fleet, wait_until
from worker.api import events
from worker.api.pools import FairPool
from worker.broker.notices import note_floods
from worker.ledger.engine import ledger_id


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Api]:
    """Give an API with a Redis of its own, which a test may do anything to."""
    with Fleet(tmp_path) as fleet, running(fleet, ingress_most=3) as served:
        yield served


def test_redis_is_away(alone: Api) -> None:
    """503 with the time to come back; it goes on as soon as Redis answers."""
    assert publish(alone, lines(event(1)), JSON).status_code == 202

    alone.fleet.server.kill()
    answer = publish(alone, lines(event(2), event(3)))
    keyed = publish(alone, lines(event(2), event(3)), NDJSON | {"Idempotency-Key": "k"})
    alone.fleet.server.restart()
    later = wait_until(lambda: _accepted(publish(alone, lines(event(2), event(3)))), "Redis takes events")

    for one in (answer, keyed):
        assert one.status_code == 503
        assert int(one.headers["Retry-After"]) > 0
        assert (one.json()["accepted"], one.json()["resume_at_line"]) == (0, 1)
    assert later.json() == {"accepted": 2, "refused": 0, "errors": []}
    assert {"evt_2", "evt_3"} <= {json.loads(raw)["id"] for raw in taken(alone)}


def test_redis_belongs_to_another_ledger(alone: Api) -> None:
    """503: those events would go to the SIEMs of someone else. Its own ledger's is taken."""
    alone.fleet.client.set("siem:ledger", "another")
    answer = publish(alone, lines(event(1), event(2)))
    alone.fleet.client.set("siem:ledger", ledger_id(alone.fleet.engine))
    later = publish(alone, lines(event(1), event(2)))

    assert answer.status_code == 503
    assert "Redis cannot be used at present" in answer.text
    assert "another ledger" not in answer.text
    assert (answer.json()["accepted"], answer.json()["resume_at_line"]) == (0, 1)
    assert later.json() == {"accepted": 2, "refused": 0, "errors": []}
    assert len(taken(alone)) == 2


def test_redis_is_full(alone: Api) -> None:
    """503, and from which line on to send it again; what is wrong is reported as well."""
    alone.fleet.client.config_set("maxmemory-policy", "noeviction")
    alone.fleet.client.config_set("maxmemory", "1")
    answer = publish(alone, lines(b"?", event(2), event(3)))
    alone.fleet.client.config_set("maxmemory", "0")
    later = publish(alone, lines(event(2), event(3)))

    assert answer.status_code == 503
    assert "Retry-After" in answer.headers
    problem = answer.json()
    assert (problem["accepted"], problem["resume_at_line"]) == (0, 2)
    assert [one["line"] for one in problem["errors"]] == [1]
    assert later.status_code == 202


def test_redis_becomes_full_on_the_way(alone: Api) -> None:
    """What it took before is counted, and the first line that it did not take is named."""
    used: Any = alone.fleet.client.info("memory")["used_memory"]
    alone.fleet.client.config_set("maxmemory-policy", "noeviction")
    alone.fleet.client.config_set("maxmemory", str(used + 3_000_000))
    body = lines(*(event(number, context={"x": "y" * 1500}) for number in range(6000)))
    answer = publish(alone, body)
    alone.fleet.client.config_set("maxmemory", "0")
    problem = answer.json()

    assert answer.status_code == 503
    assert 0 < problem["accepted"] < 6000
    assert len(taken(alone)) == problem["accepted"]
    assert 1 < problem["resume_at_line"] <= problem["accepted"] + 1


def test_redis_hangs(alone: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests do not gather without bound: one more is turned away at once, and the others go on later."""
    narrow = FairPool("one", threads=1, share=1, waiting=0, waiting_share=1)
    monkeypatch.setattr(events, "PUBLISHING", narrow)
    publish(alone, lines(event(1)), JSON)
    alone.fleet.server.pause()
    try:
        with ThreadPoolExecutor(2) as pool:
            both = [pool.submit(publish, alone, lines(event(2)), JSON) for _ in range(2)]
            wait(both, return_when=FIRST_COMPLETED)
            alone.fleet.server.resume()
            answers = sorted((one.result() for one in both), key=lambda one: int(one.status_code))
    finally:
        alone.fleet.server.resume()

    assert [answer.status_code for answer in answers] == [202, 503]
    assert "Retry-After" in answers[1].headers
    assert len(taken(alone)) == 2
    assert publish(alone, lines(event(3)), JSON).status_code == 202


def test_too_much_waits(alone: Api) -> None:
    """429 while the routers are behind; the same key may be used again with the same events."""
    headers = NDJSON | {"Idempotency-Key": "crowded"}
    publish(alone, lines(*map(event, range(3))))
    crowded = [publish(alone, lines(event(4)), headers) for _ in range(2)]
    waited = len(taken(alone))
    later = publish(alone, lines(event(4)), headers)

    for answer in crowded:
        assert answer.status_code == 429
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.json()["accepted"] == 0
    assert waited == 3
    assert later.status_code == 202


def test_too_much_of_another_tenant_waits(alone: Api) -> None:
    """It alone is refused while a router lets the others' events pass; all are, if twice as much waits."""
    publish(alone, lines(*map(event, range(3))))
    note_floods(alone.fleet.client, ["another"])
    accepted = publish(alone, lines(*map(event, range(3, 6))))
    note_floods(alone.fleet.client, ["default"])
    flooding = publish(alone, lines(event(6)))
    note_floods(alone.fleet.client, ["another"])
    far_too_much = publish(alone, lines(event(6)))

    assert [one.status_code for one in (accepted, flooding, far_too_much)] == [202, 429, 429]
    assert len(taken(alone)) == 6


def test_the_database_is_away(alone: Api) -> None:
    """Who was recognised before publishes on."""
    before = publish(alone, lines(event(1)), JSON)
    alone.take_away_ledger()
    without = publish(alone, lines(event(2)), JSON)
    reading = alone.ask("GET", "/integrations/siem")

    assert (before.status_code, without.status_code) == (202, 202)
    assert reading.status_code == 503
    assert len(taken(alone)) == 2


def _accepted(answer: Any) -> Any:
    return answer if answer.status_code == 202 else None
