"""What is said of an integration while Redis or the database is away: only what the other one decides."""

import pytest

from worker.model.health import (
    BacklogStats,
    Breaker,
    Counts,
    DeliveryStats,
    HealthInputs,
    ParkedStats,
    State,
    Subject,
    Thresholds,
)
from worker.model.health_rules import assess
from worker.model.sources import Source

NOW = 1_795_600_000_000
SUBJECT = Subject("int_a", "default", "splunk", "splunk_hec")
REDIS, DATABASE = frozenset({Source.REDIS}), frozenset({Source.DATABASE})


#: What is known, the state, and words of the reason.
CASES: list[tuple[HealthInputs, State, str]] = [
    (
        HealthInputs(NOW, SUBJECT, BacklogStats(3), missing=DATABASE),
        State.UNKNOWN,
        "deliveries unknown",
    ),
    (HealthInputs(NOW, SUBJECT, missing=REDIS), State.UNKNOWN, "backlog unknown"),
    (
        HealthInputs(NOW, SUBJECT, missing=REDIS | DATABASE),
        State.UNKNOWN,
        "neither Redis nor the database",
    ),
    (
        HealthInputs(NOW, SUBJECT, BacklogStats(3, breaker=Breaker("connect_failed", NOW)), missing=DATABASE),
        State.FAILING,
        "circuit breaker",
    ),
    (
        HealthInputs(NOW, SUBJECT, BacklogStats(3, NOW - 90_000), missing=DATABASE),
        State.DEGRADED,
        "3 events wait",
    ),
    (
        HealthInputs(NOW, SUBJECT, record=DeliveryStats(recent=Counts(1, 0, 9)), missing=REDIS),
        State.FAILING,
        "became dead letters",
    ),
    (
        HealthInputs(NOW, SUBJECT, parked=ParkedStats(5), missing=REDIS),
        State.DEGRADED,
        "backlog unknown",
    ),
    (
        HealthInputs(NOW, Subject("a", "b", "c", "webhook", paused=True), missing=REDIS),
        State.PAUSED,
        "backlog unknown",
    ),
    (
        HealthInputs(NOW, Subject("a", "b", "c", "webhook", enabled=False), missing=DATABASE),
        State.DISABLED,
        "the reason is in the database",
    ),
]


def test_only_what_is_known_decides(subtests: pytest.Subtests) -> None:
    """Nothing is called healthy or idle for what could not be asked, nor silent."""
    for facts, state, words in CASES:
        with subtests.test(facts=facts):
            found, reason = assess(facts, Thresholds())

            assert found is state
            assert words in reason
            assert "nothing waits" not in reason
