"""How large the next part of a batch is: what was too much, what worked, and how an offender ends alone."""

import random
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.destinations.batches import attempt_of
from worker.destinations.batching import IF_UNSENT, TO_THE_LAST, WITH_THREE_LEFT, BatchPlan, RequestLimit
from worker.model.deliveries import MAX_REQUESTS

SIZES = dict.fromkeys(range(500), 600)


def parts_of(limit: RequestLimit, count: int = 500) -> list[int]:
    """Return how many events each part holds."""
    return [len(part) for part in limit.cut(range(count), SIZES)]


def test_parts_keep_to_the_configured_limits() -> None:
    """Events and bytes; one that is larger than the limit goes alone."""
    assert parts_of(RequestLimit(events=200, size=900_000)) == [200, 200, 100]
    assert parts_of(RequestLimit(events=500, size=150_000)) == [250, 250]
    assert parts_of(RequestLimit(events=500, size=10), 3) == [1, 1, 1]
    assert RequestLimit(events=500, size=10).cut([], {}) == []


def test_what_was_too_much_is_halved_down_to_one_event() -> None:
    """However small the receiver's appetite is, it is found in a few steps."""
    limit = RequestLimit(events=500, size=900_000)
    sent: list[int] = []
    while not sent or sent[-1] > 1:
        sent.append(parts_of(limit)[0])
        limit.shrink(sent[-1] * 600)

    assert sent == [500, 250, 125, 62, 31, 15, 7, 3, 1]
    assert limit.size == 300


def test_the_size_that_worked_is_remembered_and_grows_slowly() -> None:
    """A tenth with each part near the limit; a small part says nothing."""
    limit = RequestLimit(events=500, size=900_000)
    limit.shrink(300_000)
    limit.grow(1_000)
    assert limit.size == 150_000
    limit.grow(149_000)
    assert limit.size == 165_001
    for _ in range(50):
        limit.grow(limit.size)
    assert limit.size == 900_000


def test_one_event_that_was_taken_proves_its_size() -> None:
    """After a limit below any event, the way up does not begin at a byte."""
    limit = RequestLimit(events=500, size=900_000)
    limit.shrink(3)
    limit.grow(600)

    assert limit.size == 661


def test_a_failure_says_how_fast_the_receiver_is() -> None:
    """With the rate where it is known, and how many events go together from now on."""
    limit = RequestLimit(events=500, size=900_000)
    limit.shrink(300_000)
    assert limit.description(500, 300_000) == "batches of 250 from now on"
    limit.shrink(150_000, rate=6_000)
    assert limit.description(250, 150_000) == "it takes about 6 kB/s: batches of 125 from now on"
    limit.shrink(600, rate=30)
    assert limit.description(1, 600) == "it takes about 30 B/s: batches of 1 from now on"


def plan_of(counts: Sequence[int], *, events: int = 1_000) -> BatchPlan:
    """Plan a batch whose events were carried by so many requests, with so many events a request."""
    attempt = attempt_of(len(counts), carried=counts)
    return BatchPlan(
        attempt, RequestLimit(events=events, size=900_000), dict.fromkeys(range(len(counts)), 600)
    )


def waiting(plan: BatchPlan) -> list[list[int]]:
    """Take all parts that wait."""
    return [list(part) for part in plan.stop()]


def test_a_fresh_batch_stays_whole() -> None:
    """Nothing is known of it yet; only the limit cuts it."""
    for whole in (IF_UNSENT, WITH_THREE_LEFT, TO_THE_LAST):
        plan = plan_of([0] * 5)
        plan.add(range(5), whole=whole)
        assert waiting(plan) == [[0, 1, 2, 3, 4]]
        plan = plan_of([0] * 5, events=3)
        plan.add(range(5), whole=whole)
        assert waiting(plan) == [[0, 1, 2], [3, 4]]


def test_events_that_were_carried_as_often_go_together() -> None:
    """Its neighbours in a failed part are under suspicion, and are cut by the requests that are left."""
    plan = plan_of([0, 0, 3, 3, 1, 1, 1, 1])
    plan.add(range(8), whole=WITH_THREE_LEFT)
    assert waiting(plan) == [[0, 1], [2], [3], [4, 5, 6, 7]]
    plan.add(range(8), whole=IF_UNSENT)
    assert waiting(plan) == [[0, 1], [2], [3], [4, 5], [6, 7]]
    plan.add(range(8), whole=TO_THE_LAST)
    assert waiting(plan) == [[0, 1, 2, 3, 4, 5, 6, 7]]


def test_what_has_no_request_left_is_not_sent_again() -> None:
    """It is returned; the others go before all that waits."""
    plan = plan_of([0, 4, 2, 2])
    plan.put_first([0])
    assert plan.add_first([1, 2, 3], whole=IF_UNSENT) == [1]
    assert waiting(plan) == [[2], [3], [0]]
    assert plan.add_first([1], whole=TO_THE_LAST) == [1]
    assert not plan


def test_a_cut_off_part_is_repeated_once() -> None:
    """And only while every event of it has a request left."""
    plan = plan_of([1, 1, 4])
    assert not plan.repeat([1, 2])
    assert not plan.is_repeated([1, 2])
    assert plan.repeat([0, 1])
    assert waiting(plan) == [[0, 1]]
    assert plan.by_repeated([0, 2]) == ([0], [2])
    assert not plan.repeat([1])


@settings(max_examples=20)
@given(dice=st.randoms(use_true_random=True))
def test_an_offender_is_alone_with_the_last_request(dice: random.Random) -> None:
    """An event that shares a failing request with an offender is sent again; none needs more than four."""
    count = dice.randint(1, 1_000)
    offenders = {place for place in range(count) if dice.random() < dice.choice([0.001, 0.1, 0.9])}
    attempt = attempt_of(count)
    plan = BatchPlan(attempt, RequestLimit(events=1_000, size=900_000), dict.fromkeys(range(count), 600))
    plan.add(range(count), whole=IF_UNSENT)
    dead: set[int] = set()
    taken: set[int] = set()
    while plan:
        part = plan.next_part()
        plan.count(part)
        if offenders.isdisjoint(part):
            taken |= set(part)
        else:
            dead |= set(plan.add_first(part, whole=IF_UNSENT))

    assert dead == offenders
    assert taken == set(range(count)) - offenders
    assert max(attempt.request_counts) <= MAX_REQUESTS
