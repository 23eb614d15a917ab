"""What is said of an integration while Redis or the database is away: only what the other one decides."""

import pytest

from worker.model.gaps import Source
from worker.model.judgement import judge
from worker.model.wellbeing import Breaker, Counts, Facts, Parked, Record, State, Subject, Thresholds, Vitals

NOW = 1_795_600_000_000
SUBJECT = Subject("int_a", "default", "splunk", "splunk_hec")
REDIS, DATABASE = frozenset({Source.REDIS}), frozenset({Source.DATABASE})


@pytest.mark.parametrize(
    ("facts", "state", "words"),
    [
        (Facts(NOW, SUBJECT, Vitals(3), missing=DATABASE), State.UNKNOWN, "what was delivered is not known"),
        (Facts(NOW, SUBJECT, missing=REDIS), State.UNKNOWN, "what waits is not known"),
        (Facts(NOW, SUBJECT, missing=REDIS | DATABASE), State.UNKNOWN, "neither Redis nor the database"),
        (
            Facts(NOW, SUBJECT, Vitals(3, breaker=Breaker("connect_failed", NOW)), missing=DATABASE),
            State.FAILING,
            "circuit breaker",
        ),
        (Facts(NOW, SUBJECT, Vitals(3, NOW - 90_000), missing=DATABASE), State.DEGRADED, "3 events wait"),
        (
            Facts(NOW, SUBJECT, record=Record(recent=Counts(1, 0, 9)), missing=REDIS),
            State.FAILING,
            "became dead letters",
        ),
        (Facts(NOW, SUBJECT, parked=Parked(5), missing=REDIS), State.DEGRADED, "what waits is not known"),
        (
            Facts(NOW, Subject("a", "b", "c", "webhook", paused=True), missing=REDIS),
            State.PAUSED,
            "what waits is not known",
        ),
        (
            Facts(NOW, Subject("a", "b", "c", "webhook", enabled=False), missing=DATABASE),
            State.SWITCHED_OFF,
            "the database knows why",
        ),
    ],
)
def test_only_what_is_known_decides(facts: Facts, state: State, words: str) -> None:
    """Nothing is called healthy or idle for what could not be asked, nor silent."""
    found, reason = judge(facts, Thresholds())

    assert found is state
    assert words in reason
    assert "nothing waits" not in reason
