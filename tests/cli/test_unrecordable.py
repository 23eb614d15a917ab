"""`siem unrecordable`: what the ledger did not take is seen, put back, or discarded."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.cli.running import Ran, call
from tests.fleet import Fleet
from tests.ledger.entries import letter, outcome
from worker.broker import keys
from worker.broker.outcomes import Outcomes
from worker.broker.packing import pack_chunk, pack_dead, pack_outcomes
from worker.broker.unrecordable import Unrecordable
from worker.model.events import QueuedEvent

HOSTILE = "value \x1b[31mout of range"


@pytest.fixture
def aside(desk: Fleet) -> Iterator[list[str]]:
    """Set aside an outcome, a dead letter, a parked chunk, and a stranger's entry; give their ids."""
    client = desk.client
    outcomes = Outcomes(client, "test", claim_idle=30)
    outcomes.read(1, 1)
    client.xadd(keys.OUTCOMES, {"outcomes": pack_outcomes([outcome(["e1", "e2"])])})
    client.xadd(keys.DEAD_LETTERS, {"dead": pack_dead(letter({"e3": b'{"reason":"because"}'}))})
    chunk = pack_chunk([QueuedEvent("e4", "policy.deny", 1, 1, b'{"id":"e4"}')])
    place = {"lane": "urgent", "entry": "7-1"}
    parked: dict[Any, Any] = {"integration": "int_a", **place, "n": 1, "bytes": 2, "events": chunk}
    client.xadd(keys.PARKED, parked)
    outcomes.set_aside(outcomes.read(10, 1), HOSTILE)
    client.xadd(keys.UNRECORDABLE, {"stream": "elsewhere", "entry": "1-1", "raw": b"strange"})
    yield [one.id for one in Unrecordable(client).all()]
    client.delete(keys.UNRECORDABLE, keys.OUTCOMES, keys.DEAD_LETTERS, keys.PARKED)


def siem(desk: Fleet, *arguments: str) -> Ran:
    """Run `siem unrecordable`."""
    return call(desk.environment, "unrecordable", *arguments)


def lengths(desk: Fleet) -> list[int]:
    """Count what was set aside, and what waits for a recorder."""
    names = (keys.UNRECORDABLE, keys.OUTCOMES, keys.DEAD_LETTERS, keys.PARKED)
    return [int(str(desk.client.xlen(name))) for name in names]


def test_the_list_tells_what_why_and_since_when(desk: Fleet, aside: list[str]) -> None:
    """A line for each; no control character reaches the terminal."""
    reported = siem(desk, "list")
    documents = siem(desk, "list", "--json").json["items"]

    assert reported.code == 0
    assert "\x1b" not in reported.out
    assert [one["id"] for one in documents] == aside
    assert [(one["what"], one["integration_id"], one["events"], one["retryable"]) for one in documents] == [
        ("outcomes", "int_a", 2, True),
        ("dead letters", "int_a", 1, True),
        ("parked events", "int_a", 1, True),
        ("unreadable", None, None, False),
    ]
    assert documents[0]["reason"] == HOSTILE
    assert documents[0]["set_aside_at"].endswith("Z")
    first = siem(desk, "list", "--limit", "2", "--json").json
    rest = siem(desk, "list", "--cursor", first["next"], "--json").json
    assert len(first["items"]) == 2
    assert first["items"] + rest["items"] == documents
    assert rest["next"] is None


def test_one_is_shown_with_what_it_holds(desk: Fleet, aside: list[str]) -> None:
    """Events with their payload, outcomes event by event, anything else as it came."""
    shown = [siem(desk, "show", one) for one in aside]

    assert [one.code for one in shown] == [0, 0, 0, 0]
    assert "policy.deny e2" in shown[0].out
    assert '"reason": "because"' in shown[1].out
    assert '"id": "e4"' in shown[2].out
    assert "b'strange'" in shown[3].out
    assert siem(desk, "show", aside[0], "--json").json["fields"]


def test_what_is_put_back_waits_for_a_recorder(desk: Fleet, aside: list[str]) -> None:
    """One by id, or all that can be."""
    one = siem(desk, "retry", aside[1])
    after_one = lengths(desk)
    rest = siem(desk, "retry", "--all")

    assert (one.code, one.out) == (
        0,
        "Put back 1 entry: a recorder takes them now.\n3 entries left: see `siem unrecordable list`.\n",
    )
    assert after_one == [3, 0, 1, 0]
    assert rest.code == 0
    assert lengths(desk) == [1, 1, 1, 1]
    assert siem(desk, "retry", "--all", "--json").json == {"retried": 0, "left": 1}


def test_what_is_discarded_is_gone(desk: Fleet, aside: list[str]) -> None:
    """After a question, or --yes."""
    refused = siem(desk, "discard", aside[0])
    done = siem(desk, "discard", aside[0], aside[3], "--yes", "--json")

    assert (refused.code, "--yes" in refused.complaint) == (2, True)
    assert done.json == {"discarded": 2}
    assert lengths(desk) == [2, 0, 0, 0]
    assert siem(desk, "discard", "--all", "--yes").out == "Discarded 2 entries.\n"
    assert siem(desk, "list").out.startswith("Nothing was set aside")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["show", "1-1"], 4, "no entry 1-1 was set aside"),
        (["retry", "nonsense"], 4, "no entry nonsense"),
        (["retry"], 2, "say which entries"),
        (["retry", "--all", "1-1"], 2, "say which entries"),
        (["discard", "--yes"], 2, "say which entries"),
    ],
)
def test_what_is_wrong_is_named(desk: Fleet, arguments: list[str], code: int, words: str) -> None:
    """With the exit codes of every command."""
    ran = siem(desk, *arguments)

    assert (ran.code, words in ran.complaint) == (code, True)


def test_what_no_worker_wrote_cannot_be_put_back(desk: Fleet, aside: list[str]) -> None:
    """It says so, and leaves the others where they are."""
    ran = siem(desk, "retry", aside[0], aside[3])

    assert (ran.code, "cannot be put back" in ran.complaint) == (2, True)
    assert lengths(desk) == [4, 0, 0, 0]


def test_status_and_health_say_that_it_is_not_ok(desk: Fleet, aside: list[str]) -> None:
    """No one has to look for it."""
    status = call(desk.environment, "status")
    health = call(desk.environment, "health")

    assert len(aside) == 4
    assert "NOT OK: 4 batches could not be recorded" in status.out
    assert call(desk.environment, "status", "--json").report["unrecordable"] == 4
    assert health.code == 1
    assert "4 could not be recorded: see `siem unrecordable list`" in health.out
