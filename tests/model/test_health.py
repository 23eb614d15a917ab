"""What a sending says of its destination, and what the settlement spares because of it."""

from dataclasses import replace

import pytest

from tests.model.test_settlement import BAD, BUSY, POLICY, batch_of, failing, ids_by_status, retry_of
from worker.model.deliveries import SETTLED, Batch, Cause, Finding, Health, Ruling, Verdict
from worker.model.failures import FailureCode
from worker.model.health import health_of
from worker.model.settlement import RetryPolicy, settle_lost, settle_rulings
from worker.model.suspicion import only_part

TOKEN = Finding(FailureCode.TOKEN_INVALID, "HTTP 403: Invalid token (code 4)", "check the token", 403)
ENDED = Finding(FailureCode.ENDPOINT_GONE, "HTTP 410", "switch it on again", 410)
SHORT = Finding(FailureCode.OUT_OF_RESOURCES, "too many open files", "raise the limit")
NO_RETRIES = RetryPolicy(max_retries=0, backoff=2.0)


def accepted(*places: int) -> Ruling:
    """Rule that these came through."""
    return Ruling(places, Verdict.ACCEPTED, 5)


def turned_away(*places: int) -> Ruling:
    """Rule that a wrong setting kept these out."""
    return Ruling(places, Verdict.RETRY, 5, TOKEN, None, 403)


@pytest.mark.parametrize(
    ("rulings", "health"),
    [
        ([accepted(0, 1)], Health.WELL),
        ([failing([0]), accepted(1)], Health.WELL),
        ([Ruling([0], Verdict.REFUSED, 5, BAD), failing([1])], Health.WELL),
        ([failing([0, 1])], Health.FAILED),
        ([turned_away(0, 1)], Health.MISCONFIGURED),
        ([failing([0]), turned_away(1)], Health.FAILED),
        ([Ruling([0], Verdict.REFUSED, 5, ENDED), Ruling([1], Verdict.RETRY, 5, ENDED)], Health.FAILED),
        ([accepted(), failing([0])], Health.FAILED),
        ([Ruling([0], Verdict.RETRY, 5, SHORT)], Health.UNKNOWN),
        ([Ruling([0], Verdict.RETRY, 5, SHORT), failing([1])], Health.FAILED),
        ([], Health.UNKNOWN),
    ],
)
def test_one_that_came_through_is_enough(rulings: list[Ruling], health: Health) -> None:
    """A destination that takes anything, or judges an event, is well; else its first failure tells."""
    assert health_of(rulings) is health


@pytest.mark.parametrize(
    ("finding", "code"), [(BUSY, FailureCode.DESTINATION_BUSY), (None, FailureCode.UNKNOWN)]
)
def test_what_may_open_the_breaker_has_a_reason(finding: Finding | None, code: FailureCode) -> None:
    """Also where the failure was the last attempt, so that nothing is left to retry."""
    settlement = settle_rulings(batch_of([1]), [Ruling([0], Verdict.RETRY, 5, finding)], NO_RETRIES)

    assert settlement.retry is None
    assert (settlement.health, settlement.cause) == (Health.FAILED, code)


def test_a_wrong_setting_costs_no_attempt() -> None:
    """Even without retries, nothing dies of a wrong token, and no request is counted for it."""
    batch = batch_of([1, 1])

    settlement = settle_rulings(batch, [turned_away(0, 1)], NO_RETRIES, before=bytes([0, 0]))

    assert (settlement.health, settlement.cause) == (Health.MISCONFIGURED, "token_invalid")
    assert ids_by_status(settlement) == {"retrying": ["e0", "e1"]}
    assert (retry_of(settlement).attempts, retry_of(settlement).carried) == (0, bytes([0, 0]))


def test_a_probe_that_gets_through_in_part_is_a_sending_like_any_other() -> None:
    """What failed beside it has had its attempt."""
    batch = _probing([1, 1], attempts=1)

    settlement = settle_rulings(batch, [accepted(0), failing([1])], POLICY, before=bytes([0, 0]))

    assert settlement.health is Health.WELL
    assert (retry_of(settlement).attempts, retry_of(settlement).carried) == (2, bytes([SETTLED, 1]))


def test_the_time_that_a_destination_asks_for_is_passed_on() -> None:
    """The longest `Retry-After` of the sending, up to an hour."""
    batch = batch_of([1, 1])
    rulings = [failing([0], retry_after=30), failing([1], retry_after=9999)]

    assert settle_rulings(batch, rulings, POLICY).asked == 3600


def test_only_some_are_open_while_a_batch_is_under_suspicion() -> None:
    """The others look settled to the sender, and are as before afterwards."""
    batch = _suspected([SETTLED, 0, 1, 0, 2], suspects=2)

    with only_part(batch):
        seen = batch.open_places()

    assert seen == [1, 2]
    assert list(batch.carried) == [SETTLED, 0, 1, 0, 2]


def test_what_was_not_sent_of_a_suspected_batch_is_due_at_once() -> None:
    """It stays under suspicion, and has had no attempt."""
    batch = _suspected([1, 0, 0], suspects=1)

    settlement = settle_rulings(batch, [accepted(0)], POLICY)

    retry = retry_of(settlement)
    assert (retry.seconds, retry.by_celery, retry.attempts, retry.carried) == (
        0,
        False,
        0,
        bytes([SETTLED, 0, 0]),
    )
    assert settlement.suspicious


def test_the_event_that_ends_workers_is_buried_alone() -> None:
    """The first of those that are left; the rest is above suspicion."""
    batch = _suspected([SETTLED, 5, 5], suspects=1, lost_alone=2)

    settlement = settle_lost(batch)

    [letter] = settlement.dead
    assert (letter.cause, letter.finding.code) == (Cause.WORKER_LOST.value, "worker_lost")
    assert [event.id for event in letter.events] == ["e1"]
    assert not settlement.suspicious
    assert retry_of(settlement).seconds == 0


def test_what_waiting_mends_is_no_wrong_setting() -> None:
    """Busy, slow, lost: these come back by themselves."""
    assert not BUSY.code.is_setting
    passing = (FailureCode.TIMED_OUT, FailureCode.CONNECTION_LOST, FailureCode.CONNECT_FAILED)
    assert not any(code.is_setting for code in passing)


def _probing(carried: list[int], *, attempts: int) -> Batch:
    return replace(batch_of(carried, attempts=attempts), probing=True)


def _suspected(carried: list[int], *, suspects: int, lost_alone: int = 0) -> Batch:
    return replace(batch_of(carried), suspects=suspects, lost_alone=lost_alone)
