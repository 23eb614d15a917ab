"""What the facts about an integration amount to: a state, and the reason in words that help. Pure.

It counts what became of events, and how the destination does at present; an attempt that failed and was
repeated with success is no failure. The first rule that applies decides:

| state    | when                                                                  | ends                 |
|----------|-----------------------------------------------------------------------|----------------------|
| disabled, paused | an operator, or a destination that is gone, wants it so       | with that            |
| failing  | the circuit breaker is open                                           | at the first success |
| failing  | `fewest_failures` sendings in a row failed, none since came through   | at the first success |
| failing  | `failing_rate` of what was settled in the last 1 to 2 minutes died    | 15 s behind the last |
| failing  | events wait, and nothing was delivered or failed for `silence`        | when something is    |
| degraded | `degraded_rate` of what was settled in the window died                | with the window      |
| degraded | `retry_rate` of the attempts were repeated, in 2 minutes of it or more | with the window     |
| degraded | chunks were damaged; an event waits for `oldest`; events are parked   | with that            |
| unknown  | neither is so, and outcomes wait for `lag` to be recorded             | when they are        |
| idle     | nothing came for long                                                 | at the next event    |
| healthy  | else                                                                  |                      |

The window begins again when the breaker closes. One refusal (HTTP 503, a closed connection) of a batch
that is delivered at its next try falls within a single minute, and changes nothing.

Each rule says what is the matter before it says how it is known, for readers who stop early.
"""

from collections.abc import Callable

from worker.model.failures import FailureCode
from worker.model.health import HealthInputs, IntegrationHealth, State, Thresholds
from worker.model.health_words import (
    as_recorded,
    counted,
    dead_letter_rate_text,
    is_stale,
    latest_problem,
    next_try_words,
    waiting_words,
)
from worker.model.sources import Source
from worker.model.time import span, utc_text

Assessment = tuple[State, str]


def assess(facts: HealthInputs, thresholds: Thresholds) -> Assessment:
    """Return the state and the reason."""
    for rule in _RULES:
        sources = _RESTS_ON.get(rule, _BOTH)
        if facts.missing & sources:
            continue
        if found := rule(facts, thresholds):
            return _with_time(found, facts, thresholds) if Source.DATABASE in sources else found
    return _unknown(facts) if facts.missing else _with_time(_well(facts, thresholds), facts, thresholds)


def integration_health(facts: HealthInputs, thresholds: Thresholds) -> IntegrationHealth:
    """Judge, and put the figures beside the judgement."""
    state, reason = assess(facts, thresholds)
    subject, backlog_stats, record, parked = facts.subject, facts.backlog_stats, facts.record, facts.parked
    since = _earliest(backlog_stats.waiting_since_ms, parked.oldest_ms)
    return IntegrationHealth(
        integration_id=subject.id,
        tenant_id=subject.tenant_id,
        name=subject.name,
        type=subject.type,
        state=state,
        reason=reason,
        last_success_ms=record.last_success_ms,
        last_error=record.problem,
        error_rate=record.counts.error_rate,
        retry_rate=record.counts.retry_rate,
        latency=record.latency,
        backlog_events=backlog_stats.backlog_events,
        parked_events=parked.events,
        oldest_event_ms=_earliest(backlog_stats.oldest_published_ms, parked.oldest_ms),
        waiting_seconds=None if since is None else max(0, facts.now_ms - since) / 1000,
        breaker=backlog_stats.breaker,
        recorded_until_ms=facts.recorded_until_ms or None,
        missing=facts.missing,
    )


def _disabled(facts: HealthInputs, _thresholds: Thresholds) -> Assessment | None:
    subject = facts.subject
    if subject.enabled:
        return None
    if subject.disabled_reason is None and Source.DATABASE in facts.missing:
        return State.DISABLED, "disabled (the reason is in the database)"
    if subject.disabled_reason is None:
        return State.DISABLED, "disabled by an operator"
    since = f" at {utc_text(subject.disabled_ms)}" if subject.disabled_ms else ""
    return State.DISABLED, (
        f"disabled because its destination answered{since} that it is gone: "
        f"{subject.disabled_reason}; {waiting_words(facts)}; "
        "enabling it resends the events that got this answer"
    )


def _paused(facts: HealthInputs, _thresholds: Thresholds) -> Assessment | None:
    if not facts.subject.paused:
        return None
    return State.PAUSED, f"paused by an operator; {waiting_words(facts)}"


def _held_by_breaker(facts: HealthInputs, _thresholds: Thresholds) -> Assessment | None:
    breaker, problem = facts.backlog_stats.breaker, facts.record.problem
    if breaker is None:
        return None
    words = problem.error if problem and problem.code == breaker.cause else breaker.cause.replace("_", " ")
    return State.FAILING, (
        f"circuit breaker open since {utc_text(breaker.since_ms)}: {words} "
        f"({next_try_words(breaker, facts.now_ms)}); {waiting_words(facts)}"
    )


def _failing_now(facts: HealthInputs, thresholds: Thresholds) -> Assessment | None:
    backlog_stats, problem = facts.backlog_stats, facts.record.problem
    if backlog_stats.failures < thresholds.fewest_failures:
        return None
    is_recent = problem is not None and facts.now_ms - problem.at_ms <= thresholds.window * 1000
    if not backlog_stats.backlog_events and not is_recent:
        return None  # its present state is not known
    return State.FAILING, (
        f"the last {counted(backlog_stats.failures, 'attempt')} failed"
        f"{latest_problem(problem)}; "
        f"{waiting_words(facts)}"
    )


def _mostly_dead_letters(facts: HealthInputs, thresholds: Thresholds) -> Assessment | None:
    recent = facts.record.recent
    if (recent.error_rate or 0.0) < thresholds.failing_rate or recent.dead < thresholds.fewest_failures:
        return None
    if facts.record.delivered_for_ms >= thresholds.recovered * 1000:
        return None
    return State.FAILING, dead_letter_rate_text(facts, recent, "last 2 min")


def _silent(facts: HealthInputs, thresholds: Thresholds) -> Assessment | None:
    since = facts.backlog_stats.waiting_since_ms
    if since is None or _wait_is_agreed(facts):
        return None
    limit_ms = thresholds.silence * 1000
    last_sign_ms = max(since, facts.record.last_settled_ms or 0)
    # The ledger may lag behind: what it does not know yet may be the sign that is missed.
    if facts.now_ms - since < limit_ms or facts.recorded_until_ms - last_sign_ms < limit_ms:
        return None
    why = "" if facts.has_worker else f"; no worker for {facts.subject.type} is running"
    return State.FAILING, (
        f"no delivery and no failure for {span(facts.now_ms - last_sign_ms)}; {waiting_words(facts)}{why}"
    )


def _partly_dead_letters(facts: HealthInputs, thresholds: Thresholds) -> Assessment | None:
    counts = facts.record.counts
    if not counts.dead or (counts.error_rate or 0.0) < thresholds.degraded_rate:
        return None
    return State.DEGRADED, dead_letter_rate_text(facts, counts, f"last {span(thresholds.window * 1000)}")


def _many_retries(facts: HealthInputs, thresholds: Thresholds) -> Assessment | None:
    counts, minutes = facts.record.counts, facts.record.retry_minutes
    rate = counts.retry_rate or 0.0
    if rate < thresholds.retry_rate or minutes < thresholds.retry_minutes:
        return None
    return State.DEGRADED, (
        f"{rate * 100:.0f} % of the attempts of the last {span(thresholds.window * 1000)} were retries "
        f"({counts.retried} of {counts.attempts}, in {minutes} minutes)"
        f"{latest_problem(facts.record.problem)}"
    )


def _was_damaged(facts: HealthInputs, thresholds: Thresholds) -> Assessment | None:
    """One damaged chunk among thousands of deliveries is no rate, and yet says that Redis loses data."""
    problem = facts.record.problem
    if problem is None or problem.code != FailureCode.UNREADABLE:
        return None
    if facts.now_ms - problem.at_ms > thresholds.window * 1000:
        return None
    return State.DEGRADED, f"events in its backlog are damaged{latest_problem(problem)}; {problem.hint}"


def _oldest_too_old(facts: HealthInputs, thresholds: Thresholds) -> Assessment | None:
    since = facts.backlog_stats.waiting_since_ms
    if since is None or facts.now_ms - since < thresholds.oldest * 1000:
        return None
    problem = facts.record.problem
    words = latest_problem(problem) if problem and problem.at_ms >= since else ""
    return State.DEGRADED, (
        f"its oldest undelivered event has waited for {span(facts.now_ms - since)} "
        f"(limit {span(thresholds.oldest * 1000)}); {waiting_words(facts)}{words}"
    )


def _has_parked(facts: HealthInputs, _thresholds: Thresholds) -> Assessment | None:
    if not facts.parked.events:
        return None
    return State.DEGRADED, f"backlog full; {waiting_words(facts)}"


def _idle(facts: HealthInputs, thresholds: Thresholds) -> Assessment | None:
    last_ms = facts.record.last_settled_ms
    if facts.backlog_stats.backlog_events:
        return None
    if last_ms is None:
        return State.IDLE, "no event routed yet"
    if facts.now_ms - last_ms < thresholds.idle * 1000:
        return None
    return State.IDLE, f"no event routed since {utc_text(last_ms)}"


_RULES: tuple[Callable[[HealthInputs, Thresholds], Assessment | None], ...] = (
    *(_disabled, _paused, _held_by_breaker, _failing_now, _mostly_dead_letters, _silent),
    *(_partly_dead_letters, _many_retries, _was_damaged, _oldest_too_old, _has_parked, _idle),
)

_BOTH = frozenset(Source)
_REDIS, _DATABASE = frozenset({Source.REDIS}), frozenset({Source.DATABASE})
#: Which source a rule cannot do without; one that is not listed needs both.
_RESTS_ON: dict[Callable[[HealthInputs, Thresholds], Assessment | None], frozenset[Source]] = {
    **dict.fromkeys((_disabled, _paused), frozenset()),
    **dict.fromkeys((_held_by_breaker, _failing_now, _oldest_too_old), _REDIS),
    **dict.fromkeys(
        (_mostly_dead_letters, _partly_dead_letters, _many_retries, _was_damaged, _has_parked), _DATABASE
    ),
}


def _with_time(found: Assessment, facts: HealthInputs, thresholds: Thresholds) -> Assessment:
    """Add as of when deliveries are known, if that is long ago."""
    return as_recorded(*found, facts, waiting_words(facts)) if is_stale(facts, thresholds) else found


def _unknown(facts: HealthInputs) -> Assessment:
    """Return what is known where that does not decide."""
    if facts.missing >= _BOTH:
        return State.UNKNOWN, "neither Redis nor the database answers"
    if Source.DATABASE in facts.missing:
        return State.UNKNOWN, f"deliveries unknown without the database; {waiting_words(facts)}"
    last_ms = facts.record.last_success_ms
    latest = f"; last delivery at {utc_text(last_ms)}" if last_ms else ""
    return State.UNKNOWN, f"backlog unknown without Redis{latest}"


def _well(facts: HealthInputs, thresholds: Thresholds) -> Assessment:
    counts, last_ms = facts.record.counts, facts.record.last_success_ms
    if counts.delivered:
        repeated = f"; {counted(counts.retried, 'attempt')} were retries" if counts.retried else ""
        dead = f"; {counted(counts.dead, 'dead letter')}" if counts.dead else ""
        within = span(thresholds.window * 1000)
        delivered = counted(counts.delivered, "event")
        return State.HEALTHY, f"{delivered} delivered in {within}{repeated}{dead}"
    if last_ms is not None:
        return State.HEALTHY, f"last delivery at {utc_text(last_ms)}; no event has waited for long"
    return State.HEALTHY, "no event has waited for long"


def _wait_is_agreed(facts: HealthInputs) -> bool:
    """Whether the destination asked for it, or the next attempt is planned for later."""
    problem = facts.record.problem
    retry_at_ms = problem.retry_at_ms if problem else None
    return max(facts.backlog_stats.rests_until_ms, retry_at_ms or 0) > facts.now_ms


def _earliest(*moments: int | None) -> int | None:
    return min((one for one in moments if one is not None), default=None)
