"""What a task says of itself in Celery's log and in Flower."""

import re

import pytest

from tests.model.test_breaker import NO_RETRIES, accepted, turned_away
from tests.model.test_settlement import BAD, POLICY, attempt_of, batch_of, failing
from worker.model.deliveries import DeliveryResult, Verdict
from worker.model.errors import DeliveryDead, DeliveryDelayed, DeliveryError, DeliveryHeld, TransientDelivery
from worker.model.settlement import RetryPolicy, settle_deleted, settle_results
from worker.pipeline.task_report import TaskReport, held, task_error

NO_CELERY = RetryPolicy(max_retries=3, backoff=2.0, celery_can=False)


def ending_of(
    results: list[DeliveryResult],
    policy: RetryPolicy = POLICY,
    *,
    request_counts: int = 1,
    probing: bool = False,
) -> DeliveryError | None:
    """Return how a task ends whose batch of three events gets these rulings."""
    attempt = attempt_of([request_counts] * 3, probing=probing)
    settlement = settle_results(attempt, results, policy)
    report = TaskReport()
    report.add(settlement)
    return task_error(attempt.batch.order, attempt.batch, settlement, report)


def test_what_was_delivered_is_a_success() -> None:
    """The result sums the batches of the task, and counts what took more than one request."""
    report = TaskReport()
    for request_counts in ([1, 1], [1, 2, 2]):
        attempt = attempt_of(request_counts)
        settlement = settle_results(attempt, [accepted(*range(len(request_counts)))], POLICY)
        report.add(settlement)
        assert task_error(attempt.batch.order, attempt.batch, settlement, report) is None

    assert re.fullmatch(r"5 delivered, 2 retried, 2 batches, \d+ ms", str(report))


@pytest.mark.parametrize(
    ("results", "policy", "probing", "ending", "words"),
    [
        (
            [failing([0, 1, 2])],
            POLICY,
            False,
            TransientDelivery,
            r"destination busy: 3 events .+ again in 2 s",
        ),
        (
            [accepted(0, 1), failing([2])],
            POLICY,
            False,
            TransientDelivery,
            r"destination busy: 1 event .+ in 2 s; 2 delivered, 0 retried, \d+ ms",
        ),
        ([failing([0, 1, 2])], NO_CELERY, False, DeliveryDelayed, r"destination busy: 3 events .+ in 2 s"),
        (
            [failing([0, 1, 2], retry_after=3600)],
            POLICY,
            False,
            DeliveryDelayed,
            r"destination busy: 3 events to be sent again in 3600 s",
        ),
        ([turned_away(0, 1, 2)], POLICY, False, DeliveryHeld, r"held: token invalid, 3 events wait"),
        ([failing([0])], POLICY, True, DeliveryHeld, r"held: destination busy, 3 events wait"),
        ([failing([0, 1, 2])], NO_RETRIES, False, DeliveryDead, r"3 dead letters \(destination busy\)"),
        (
            [accepted(0, 1), DeliveryResult([2], Verdict.REFUSED, 5, BAD)],
            POLICY,
            False,
            DeliveryDead,
            r"1 dead letter \(event refused\); 2 delivered, 0 retried, \d+ ms",
        ),
    ],
)
def test_what_was_not_delivered_is_none(
    results: list[DeliveryResult],
    policy: RetryPolicy,
    probing: bool,  # noqa: FBT001 - a test's parameter
    ending: type[DeliveryError],
    words: str,
) -> None:
    """It ends in an error that says what happened, in codes and counts."""
    found = ending_of(results, policy, probing=probing)

    assert type(found) is ending
    # Delays are spread by a fifth.
    assert re.fullmatch(words.replace("2 s", r"[12] s"), str(found)), str(found)


def test_what_was_deleted_is_no_success() -> None:
    """Its events went nowhere."""
    batch = batch_of([0, 0])
    settlement = settle_deleted(batch)
    report = TaskReport()
    report.add(settlement)

    found = task_error(batch.order, batch, settlement, report)

    assert isinstance(found, DeliveryDead)
    assert str(found) == "2 dead letters (integration deleted)"


def test_an_event_that_died_in_an_earlier_part_is_reported() -> None:
    """A batch in parts ends with its last one, but the task has not delivered all."""
    report = TaskReport()
    attempt = attempt_of([1, 1])
    report.add(settle_results(attempt, [DeliveryResult([0], Verdict.REFUSED, 5, BAD)], POLICY))
    settlement = settle_results(attempt, [accepted(1)], POLICY)
    report.add(settlement)

    found = task_error(attempt.batch.order, attempt.batch, settlement, report)

    assert isinstance(found, DeliveryDead)
    assert str(found).startswith("1 dead letter (event refused); 1 delivered, 0 retried, 2 batches, ")


@pytest.mark.parametrize("word", ["stale", "early", "empty"])
def test_nothing_to_do_is_no_failure(word: str) -> None:
    """Whatever the order was for, another task does it."""
    assert str(TaskReport(word=word)).startswith("nothing to do: ")


def test_one_event_waits() -> None:
    """The count has its noun and its verb."""
    assert str(held("paused", 1, TaskReport())) == "held: paused, 1 event waits"
