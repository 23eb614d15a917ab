"""What counted as sent until the receiver hung up just behind it: reported once, by the first way."""

import threading

import pytest

from tests.destinations.batches import attempt_of
from tests.fleet import wait_until
from worker.destinations.syslog_cef import withdrawals
from worker.destinations.syslog_cef.withdrawals import WithdrawnParts
from worker.model.deliveries import Cause, DeliveryResult, Status, Verdict, Withdrawn
from worker.model.errors import BrokerUnavailable
from worker.model.settlement import RetryPolicy, settle_results, withdrawal


def test_the_next_sending_reports_it() -> None:
    """Its events are dead letters then, and those of the batch are settled as ever."""
    parts = WithdrawnParts()
    parts.of(attempt_of(3), [0, 2])()
    attempt = attempt_of(1)
    results = [DeliveryResult([0], Verdict.ACCEPTED, 5), *parts.results(attempt.batch)]
    settlement = settle_results(attempt, results, RetryPolicy(3, 1))

    assert settlement.settled == 1
    assert [outcome.status for outcome in settlement.outcomes] == [Status.DELIVERED, Status.DEAD]
    [letter] = settlement.dead
    assert [event.id for event in letter.events] == ["e0", "e2"]
    assert letter.attempts == [1, 1]
    assert letter.cause == Cause.EXHAUSTED
    assert letter.failure.code == "closed_unconfirmed"
    assert letter.dead_ms < settlement.outcomes[0].settled_ms, "so that it is redriven"
    assert parts.results(attempt_of(1).batch) == []


def test_a_batch_does_not_report_itself() -> None:
    """The ledger takes the first of two outcomes in one settlement: it would stay delivered."""
    parts = WithdrawnParts()
    attempt = attempt_of(2)
    parts.of(attempt, [1])()

    assert parts.results(attempt.batch) == []
    assert [result.withdrawn is not None for result in parts.results(attempt_of(1).batch)] == [True]


def test_without_another_sending_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while, which leaves the batch itself the time to be settled; what cannot be is kept."""
    monkeypatch.setattr(withdrawals, "WRITTEN_AFTER", 0.01)
    tries: list[Withdrawn] = []

    def write(part: Withdrawn) -> None:
        tries.append(part)
        if len(tries) == 1:
            raise BrokerUnavailable

    parts = WithdrawnParts(write)
    parts.of(attempt_of(1), [0])()
    wait_until(lambda: tries, "it is tried")
    parts.of(attempt_of(2), [1])()
    wait_until(lambda: len(tries) >= 3, "both are written")

    assert parts.results(attempt_of(1).batch) == []
    assert sorted(event.id for part in tries for event in part.events) == ["e0", "e0", "e1"]


def test_many_wait_for_one_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver that hangs up again and again must not cost a thread each time."""
    monkeypatch.setattr(withdrawals, "WRITTEN_AFTER", 0.2)
    written: list[Withdrawn] = []
    parts = WithdrawnParts(written.append)
    before = threading.active_count()
    for _ in range(50):
        parts.of(attempt_of(1), [0])()

    assert threading.active_count() <= before + 1
    wait_until(lambda: len(written) == 50, "all are written")


def test_what_redis_does_not_take_is_written_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Although no further end, and no further batch, comes to remind of it."""
    monkeypatch.setattr(withdrawals, "WRITTEN_AFTER", 0.01)
    tries: list[Withdrawn] = []

    def write(part: Withdrawn) -> None:
        tries.append(part)
        if len(tries) == 1:
            raise BrokerUnavailable

    WithdrawnParts(write).of(attempt_of(1), [0])()
    wait_until(lambda: len(tries) == 2, "it is tried again")


def test_a_withdrawal_has_a_row_and_a_letter() -> None:
    """By the clock that it is given, as often carried as it was."""
    attempt = attempt_of(2)
    parts = WithdrawnParts()
    parts.of(attempt, [0, 1])()
    [result] = parts.results(attempt_of(1).batch)
    assert result.withdrawn is not None
    outcome, letter = withdrawal("int_1", result.withdrawn, 1_234)

    assert outcome.status == Status.DEAD
    assert outcome.settled_ms == 1_234
    assert letter.dead_ms == 1_234
    assert [trace.attempts for trace in outcome.events] == letter.attempts == [1, 1]
