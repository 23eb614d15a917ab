"""What the API answers about integrations while Redis or the database is away."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.conftest import Api, running
from tests.fleet import Fleet, wait_until
from worker.model.api_keys import make_id, make_text

WEBHOOK = {"type": "webhook", "url": "https://hook.example.com/in"}
PATH = "/integrations/siem"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Api]:
    """Give an API whose Redis and ledger may be taken away."""
    with Fleet(tmp_path) as fleet, running(fleet) as served:
        yield served


def test_without_redis_a_change_is_saved_and_published_later(own: Api) -> None:
    """No one who sets up a SIEM waits for Redis; a recorder tells the fleet once it is back."""
    own.fleet.server.kill()
    made = own.create()
    shown = own.get(f"{PATH}/{made['id']}")
    own.fleet.server.restart()
    own.fleet.start("recorder")

    assert shown == made
    wait_until(lambda: own.fleet.client.hexists("siem:integrations", made["id"]), "the fleet knows it")


def test_without_redis_nothing_is_promised_to_be_done_once(own: Api) -> None:
    """A request with an Idempotency-Key is refused before anything is done; health is not made up."""
    made = own.create()
    own.fleet.server.kill()
    answer = own.ask("POST", PATH, json=WEBHOOK, headers={"Idempotency-Key": "once"})
    health = own.get(f"{PATH}/{made['id']}/health")
    [unknown] = health["unknown"]

    assert answer.status_code == 503
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Retry-After"] == "5"
    assert answer.json()["detail"] == "Redis does not answer"
    assert (health["state"], health["backlog"]) == ("unknown", None)
    assert (unknown["source"], unknown["reason"]) == ("redis", "Redis does not answer")
    assert len(own.get(PATH)["items"]) == 1


def test_without_the_database_health_is_what_redis_knows(own: Api) -> None:
    """With a key of the copy, and of the own tenant's integrations alone."""
    made = own.create(enabled=False)
    ours, theirs = f"{PATH}/{made['id']}/health", f"{PATH}/{own.create(tenant='theirs')['id']}/health"
    own.get("/event-types")
    own.take_away_ledger()
    health = own.get(ours)

    assert health["state"] == "disabled"
    assert health["backlog"] == 0
    assert health["parked"] is None
    assert [one["source"] for one in health["unknown"]] == ["database"]
    assert own.ask("GET", theirs).status_code == 503


def test_without_redis_what_never_was_is_not_found(own: Api) -> None:
    """The database knows that; to come back later would be for nothing."""
    own.fleet.server.kill()

    assert own.ask("GET", f"{PATH}/never/health").status_code == 404


def test_without_the_database_the_answer_says_so(own: Api) -> None:
    """The answer says what is away, and when to come back, to those who were let in before and to others."""
    own.get("/event-types")
    own.take_away_ledger()
    known = own.ask("GET", PATH)
    stranger = own.http.get(
        f"{own.url}/api/v1{PATH}", headers={"Authorization": f"Bearer {make_text(make_id())}"}
    )

    assert (known.status_code, stranger.status_code) == (503, 503)
    assert known.headers["Retry-After"] == "5"
    assert own.ask("GET", "/event-types").status_code == 200
