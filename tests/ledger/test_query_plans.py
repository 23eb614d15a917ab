"""How the databases find their answers: by an index, or the lists grow slower with every event."""

from collections.abc import Callable
from functools import partial

import msgspec
import pytest
from sqlalchemy import Engine

from tests.ledger.entries import NOON, letter, outcome
from tests.ledger.plans import plan_of, reads_all
from worker.ledger.audit import find_records
from worker.ledger.counts import minutes_of
from worker.ledger.dead_letters import (
    dead_letter_history,
    find_dead_letters,
    invalid_since,
    waiting_by_integration,
)
from worker.ledger.deliveries import find_deliveries
from worker.ledger.letter_changes import discard_dead_letters
from worker.ledger.recording import record_entries
from worker.ledger.replays import replays_of
from worker.ledger.results import Place
from worker.model.audit import Action, AuditFilter
from worker.model.deliveries import Cause, Status
from worker.model.replays import DeadLetterFilter, LetterState

_PLACE = Place(NOON, "e1", "int_a")

Questions = dict[str, Callable[[Engine], object]]

QUESTIONS: Questions = {
    "all": find_deliveries,
    "all since": lambda engine: find_deliveries(engine, since_ms=NOON),
    "all dead": lambda engine: find_deliveries(engine, status=Status.DEAD),
    "all before": lambda engine: find_deliveries(engine, before=_PLACE),
    "integration": lambda engine: find_deliveries(engine, integration_id="int_a"),
    "integration since": lambda engine: find_deliveries(engine, integration_id="int_a", since_ms=NOON),
    "integration before": lambda engine: find_deliveries(engine, integration_id="int_a", before=_PLACE),
    "event": lambda engine: find_deliveries(engine, event_id="e1"),
    "integration and type": lambda engine: find_deliveries(
        engine, integration_id="int_a", event_type="policy.deny"
    ),
    "integration until": lambda engine: find_deliveries(engine, integration_id="int_a", until_ms=NOON),
    "event of a tenant": lambda engine: find_deliveries(engine, event_id="e1", tenant_id="default"),
    "event and integration": lambda engine: find_deliveries(engine, event_id="e1", integration_id="int_a"),
    "lately invalid": lambda engine: invalid_since(engine, NOON),
    "event at an integration": lambda engine: find_deliveries(
        engine, event_id="evt_1", integration_id="int_a"
    ),
    "event's deaths": lambda engine: dead_letter_history(engine, "e3", "int_a", "digest"),
    "replays of an integration": lambda engine: replays_of(engine, "int_a", 9, (NOON, "rpl_1")),
    "letters that wait at each": waiting_by_integration,
    "minutes": lambda engine: minutes_of(engine, ["int_a", "int_b"], NOON),
}
_RECORD = "aud_0123456789ab"
#: Which records of the audit trail, and behind which one.
RECORDS: dict[str, tuple[AuditFilter, str | None]] = {
    "records": (AuditFilter(), None),
    "next records": (AuditFilter(), _RECORD),
    "records of a time": (AuditFilter(since_ms=NOON, until_ms=NOON + 1), None),
    "records of a tenant": (AuditFilter(tenant_id="ours"), _RECORD),
    "records of a tenant since": (AuditFilter(tenant_id="ours", since_ms=NOON), None),
    "records of an integration": (AuditFilter(integration_id="int_a"), _RECORD),
    "records of a key": (AuditFilter(key_id="0123456789abcdef"), _RECORD),
    "records of a tenant of an action": (
        AuditFilter(tenant_id="ours", action=Action.INTEGRATION_DELETED),
        _RECORD,
    ),
    "records of an action": (AuditFilter(action=Action.INTEGRATION_DELETED), _RECORD),
}
QUESTIONS |= {
    name: partial(find_records, asked=asked, limit=9, before=before)
    for name, (asked, before) in RECORDS.items()
}
_LATEST = (NOON, "1-0-0")
#: Which dead letters, and behind which one.
LETTERS: dict[str, tuple[DeadLetterFilter, tuple[int, str] | None]] = {
    "letters": (DeadLetterFilter(state=None), None),
    "letters of an integration": (DeadLetterFilter(state=None, integration_id="int_a"), None),
    "letters since": (DeadLetterFilter(state=None, since_ms=NOON), None),
    "letters of a cause": (DeadLetterFilter(state=None, causes=("refused",)), None),
    "letters that wait": (DeadLetterFilter(), None),
    "letters of a state": (DeadLetterFilter(state=LetterState.REPLAYED), None),
    "next letters of an integration": (DeadLetterFilter(state=None, integration_id="int_a"), _LATEST),
    "letters of an integration that wait": (
        DeadLetterFilter(integration_id="int_a", causes=("refused",), since_ms=NOON, until_ms=NOON),
        None,
    ),
    "letters of one that wait": (DeadLetterFilter(integration_id="int_a"), None),
    "invalid events": (DeadLetterFilter(state=None, tenant_id="default", only_invalid=True), _LATEST),
    "invalid events that wait": (DeadLetterFilter(tenant_id="default", only_invalid=True), None),
    "event's letters": (DeadLetterFilter(state=None, integration_id="int_a", event_id="e3"), None),
    "event's letters that wait": (
        DeadLetterFilter(integration_id="int_a", event_id="e3", since_ms=NOON),
        None,
    ),
    "letters of a tenant": (DeadLetterFilter(tenant_id="default"), None),
    "next letters of a tenant": (DeadLetterFilter(tenant_id="default", causes=("refused",)), _LATEST),
}
QUESTIONS |= {
    name: partial(find_dead_letters, asked=asked, limit=9, before=before)
    for name, (asked, before) in LETTERS.items()
}
UNWELL: Questions = {
    "retrying": lambda engine: find_deliveries(engine, integration_id="int_a", status=Status.RETRYING),
    "failed": lambda engine: find_deliveries(engine, integration_id="int_a", failed=True),
}


@pytest.fixture
def filled(engine: Engine) -> Engine:
    """Give a ledger with a few rows, so that every question reaches the tables."""
    entries = [outcome(["e1", "e2"]), outcome(["e3"], Status.DEAD), outcome(["e1"], integration_id="int_b")]
    record_entries(engine, [("1-0", entries)], [("1-0", letter({"e3": b"{}"}))])
    return engine


def _plans(engine: Engine, questions: Questions) -> list[tuple[str, list[str]]]:
    return [(name, plan_of(engine, question)) for name, question in questions.items()]


def test_question_is_answered_by_an_index(filled: Engine) -> None:
    """No list reads its table from end to end."""
    whole = {name: [line for line in plan if reads_all(line)] for name, plan in _plans(filled, QUESTIONS)}

    assert {name: lines for name, lines in whole.items() if lines} == {}


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_page_is_read_without_sorting_all(filled: Engine) -> None:
    """No list sorts more than those that share a millisecond, but for the few rows of one event.

    PostgreSQL chooses by the numbers of rows, of which there are few here; SQLite does not.
    """
    plans = _plans(filled, QUESTIONS)
    sorting = [name for name, plan in plans if "USE TEMP B-TREE FOR ORDER BY" in plan]

    assert [name for name in sorting if not name.startswith("event")] == []


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_an_event_is_found_by_its_id(filled: Engine) -> None:
    """Never by going through all deliveries, or dead letters, of its integration."""
    plans = dict(_plans(filled, {name: ask for name, ask in QUESTIONS.items() if name.startswith("event")}))
    by_id = [name for name, plan in plans.items() if "(event_id>" in str(plan) or "(event_id=" in str(plan)]

    assert len(plans) > 5
    assert by_id == list(plans)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_invalid_events_are_counted_by_indexes_alone(filled: Engine) -> None:
    """Readiness asks: what SQLite keeps behind a payload of 256 KiB costs a walk through all of it."""
    plan = plan_of(filled, QUESTIONS["lately invalid"])
    looks = [line.partition(" (")[0] for line in plan if "dead_letters" in line]

    assert looks == [
        "SEARCH dead_letters USING COVERING INDEX dead_letters_invalid",
        "SEARCH dead_letters USING INDEX dead_letters_waiting",
    ]


def test_invalid_events_are_counted_by_tenant(engine: Engine) -> None:
    """Of those whose tenant could not be read as well; only what waits, came lately, and was no event."""
    died = [("a", NOON), ("b", NOON), ("b", NOON + 1), (None, NOON), ("a", NOON - 1)]
    for place, (tenant_id, dead_ms) in enumerate(died):
        dead = letter({"e": b"{"}, integration_id=None, cause=Cause.INVALID, dead_ms=dead_ms)
        record_entries(engine, [], [(f"{place + 1}-0", msgspec.structs.replace(dead, tenant_id=tenant_id))])
    record_entries(engine, [], [("9-0", letter({"e": b"{}"}))])
    first = invalid_since(engine, NOON)
    discard_dead_letters(engine, DeadLetterFilter(ids=("2-0-0", "4-0-0")), NOON)

    assert first == {"a": 1, "b": 2, None: 1}
    assert invalid_since(engine, NOON) == {"a": 1, "b": 1}
    assert invalid_since(engine, NOON + 9) == {}


def test_problems_are_found_in_the_index_of_problems(filled: Engine) -> None:
    """What is not well is found in the index that holds nothing else."""
    plans = _plans(filled, UNWELL)

    assert [name for name, plan in plans if "deliveries_unwell" in str(plan)] == list(UNWELL)


def test_letters_that_wait_are_counted_by_their_integration(filled: Engine) -> None:
    """In the index that holds no others; an invalid event has no integration."""
    invalid = letter({"e": b"{"}, integration_id=None, cause=Cause.INVALID)
    record_entries(filled, [], [("8-0", invalid), ("9-0", letter({"e4": b"{}"}, integration_id="int_b"))])
    plan = plan_of(filled, waiting_by_integration)
    before = waiting_by_integration(filled)
    discard_dead_letters(filled, DeadLetterFilter(integration_id="int_b"), NOON)

    assert "dead_letters_waiting" in str(plan)
    assert before == {"int_a": 1, "int_b": 1}
    assert waiting_by_integration(filled) == {"int_a": 1}


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_what_is_rare_in_a_tenant_is_found_at_once(filled: Engine) -> None:
    """By tenant and action together: each alone may have millions of records."""
    question = QUESTIONS["records of a tenant of an action"]

    assert [
        line
        for line in plan_of(filled, question)
        if "audit_of_tenant_action (tenant_id=? AND action=?" in line
    ]
