"""What the ledger says of the health of integrations, in both databases, and how it finds it."""

from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from tests.ledger.entries import NOON, outcome
from tests.ledger.letters import disable, live
from tests.ledger.plans import plan_of, reads_all
from worker.ledger.health import latencies, records, subjects
from worker.ledger.recording import record_entries
from worker.model.deliveries import Failure, Outcome, Status
from worker.model.failures import FailureCode
from worker.model.health import Counts, DeliveryStats, LastError, Latency, Subject

SECOND, MINUTE, HOUR = 1000, 60_000, 3_600_000
SINCE = {"int_a": NOON - 5 * MINUTE}


def note(engine: Engine, *outcomes: Outcome, batches: bool = True) -> None:
    """Record outcomes, in this order."""
    entries = [(f"{number}-0", [one]) for number, one in enumerate(outcomes, 1)]
    record_entries(engine, entries, [], batches=batches)


def test_of_one_without_a_history_nothing_is_known(engine: Engine) -> None:
    """No figure is made up."""
    assert records(engine, {"int_new": NOON}, sample=10) == {"int_new": DeliveryStats()}
    assert records(engine, {}, sample=10) == {}


def test_everything_is_known_of_each(engine: Engine) -> None:
    """Counts of the window, the latest success, settlement and problem, and latencies; none are mixed up."""
    note(
        engine,
        outcome(["old"], settled_ms=NOON - HOUR),
        outcome(["e1", "e2"], settled_ms=NOON - 4 * MINUTE),
        outcome(["e3"], Status.RETRYING, settled_ms=NOON - 3 * MINUTE),
        outcome(["e4"], Status.DEAD, settled_ms=NOON - MINUTE),
        outcome(["f1"], settled_ms=NOON - 2 * MINUTE, integration_id="int_b"),
    )
    found = records(engine, SINCE | {"int_b": NOON - 5 * MINUTE}, recent_ms=NOON - 2 * MINUTE, sample=10)

    assert found["int_a"] == DeliveryStats(
        Counts(delivered=2, retried=1, dead=1),
        last_success_ms=NOON - 4 * MINUTE,
        last_settled_ms=NOON - MINUTE,
        problem=LastError(NOON - MINUTE, "destination_busy", "the server is busy", "wait until it is well"),
        latency=Latency(10, 10, 10),
        recent=Counts(dead=1),
        retry_minutes=1,
    )
    assert found["int_b"] == DeliveryStats(
        Counts(delivered=1),
        NOON - 2 * MINUTE,
        NOON - 2 * MINUTE,
        latency=Latency(10, 10, 10),
        recent=Counts(delivered=1),
    )


def test_each_has_its_own_beginning(engine: Engine) -> None:
    """What happened before an outage was over counts against none."""
    for one in ("int_a", "int_b"):
        note_of(engine, one)
    found = records(engine, {"int_a": NOON - MINUTE, "int_b": NOON}, sample=10)

    assert found["int_a"].counts == Counts(delivered=1, retried=1)
    assert found["int_b"].counts == Counts(delivered=1)


def note_of(engine: Engine, integration_id: str) -> None:
    """Record a failure, and a minute later a success."""
    entries = [
        (
            f"{integration_id}-1",
            [outcome(["e1"], Status.RETRYING, settled_ms=NOON - MINUTE, integration_id=integration_id)],
        ),
        (f"{integration_id}-2", [outcome(["e2"], settled_ms=NOON, integration_id=integration_id)]),
    ]
    record_entries(
        engine, [(name.replace("int_a", "1").replace("int_b", "2"), one) for name, one in entries], []
    )


def test_a_retry_that_is_planned_is_shown(engine: Engine) -> None:
    """So that a wait that was agreed upon is not taken for silence."""
    note(engine, outcome(["e1"], Status.RETRYING))
    problem = records(engine, SINCE, sample=10)["int_a"].problem

    assert problem is not None
    assert problem.retry_at_ms == NOON + 2 * SECOND


def test_a_success_long_ago_is_known_to_the_minute(engine: Engine) -> None:
    """When a thousand failures lie between: the minute counts tell it."""
    note(
        engine,
        outcome(["e0"], settled_ms=NOON - HOUR + 7),
        *(outcome([f"e{number}"], Status.DEAD, settled_ms=NOON - number * SECOND) for number in range(1, 20)),
    )
    of_few = records(engine, SINCE, sample=5)["int_a"]
    of_all = records(engine, SINCE, sample=100)["int_a"]

    assert (of_few.last_success_ms, of_few.latency) == (NOON - HOUR, None)
    assert (of_all.last_success_ms, of_all.latency) == (NOON - HOUR + 7, Latency(10, 10, 10))


def test_latencies_are_of_the_latest(engine: Engine) -> None:
    """By nearest rank, and of no more settlements than asked for."""
    note(
        engine,
        *(outcome([f"e{took}"], settled_ms=NOON + took) for took in range(100)),
        batches=False,
    )
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE deliveries SET latency_ms = settled_ms - 1795385699999")

    assert records(engine, SINCE, sample=100)["int_a"].latency == Latency(50, 95, 99)
    assert records(engine, SINCE, sample=10)["int_a"].latency == Latency(95, 100, 100)


def test_what_was_slow_long_ago_is_forgotten(engine: Engine) -> None:
    """By nearest rank of the latest two; one delivery is every percentile."""
    note(engine, *(outcome([f"e{number}"], settled_ms=NOON + number) for number in range(4)), batches=False)
    with engine.begin() as connection:
        for number, took in enumerate((5000, 5000, 1, 2)):
            connection.exec_driver_sql(
                f"UPDATE deliveries SET latency_ms = {took} WHERE event_id = 'e{number}'"  # noqa: S608 - numbers of ours
            )

    assert latencies(engine, ["int_a"], sample=2) == {"int_a": Latency(1, 2, 2)}
    assert latencies(engine, ["int_a"], sample=1) == {"int_a": Latency(2, 2, 2)}


def test_the_latest_problem_is_shown(engine: Engine) -> None:
    """The latest delivery that is dead or to be tried again; an integration may have none."""
    note(
        engine,
        outcome(["e3"], Status.RETRYING, settled_ms=NOON + 1),
        outcome(["e4"], Status.DEAD, settled_ms=NOON + 2, attempts=4),
        outcome(["e1"], integration_id="int_b", settled_ms=NOON + 3, attempts=2),
        outcome(["e5"], settled_ms=NOON + 4),
    )
    found = records(engine, {"int_a": NOON, "int_b": NOON}, sample=9)

    assert found["int_a"].problem is not None
    assert found["int_a"].problem.at_ms == NOON + 2
    assert found["int_b"].problem is None


def test_what_failed_has_no_latency(engine: Engine) -> None:
    """Percentiles are over what arrived: one delivery is each of them, and none without any."""
    note(
        engine,
        outcome(["e1"], settled_ms=NOON),
        outcome(["e2"], Status.DEAD, settled_ms=NOON),
        outcome(["f1"], Status.DEAD, settled_ms=NOON, integration_id="int_b"),
    )

    assert latencies(engine, ["int_a", "int_b", "int_new"], sample=9) == {
        "int_a": Latency(10, 10, 10),
        "int_b": None,
        "int_new": None,
    }


def test_many_are_asked_in_few_statements(engine: Engine) -> None:
    """A thousand integrations cost no thousand questions."""
    note(engine, outcome(["e1"], integration_id="int_0999"))
    ids = {f"int_{number:04}": NOON - 5 * MINUTE for number in range(1001)}
    found = records(engine, ids, sample=1)
    plan = []

    def ask(engine: Engine) -> None:
        plan.append(records(engine, ids, sample=1))

    statements = plan_of(engine, ask)

    assert len(found) == 1001
    assert found["int_0999"].counts == Counts(delivered=1)
    assert statements
    assert not [line for line in statements if reads_all(line)]


QUESTIONS: dict[str, Callable[[Engine], object]] = {
    "all of it": lambda engine: records(engine, SINCE, sample=100),
    "only failures": lambda engine: records(engine, {"int_ill": NOON - 5 * MINUTE}, sample=100),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_question_is_answered_by_an_index(engine: Engine, name: str) -> None:
    """Each by its own: the minutes by their key, problems among problems, the latest from the end."""
    note(engine, outcome(["e1"]), outcome(["e2"], Status.DEAD, integration_id="int_ill"))
    plan = plan_of(engine, QUESTIONS[name])
    lines = "\n".join(plan)

    assert not [line for line in plan if reads_all(line)]
    assert "deliveries_latest" in lines
    assert "deliveries_unwell" in lines
    assert ("sqlite_autoindex_minute_counts" in lines) or ("minute_counts_pkey" in lines)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_nothing_is_sorted(engine: Engine) -> None:
    """The near end of an index is in order. PostgreSQL chooses by the numbers of rows."""
    note(engine, outcome(["e1"]), outcome(["e2"], Status.DEAD, integration_id="int_ill"))
    plan = plan_of(engine, QUESTIONS["only failures"])

    assert "USE TEMP B-TREE FOR ORDER BY" not in plan


def test_whose_health_it_is(engine: Engine) -> None:
    """By tenant and name; of one that its destination had disabled, why and when."""
    live(engine, "int_a", "int_b")
    gone = Failure(FailureCode.ENDPOINT_GONE, "410 Gone", "ask its owner", 410)
    note(engine, outcome(["e1"], Status.RETRYING, failure=gone))
    disable(engine, "int_b")
    off, by_hand = subjects(engine)

    assert (off.id, off.enabled, off.paused, off.disabled_reason, off.disabled_ms) == (
        *("int_a", False, False, "410 Gone"),
        NOON,
    )
    assert by_hand.id == "int_b"
    assert by_hand.enabled is False
    assert by_hand.disabled_reason is None
    assert by_hand.disabled_ms is None
    assert subjects(engine, integration_id="int_b") == [by_hand]
    assert subjects(engine, tenant_id="another") == []
    assert isinstance(off, Subject)
