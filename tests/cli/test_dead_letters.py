"""`siem dead-letters` and `siem replays`: what people and scripts read, and what they may do."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import HOSTILE
from tests.cli.running import Ran, call, in_terminal
from tests.fleet import Fleet
from tests.ledger.entries import NOON
from tests.ledger.letters import all_dead_letters, bury, deliver, states
from worker.ledger.replays import find_replays
from worker.model.deliveries import Cause, Failure
from worker.model.failures import FailureCode

REFUSED = Failure(FailureCode.EVENT_REFUSED, HOSTILE, "create the index", 400)


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet that does not run, with letters of two tenants, of a deleted integration, of no event."""
    with Fleet(tmp_path) as fleet:
        for name, tenant in (("splunk", "one"), ("archive", "one"), ("other", "two"), ("gone", "one")):
            fleet.integrate("https://splunk.example.com/services/collector/event", name, tenant_id=tenant)
        bury(fleet.engine, "e1", "e2", integration_id="int_splunk")
        bury(
            fleet.engine,
            "e2",
            integration_id="int_splunk",
            cause=Cause.REFUSED,
            failure=REFUSED,
            dead_ms=NOON + 9,
        )
        bury(fleet.engine, "o1", integration_id="int_other", dead_ms=NOON + 10)
        bury(fleet.engine, "g1", integration_id="int_gone", cause=Cause.DELETED, dead_ms=NOON + 20)
        bury(fleet.engine, "", integration_id=None, cause=Cause.INVALID, dead_ms=NOON + 30)
        fleet.store.delete("int_gone")
        yield fleet


def siem(fleet: Fleet, arguments: str) -> Ran:
    """Run `siem` within this process."""
    return call(fleet.environment, *arguments.split())


def letter_id(fleet: Fleet, event_id: str) -> str:
    """Return the id of the latest letter of an event."""
    return next(row.id for row in all_dead_letters(fleet.engine) if row.event_id == event_id)


def test_show_tells_everything(full: Fleet) -> None:
    """Payload, reason, what to do, each time that the event was given up, and where it stands now."""
    shown = siem(full, f"dead-letters show {letter_id(full, 'e2')}")
    lines = shown.out.splitlines()

    assert shown.code == 0
    assert all(line.isprintable() for line in lines)
    assert '  "id": "e2"' in lines
    assert "create the index" in shown.out
    assert [line.split()[-1] for line in lines if " 4  " in line] == ["waiting", "waiting"]
    assert lines[-1].startswith("Its event is dead there, since 2026-11-22 ")


def test_show_in_json(full: Fleet) -> None:
    """Scripts get the same, and the payload once."""
    deliver(full.engine, ["e2"], integration_id="int_splunk")
    document = siem(full, f"dead-letters show {letter_id(full, 'e2')} --json").json

    assert json.loads(document["payload"]) == {"id": "e2"}
    assert [(one["cause"], "payload" in one) for one in document["deaths"]] == [
        ("exhausted", False),
        ("refused", False),
    ]
    assert document["delivery"]["status"] == "delivered"


def test_show_of_what_was_no_event(full: Fleet) -> None:
    """It has no event whose history could be shown, and is shown all the same."""
    document = siem(full, f"dead-letters show {letter_id(full, None)} --json").json  # type: ignore[arg-type]  # none is what it has

    assert document["event_id"] is None
    assert len(document["deaths"]) == 1
    assert document["delivery"] is None


def test_show_of_what_is_not_there(full: Fleet) -> None:
    """Exit code 4, as everywhere."""
    ran = siem(full, "dead-letters show 1-1-1")

    assert ran.code == 4
    assert "there is no dead letter 1-1-1" in ran.complaint


def test_a_dry_run_counts(full: Fleet) -> None:
    """It says how many would go out, why others would not, and changes nothing."""
    for arguments, replayable, invalid, homeless in (
        ("--all", 4, 1, 1),
        ("--integration splunk", 3, 0, 0),
        ("--cause refused --cause invalid", 1, 1, 0),
        ("--reason event_refused", 1, 0, 0),
        ("--type policy.allow", 0, 0, 0),
        ("--since 2026-11-22T22:15:00.010Z", 1, 1, 1),
        ("--until 2026-11-22T22:15:00.000Z", 1, 0, 0),
        ("--all --into archive", 4, 0, 0),
    ):
        found = siem(full, f"dead-letters replay {arguments} --dry-run --json").json

        counts = {"replayable": replayable, "invalid": invalid, "homeless": homeless}
        assert {name: found[name] for name in counts} == counts, arguments
        assert sum(group["count"] for group in found["groups"]) == sum(counts.values()), arguments
    assert find_replays(full.engine) == []


def test_a_dry_run_for_people(full: Fleet) -> None:
    """A table by integration and reason, and a sentence for each kind."""
    reported = siem(full, "dead-letters replay --all --dry-run").out

    assert "4 dead letters can be replayed." in reported
    assert "1 dead letter never held a valid event" in reported
    assert "1 dead letter had an integration that was deleted: --into" in reported


def test_replay_makes_a_job(full: Fleet) -> None:
    """Its id comes back; list and show tell of it, and it can be cancelled once."""
    made = siem(full, "dead-letters replay --integration splunk --rate 7 --yes --json").json
    table = siem(full, "replays list").out
    shown = siem(full, f"replays show {made['id']} --json").json
    for_people = siem(full, f"replays show {made['id']}").out
    cancelled = siem(full, f"replays cancel {made['id']}")
    again = siem(full, f"replays cancel {made['id']}")

    assert made["state"] == "running"
    assert made["total"] == 3
    assert made["rate"] == 7
    assert made["made_by"].startswith("cli:")
    assert made["id"] in table
    assert shown["result"] == {"delivered": 0, "dead": 0, "under_way": 0}
    assert "integration_id: int_splunk" in for_people
    assert cancelled.out == f"Cancelled {made['id']}: 0 of 3 dead letters are sent.\n"
    assert again.code == 2
    assert "is cancelled already" in again.complaint


def test_replay_asks_first(full: Fleet) -> None:
    """With the count; and no is no."""
    arguments = ("dead-letters", "replay", "--all")
    denied = in_terminal(full.environment, *arguments, prompt="Replay 4 dead letters?", answer=b"n\n")
    assert (denied.code, find_replays(full.engine)) == (1, [])
    agreed = in_terminal(full.environment, *arguments, prompt="Replay 4 dead letters?", answer=b"y\n")

    assert agreed.code == 0
    assert [one.total for one in find_replays(full.engine)] == [4]


def test_what_cannot_be_is_refused(full: Fleet) -> None:
    """Nothing is changed, and the error says what would be right."""
    for arguments, code, words in (
        ("replay --all", 2, "give --yes"),
        ("discard --all", 2, "give --yes"),
        ("replay --yes", 2, "--id, --integration and the like, or --all"),
        ("replay --yes --all --integration splunk", 2, "or --all"),
        ("discard --yes", 2, "or --all"),
        ("replay --yes --id 1-1-1", 4, "there is no dead letter 1-1-1"),
        ("replay --yes --all --into nobody", 4, "there is no integration nobody"),
        ("replay --yes --all --into int_gone", 4, "was deleted: nothing can be sent to it"),
        (
            "replay --yes --integration other --into splunk",
            2,
            "of tenant one, and the events are of tenant two",
        ),
        ("replay --yes --all --rate 0", 2, "--rate"),
        ("replay --yes --all --since tomorrow", 2, "is no time"),
    ):
        ran = siem(full, f"dead-letters {arguments}")

        assert ran.code == code, arguments
        assert words in ran.complaint, arguments
    assert find_replays(full.engine) == []
    assert set(states(full.engine).values()) == {"waiting"}


def test_into_takes_its_own_tenants_letters_alone(full: Fleet) -> None:
    """Without an integration named, those of other tenants are not meant."""
    made = siem(full, "dead-letters replay --all --into archive --yes --json").json

    assert (made["total"], made["into"]) == (4, "int_archive")
    assert {one.selection.tenant_id for one in find_replays(full.engine)} == {"one"}


def test_discard(full: Fleet) -> None:
    """What is discarded waits no longer; the list shows it when asked, and an id of it is refused."""
    discarded = siem(full, "dead-letters discard --integration splunk --cause refused --yes")
    waiting = siem(full, "dead-letters list --json").json["items"]
    gone = siem(full, "dead-letters list --state discarded --json").json["items"]
    everything = siem(full, "dead-letters list --state any --json").json["items"]
    again = siem(full, f"dead-letters replay --id {gone[0]['id']} --yes")

    assert discarded.out == "Discarded 1 dead letter.\n"
    assert len(waiting) == 5
    assert len(gone) == 1
    assert len(everything) == 6
    assert json.loads(siem(full, f"dead-letters show {gone[0]['id']} --json").json["payload"]) == {"id": "e2"}
    assert again.code == 2
    assert "is discarded already; give one that waits" in again.complaint


def test_nothing_to_do_is_said(full: Fleet) -> None:
    """An empty selection is no error."""
    assert siem(full, "dead-letters replay --type policy.allow --yes").out == "No dead letters match.\n"
    assert siem(full, "dead-letters discard --type policy.allow --yes").out == "No dead letters match.\n"
    assert siem(full, "replays list").out.startswith("No replays yet")
