"""How large the next part of a batch is: what was too much, what worked, and how an offender ends alone."""

import random

import pytest

from worker.destinations.batching import PartSize, isolating
from worker.model.deliveries import MAX_REQUESTS

SIZES = dict.fromkeys(range(500), 600)


def parts_of(size: PartSize, count: int = 500) -> list[int]:
    """Return how many events each part holds."""
    return [len(part) for part in size.cut(range(count), SIZES)]


def test_parts_keep_to_the_configured_limits() -> None:
    """Events and bytes; one that is larger than the limit goes alone."""
    assert parts_of(PartSize(events=200, size=900_000)) == [200, 200, 100]
    assert parts_of(PartSize(events=500, size=150_000)) == [250, 250]
    assert parts_of(PartSize(events=500, size=10), 3) == [1, 1, 1]
    assert PartSize(events=500, size=10).cut([], {}) == []


def test_what_was_too_much_is_halved_down_to_one_event() -> None:
    """However small the receiver's appetite is, it is found in a few steps."""
    size = PartSize(events=500, size=900_000)
    sent: list[int] = []
    while not sent or sent[-1] > 1:
        sent.append(parts_of(size)[0])
        size.missed(sent[-1] * 600)

    assert sent == [500, 250, 125, 62, 31, 15, 7, 3, 1]
    assert size.limit == 300


def test_the_size_that_worked_is_remembered_and_grows_slowly() -> None:
    """A tenth with each part near the limit; a small part says nothing."""
    size = PartSize(events=500, size=900_000)
    size.missed(300_000)
    size.took(1_000)
    assert size.limit == 150_000
    size.took(149_000)
    assert size.limit == 165_001
    for _ in range(50):
        size.took(size.limit)
    assert size.limit == 900_000


def test_one_event_that_was_taken_proves_its_size() -> None:
    """After a limit below any event, the way up does not begin at a byte."""
    size = PartSize(events=500, size=900_000)
    size.missed(3)
    size.took(600)

    assert size.limit == 661


def test_a_failure_says_how_fast_the_receiver_is() -> None:
    """With the rate where it is known, and how many events go together from now on."""
    size = PartSize(events=500, size=900_000)
    size.missed(300_000)
    assert size.words(500, 300_000) == "batches of 250 from now on"
    size.missed(150_000, rate=6_000)
    assert size.words(250, 150_000) == "it takes about 6 kB/s: batches of 125 from now on"
    size.missed(600, rate=30)
    assert size.words(1, 600) == "it takes about 30 B/s: batches of 1 from now on"


def test_a_fresh_batch_stays_whole() -> None:
    """Nothing is known of it yet."""
    assert [list(part) for part in isolating(range(5), bytearray(5))] == [[0, 1, 2, 3, 4]]


def test_what_failed_least_goes_first() -> None:
    """Its neighbours in a failed part are under suspicion, and wait."""
    assert [list(part) for part in isolating([0, 1, 2, 3], bytearray([3, 0, 3, 0]))] == [[1, 3], [0], [2]]


@pytest.mark.parametrize("seed", range(20))
def test_an_offender_is_alone_with_the_last_request(seed: int) -> None:
    """Whoever shares a failing request with an offender is sent again; none needs more than four."""
    dice = random.Random(seed)
    count = dice.randint(1, 1_000)
    offenders = {place for place in range(count) if dice.random() < dice.choice([0.001, 0.1, 0.9])}
    request_counts = bytearray(count)
    waiting = isolating(range(count), request_counts)
    dead: set[int] = set()
    taken: set[int] = set()
    while waiting:
        part = waiting.pop()
        for place in part:
            request_counts[place] += 1
        if offenders.isdisjoint(part):
            taken |= set(part)
            continue
        dead |= {place for place in part if request_counts[place] == MAX_REQUESTS}
        waiting += isolating(
            [place for place in part if request_counts[place] < MAX_REQUESTS], request_counts
        )

    assert dead == offenders
    assert taken == set(range(count)) - offenders
    assert max(request_counts) <= MAX_REQUESTS
