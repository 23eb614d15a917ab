"""Replays over the whole way: what died is delivered once it can be, once, whatever is killed."""

import json
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.fleet import Fleet, wait_until
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.system.conftest import denial
from worker.ledger.replays import find_replays, get_replay
from worker.model.deliveries import Status
from worker.model.replays import LetterState, ReplayState

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(params=["sqlite", "postgres"])
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet that the test may kill, on each kind of ledger; nothing runs yet."""
    url: str = request.getfixturevalue("postgres_url") if request.param == "postgres" else ""
    with Fleet(tmp_path, database_url=url) as fleet:
        yield fleet


def die(own: Fleet, splunk: HecReceiver, count: int, **changes: Any) -> list[str]:
    """Let that many events die at a SIEM that is ill, and then let it be well; name the events."""
    own.integrate(splunk.url, max_retries=0, **changes)
    own.start()
    ids = own.publish_at_once(denial(f"e{number}") for number in range(count))
    own.settled(count)
    wait_until(lambda: len(own.dead()) == count, "every dead letter is recorded")
    splunk.script = scripts.ok()
    return ids


def has_replayed(own: Fleet, replay_id: str, letters: int) -> bool:
    """Whether a replay has handed over that many letters."""
    return get_replay(own.engine, replay_id).replayed >= letters


def test_a_recorder_killed_in_the_middle_of_a_replay(own: Fleet) -> None:
    """Killed several times, it hands over each letter once, and its counts are exact."""
    with HecReceiver(scripts.busy()) as splunk:
        ids = die(own, splunk, 1_000, redrive=False)
        made = own.siem_json("dead-letters", "replay", "--all", "--rate", "400", "--yes")
        for share in (100, 300, 600):
            wait_until(partial(has_replayed, own, made["id"], share), f"{share} letters are replayed")
            own.kill("recorder")
            own.start("recorder")
        wait_until(lambda: get_replay(own.engine, made["id"]).state is ReplayState.DONE, "the replay is done")
        wait_until(
            lambda: {row.status for row in own.rows()} == {Status.DELIVERED}, "every event is delivered"
        )
        shown = own.siem_json("replays", "show", made["id"])

        assert Counter(splunk.accepted_ids) == Counter(ids)
        assert shown["total"] == 1_000
        assert shown["replayed"] == 1_000
        assert shown["skipped"] == 0
        assert shown["result"] == {"delivered": 1_000, "dead": 0, "under_way": 0}
        assert {letter.state for letter in own.dead()} == {LetterState.REPLAYED}
        assert len(own.dead()) == 1_000


def test_dead_letters_of_an_outage_go_out_by_themselves(own: Fleet) -> None:
    """Once something was delivered again; what the SIEM refused stays where it is."""
    with HecReceiver(scripts.busy()) as splunk:
        ids = die(own, splunk, 20)
        splunk.script = scripts.offender(lambda event: event["id"] == "bad")
        own.publish([denial("bad")])
        own.settled(21)
        own.publish([denial("good")])
        wait_until(lambda: "good" in splunk.accepted_ids, "the SIEM is well again")
        wait_until(lambda: any(row.event_id == "good" for row in own.rows()), "and the ledger knows")
        assert own.terminate("recorder") == 0
        own.start("recorder")  # it looks for such letters when it starts, and every half minute
        wait_until(lambda: set(ids) <= set(splunk.accepted_ids), "the letters of the outage are delivered")
        [replay] = find_replays(own.engine)

        assert (replay.made_by, replay.total) == ("redrive", 20)
        assert {letter.event_id: letter.state for letter in own.dead()}["bad"] is LetterState.WAITING
        assert Counter(splunk.accepted_ids) == Counter([*ids, "good"])


def test_a_replay_into_another_integration(own: Fleet) -> None:
    """It gets the very bytes; the one where they died gets nothing."""
    with HecReceiver(scripts.busy()) as splunk, HecReceiver() as archive:
        ids = die(own, splunk, 30, redrive=False)
        own.integrate(archive.url, "archive")
        done = own.siem(
            "dead-letters", "replay", "--integration", "splunk", "--into", "archive", "--yes", "--wait"
        )

        assert done.returncode == 0, done.stderr
        assert sorted(archive.accepted_ids) == sorted(ids)
        assert splunk.accepted_ids == []
        assert archive.events[0] == denial(archive.accepted_ids[0])


def test_what_dies_again_is_told_by_the_exit_code(own: Fleet) -> None:
    """With --wait, 1 says that events died again; their new letters wait, the old ones do not."""
    with HecReceiver(scripts.busy()) as splunk:
        die(own, splunk, 5, redrive=False)
        splunk.script = scripts.busy()
        done = own.siem("dead-letters", "replay", "--all", "--yes", "--wait", "--json")
        waiting = own.siem_json("dead-letters", "list")["items"]

        assert done.returncode == 1
        assert b"5 events died again" in done.stderr
        assert json.loads(done.stdout)["result"] == {"delivered": 0, "dead": 5, "under_way": 0}
        assert len(own.dead()) == 10
        assert len(waiting) == 5
