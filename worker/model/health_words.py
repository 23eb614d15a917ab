"""As of when it is known what became of events: deliveries count from when a recorder has written them. Pure.

What was settled later waits in Redis. While it waits for long, good news of the ledger is old news.
"""

from worker.model.health import HealthInputs, State, Thresholds
from worker.model.sources import Source
from worker.model.time_words import span, utc_text

#: States that say that nothing is amiss, of which nobody can be sure on old figures.
_GOOD = frozenset({State.HEALTHY, State.IDLE})


def is_stale(facts: HealthInputs, thresholds: Thresholds) -> bool:
    """Whether outcomes wait to be recorded for longer than they may, so that the ledger's figures are old."""
    if facts.missing & {Source.REDIS, Source.DATABASE}:
        return False  # that is said instead
    return facts.now_ms - facts.recorded_until_ms >= thresholds.lag * 1000


def as_recorded(state: State, reason: str, facts: HealthInputs, waiting: str) -> tuple[State, str]:
    """Return what rests on stale figures as of when they were recorded; good news is unknown then.

    `waiting` says what waits, in words.
    """
    lag = f"since {utc_text(facts.recorded_until_ms)} ({span(facts.now_ms - facts.recorded_until_ms)})"
    why = "the recorder is late" if facts.has_recorder else "no recorder runs"
    if state in _GOOD:
        return State.UNKNOWN, f"what became of events {lag} is not recorded yet: {why}; {waiting}"
    return state, f"{reason}; what became of events {lag} is not recorded yet: {why}"
