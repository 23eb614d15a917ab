"""Sentences on the health of an integration, and as of when they hold. Pure.

Deliveries count from when a recorder has written them.

What was settled later waits in Redis. While it waits for long, good news of the ledger is old news.
"""

from worker.model.health import Breaker, Counts, HealthInputs, LastError, State, Thresholds
from worker.model.sources import Source
from worker.model.time import span, utc_text

#: States without trouble, which old figures cannot prove.
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
        return State.UNKNOWN, f"outcomes {lag} not recorded yet: {why}; {waiting}"
    return state, f"{reason}; outcomes {lag} not recorded yet: {why}"


def dead_letter_rate_text(facts: HealthInputs, counts: Counts, when: str) -> str:
    """Return which share of the settled events became dead letters, and the latest error."""
    percent = f"{(counts.error_rate or 0.0) * 100:.0f} %"
    return (
        f"{percent} of the events settled in the {when} became dead letters "
        f"({counts.dead} of {counts.settled}){latest_problem(facts.record.problem)}"
    )


def latest_problem(problem: LastError | None) -> str:
    """Return the latest error as the end of a sentence; empty without one."""
    return f"; the latest at {utc_text(problem.at_ms)}: {problem.error}" if problem else ""


def waiting_words(facts: HealthInputs) -> str:
    """Return how many events wait, and how many of them are parked."""
    if Source.REDIS in facts.missing:
        return "backlog unknown without Redis"
    backlog, parked = facts.backlog_stats.backlog_events, facts.parked.events
    words = f"{counted(backlog, 'event')} wait{'s' if backlog == 1 else ''}" if backlog else "nothing waits"
    return f"{words}, {counted(parked, 'more')} are parked" if parked else words


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural where it must be."""
    plural = "" if number == 1 or noun == "more" else "s"
    return f"{number} {noun}{plural}"


def next_try_words(breaker: Breaker, now_ms: int) -> str:
    """Return when the circuit breaker lets the next event try."""
    if breaker.trying:
        return "a batch is trying it now"
    if breaker.next_try_ms <= now_ms:
        return "the next try is due"
    return f"next try in {span(breaker.next_try_ms - now_ms)}"
