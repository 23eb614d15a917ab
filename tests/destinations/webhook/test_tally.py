"""Rulings that are alike become one, unless they lie too far apart."""

from worker.destinations.webhook.sender import ResultCollector, ResultKey
from worker.model.deliveries import DeliveryResult, Failure, Verdict
from worker.model.failures import FailureCode

YES = ResultKey(Verdict.ACCEPTED, http_status=200)
NO = ResultKey(Verdict.RETRY, Failure(FailureCode.DESTINATION_BUSY, "HTTP 503", "wait", 503), 7.0, 503)


def tallied(*entries: tuple[int, ResultKey, int]) -> list[DeliveryResult]:
    """Add results for these places, for these reasons, at these milliseconds."""
    tally = ResultCollector()
    for place, reason, elapsed_ms in entries:
        tally.add([place], reason, elapsed_ms)
    return tally.results()


def test_what_is_alike_is_one() -> None:
    """Same verdict, same reason, same time."""
    results = tallied((0, YES, 10), (1, NO, 10), (2, YES, 12), (3, NO, 14))

    assert results == [
        DeliveryResult([0, 2], Verdict.ACCEPTED, 11, http_status=200),
        DeliveryResult([1, 3], Verdict.RETRY, 12, NO.failure, 7.0, 503),
    ]


def test_times_stay_near() -> None:
    """Within five milliseconds and a fifth of the age; the ruling says the middle."""
    ages = [0, 3, 5, 6, 12, 13, 20, 100, 120, 125, 126, 500]
    results = tallied(*((place, YES, age) for place, age in enumerate(ages)))

    assert [(list(r.places), r.elapsed_ms) for r in results] == [
        ([0, 1, 2], 2),
        ([3, 4], 9),
        ([5, 6], 16),
        ([7, 8, 9], 112),
        ([10], 126),
        ([11], 500),
    ]


def test_other_words_are_another_ruling() -> None:
    """What an endpoint says differently is recorded differently."""
    other = ResultKey(
        Verdict.RETRY, Failure(FailureCode.DESTINATION_BUSY, "HTTP 503: later", "wait", 503), 7.0, 503
    )

    assert [list(result.places) for result in tallied((0, NO, 1), (1, other, 1), (2, NO, 1))] == [[0, 2], [1]]
