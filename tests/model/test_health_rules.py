"""What the facts amount to: the state, and a reason that a person can act upon."""

from dataclasses import replace

import pytest

from worker.model.health import (
    BacklogStats,
    Breaker,
    Counts,
    DeliveryStats,
    HealthInputs,
    LastError,
    Latency,
    ParkedStats,
    State,
    Subject,
    Thresholds,
)
from worker.model.health_rules import assess, integration_health
from worker.model.time import span, utc_text

#: 2026-11-23T14:02:07Z.
NOW = 1_795_442_527_000
SECOND, MINUTE, HOUR = 1000, 60_000, 3_600_000
LIMITS = Thresholds()

HOOK = Subject("int_hook", "default", "hook", "webhook")
REFUSED = LastError(NOW - 5 * SECOND, "connect_failed", "connection refused", "see that it runs")
DAMAGED = LastError(NOW - 5 * SECOND, "unreadable", "chunk 5-0 is damaged", "see that memory is sound")
OPEN = Breaker("connect_failed", NOW - 10 * MINUTE, NOW + 40 * SECOND)


def facts(
    backlog_stats: BacklogStats | None = None,
    record: DeliveryStats | None = None,
    subject: Subject = HOOK,
    **other: object,
) -> HealthInputs:
    """Say what is known of the integration; a minute ago something was delivered, unless `record` differs."""
    known = DeliveryStats(Counts(delivered=10), NOW - MINUTE, NOW - MINUTE) if record is None else record
    made = HealthInputs(NOW, subject, backlog_stats or BacklogStats(), known, recorded_until_ms=NOW)
    return replace(made, **other)  # type: ignore[arg-type]  # the fields of Facts


def attempts(
    delivered: int, retried: int = 0, dead: int = 0, problem: LastError | None = REFUSED, minutes: int = 1
) -> DeliveryStats:
    """Say how the attempts of the last minutes ended, and in how many of them one was repeated."""
    counts = Counts(delivered, retried, dead)
    return DeliveryStats(counts, NOW - MINUTE, NOW - SECOND, problem, recent=counts, retry_minutes=minutes)


def waiting(seconds: float, **other: object) -> BacklogStats:
    """Say for how long the oldest of seven events has waited."""
    made = BacklogStats(backlog_events=7, waiting_since_ms=NOW - round(seconds * SECOND))
    return replace(made, **other)  # type: ignore[arg-type]  # the fields of Vitals


LONG_AGO = DeliveryStats(last_success_ms=NOW - 2 * HOUR, last_settled_ms=NOW - 2 * HOUR)
GONE = replace(HOOK, enabled=False, disabled_reason="410 Gone", disabled_ms=NOW - HOUR)

CASES: dict[str, tuple[HealthInputs, State, str]] = {
    "well": (facts(), State.HEALTHY, "10 events delivered in 5 min"),
    "well but for a hiccup": (
        facts(record=attempts(1, retried=2)),
        State.HEALTHY,
        "1 event delivered in 5 min; 2 attempts were retries",
    ),
    "well, and quiet": (
        facts(record=DeliveryStats(last_success_ms=NOW - HOUR // 2, last_settled_ms=NOW - HOUR // 2)),
        State.HEALTHY,
        "last delivery at 2026-11-23 13:32:07Z; no event has waited for long",
    ),
    "its first events": (
        facts(waiting(1), DeliveryStats()),
        State.HEALTHY,
        "no event has waited for long",
    ),
    "breaker open": (
        facts(BacklogStats(12, breaker=OPEN), attempts(0, 5)),
        State.FAILING,
        (
            "circuit breaker open since 2026-11-23 13:52:07Z: connection refused (next try in 40 s); "
            "12 events wait"
        ),
    ),
    "breaker open, nothing else known": (
        facts(BacklogStats(1, breaker=OPEN), DeliveryStats()),
        State.FAILING,
        ("circuit breaker open since 2026-11-23 13:52:07Z: connect failed (next try in 40 s); 1 event waits"),
    ),
    "breaker open, opened by something else than the latest problem": (
        facts(BacklogStats(breaker=replace(OPEN, cause="token_invalid", next_try_ms=0)), attempts(0, 1)),
        State.FAILING,
        (
            "circuit breaker open since 2026-11-23 13:52:07Z: token invalid (the next try is due); "
            "nothing waits"
        ),
    ),
    "breaker open, trying": (
        facts(BacklogStats(breaker=replace(OPEN, trying=True)), attempts(0, 5)),
        State.FAILING,
        (
            "circuit breaker open since 2026-11-23 13:52:07Z: connection refused "
            "(a batch is trying it now); nothing waits"
        ),
    ),
    "nothing comes through": (
        facts(waiting(3, failures=4), attempts(0, retried=4)),
        State.FAILING,
        ("the last 4 attempts failed; the latest at 2026-11-23 14:02:02Z: connection refused; 7 events wait"),
    ),
    "nothing came through, and all of it died": (
        facts(BacklogStats(failures=4), attempts(0, retried=3, dead=1)),
        State.FAILING,
        ("the last 4 attempts failed; the latest at 2026-11-23 14:02:02Z: connection refused; nothing waits"),
    ),
    "nothing came through, long ago": (
        facts(BacklogStats(failures=4), attempts(0, problem=replace(REFUSED, at_ms=NOW - HOUR // 2))),
        State.HEALTHY,
        "last delivery at 2026-11-23 14:01:07Z; no event has waited for long",
    ),
    "two sendings failed": (
        facts(waiting(3, failures=2), attempts(10, retried=2)),
        State.HEALTHY,
        "10 events delivered in 5 min; 2 attempts were retries",
    ),
    "a batch needed two tries": (
        facts(record=attempts(500, retried=500)),
        State.HEALTHY,
        "500 events delivered in 5 min; 500 attempts were retries",
    ),
    "every batch needs two tries": (
        facts(record=attempts(500, retried=500, minutes=2)),
        State.DEGRADED,
        (
            "50 % of the attempts of the last 5 min were retries (500 of 1000, in 2 minutes); "
            "the latest at 2026-11-23 14:02:02Z: connection refused"
        ),
    ),
    "few batches need two tries": (
        facts(record=attempts(810, retried=200, minutes=5)),
        State.HEALTHY,
        "810 events delivered in 5 min; 200 attempts were retries",
    ),
    "half of it dies": (
        facts(record=attempts(60, retried=40, dead=60)),
        State.FAILING,
        (
            "50 % of the events settled in the last 2 min became dead letters (60 of 120); "
            "the latest at 2026-11-23 14:02:02Z: connection refused"
        ),
    ),
    "half of it died, and for a while none has": (
        facts(
            record=replace(
                attempts(60, dead=60, problem=replace(REFUSED, at_ms=NOW - 20 * SECOND)),
                last_success_ms=NOW - SECOND,
            )
        ),
        State.DEGRADED,
        (
            "50 % of the events settled in the last 5 min became dead letters (60 of 120); "
            "the latest at 2026-11-23 14:01:47Z: connection refused"
        ),
    ),
    "half of it died some minutes ago": (
        facts(record=replace(attempts(60, dead=60, problem=None), recent=Counts(60))),
        State.DEGRADED,
        "50 % of the events settled in the last 5 min became dead letters (60 of 120)",
    ),
    "less than half of it dies": (
        facts(record=attempts(61, retried=40, dead=60)),
        State.DEGRADED,
        (
            "50 % of the events settled in the last 5 min became dead letters (60 of 121); "
            "the latest at 2026-11-23 14:02:02Z: connection refused"
        ),
    ),
    "a twentieth of it dies": (
        facts(record=attempts(95, dead=5, problem=None)),
        State.DEGRADED,
        "5 % of the events settled in the last 5 min became dead letters (5 of 100)",
    ),
    "less than a twentieth of it dies": (
        facts(record=attempts(96, dead=5)),
        State.HEALTHY,
        "96 events delivered in 5 min; 5 dead letters",
    ),
    "one event died, and little else happened": (
        facts(record=attempts(1, dead=1, problem=None)),
        State.DEGRADED,
        "50 % of the events settled in the last 5 min became dead letters (1 of 2)",
    ),
    "one chunk of thousands was damaged": (
        facts(record=attempts(5000, dead=1, problem=DAMAGED)),
        State.DEGRADED,
        (
            "events in its backlog are damaged; the latest at 2026-11-23 14:02:02Z: chunk 5-0 is damaged; "
            "see that memory is sound"
        ),
    ),
    "a chunk was damaged long ago": (
        facts(record=attempts(10, problem=replace(DAMAGED, at_ms=NOW - HOUR))),
        State.HEALTHY,
        "10 events delivered in 5 min",
    ),
    "silent": (
        facts(waiting(130), LONG_AGO),
        State.FAILING,
        "no delivery and no failure for 2 min; 7 events wait",
    ),
    "silent, and why": (
        facts(waiting(200), DeliveryStats(), has_worker=False),
        State.FAILING,
        ("no delivery and no failure for 3 min; 7 events wait; no worker for webhook is running"),
    ),
    "silent for all we know, but the recorder lags": (
        facts(waiting(130), LONG_AGO, recorded_until_ms=NOW - MINUTE),
        State.DEGRADED,
        "its oldest undelivered event has waited for 2 min (limit 1 min); 7 events wait",
    ),
    "not silent: its destination asked for it": (
        facts(waiting(130, rests_until_ms=NOW + SECOND), LONG_AGO),
        State.DEGRADED,
        "its oldest undelivered event has waited for 2 min (limit 1 min); 7 events wait",
    ),
    "not silent: the retry is planned": (
        facts(
            waiting(130),
            replace(LONG_AGO, problem=replace(REFUSED, retry_at_ms=NOW + SECOND)),
        ),
        State.DEGRADED,
        (
            "its oldest undelivered event has waited for 2 min (limit 1 min); 7 events wait; "
            "the latest at 2026-11-23 14:02:02Z: connection refused"
        ),
    ),
    "late": (
        facts(waiting(60)),
        State.DEGRADED,
        "its oldest undelivered event has waited for 1 min (limit 1 min); 7 events wait",
    ),
    "nearly late": (facts(waiting(59)), State.HEALTHY, "10 events delivered in 5 min"),
    "parked": (
        facts(parked=ParkedStats(1200, NOW - HOUR)),
        State.DEGRADED,
        "backlog full; nothing waits, 1200 more are parked",
    ),
    "paused": (
        facts(waiting(9999), LONG_AGO, replace(HOOK, paused=True)),
        State.PAUSED,
        "paused by an operator; 7 events wait",
    ),
    "disabled by hand": (
        facts(BacklogStats(breaker=OPEN), subject=replace(HOOK, enabled=False, paused=True)),
        State.DISABLED,
        "disabled by an operator",
    ),
    "disabled by its destination": (
        facts(subject=GONE),
        State.DISABLED,
        (
            "disabled because its destination answered at 2026-11-23 13:02:07Z that it is gone: "
            "410 Gone; nothing waits; enabling it resends the events that got this answer"
        ),
    ),
    "idle": (
        facts(record=LONG_AGO),
        State.IDLE,
        "no event routed since 2026-11-23 12:02:07Z",
    ),
    "never used": (facts(record=DeliveryStats()), State.IDLE, "no event routed yet"),
    "no longer idle": (
        facts(waiting(1), LONG_AGO),
        State.HEALTHY,
        "last delivery at 2026-11-23 12:02:07Z; no event has waited for long",
    ),
}


def test_facts_amount_to_a_state_and_a_reason() -> None:
    """Each in words that say what is the matter."""
    judged = {name: assess(given, LIMITS) for name, (given, _, _) in CASES.items()}

    assert judged == {name: (state, reason) for name, (_, state, reason) in CASES.items()}


def test_thresholds_are_what_decides() -> None:
    """An operator who wants fewer reports, or more, sets them."""
    stricter = Thresholds(degraded_rate=0.01, failing_rate=0.02, fewest_failures=1)
    milder = Thresholds(degraded_rate=0.9, failing_rate=1.0, oldest=600, silence=600)

    assert assess(facts(record=attempts(98, dead=1)), stricter)[0] is State.DEGRADED
    assert assess(facts(record=attempts(98, dead=2)), stricter)[0] is State.FAILING
    assert assess(facts(record=attempts(50, dead=50)), milder)[0] is State.HEALTHY
    assert assess(facts(waiting(500), LONG_AGO), milder)[0] is State.HEALTHY


@pytest.mark.parametrize("has_recorder", [True, False])
def test_what_is_not_recorded_is_not_called_healthy(*, has_recorder: bool) -> None:
    """Old figures that were good say nothing of the present; problems in them are shown with their time."""
    old = NOW - MINUTE
    why = "the recorder is late" if has_recorder else "no recorder runs"
    words = f"outcomes since 2026-11-23 14:01:07Z (1 min) not recorded yet: {why}"

    def judged(
        backlog_stats: BacklogStats | None = None, record: DeliveryStats | None = None
    ) -> tuple[State, str]:
        return assess(facts(backlog_stats, record, recorded_until_ms=old, has_recorder=has_recorder), LIMITS)

    assert judged() == (State.UNKNOWN, f"{words}; nothing waits")
    assert judged(waiting(5)) == (State.UNKNOWN, f"{words}; 7 events wait")
    assert judged(record=LONG_AGO) == (State.UNKNOWN, f"{words}; nothing waits")
    state, reason = judged(record=attempts(50, dead=50))
    assert (state, reason.endswith(f"; {words}")) == (State.FAILING, True)
    assert judged(BacklogStats(12, breaker=OPEN))[0] is State.FAILING
    assert judged(waiting(90))[0] is State.DEGRADED


def test_a_recorder_may_be_a_little_late() -> None:
    """Outcomes wait for a moment at all times."""
    late = facts(recorded_until_ms=NOW - 29 * SECOND)

    assert assess(late, LIMITS) == assess(facts(), LIMITS)
    assert integration_health(late, LIMITS).recorded_until_ms == NOW - 29 * SECOND


def test_the_figures_stand_beside_the_judgement() -> None:
    """What waits here counts from when it came here; an event that is replayed may be older by far."""
    backlog_stats = waiting(3, oldest_published_ms=NOW - HOUR)
    record = replace(attempts(3, 4, 1), latency=Latency(1, 2, 3))
    health = integration_health(facts(backlog_stats, record), LIMITS)

    assert (health.error_rate, health.retry_rate) == (0.25, 0.5)
    assert (health.latency, health.last_error) == (Latency(1, 2, 3), REFUSED)
    assert (health.backlog_events, health.parked_events) == (7, 0)
    assert (health.oldest_event_ms, health.waiting_seconds) == (NOW - HOUR, 3.0)
    assert not health.breaker_open


def test_what_is_parked_is_not_forgotten() -> None:
    """The oldest undelivered event may rest in the ledger."""
    health = integration_health(facts(waiting(3), parked=ParkedStats(5, NOW - HOUR)), LIMITS)

    assert health.parked_events == 5
    assert health.oldest_event_ms == NOW - HOUR
    assert health.waiting_seconds == 3600.0


def test_a_span_is_given_roughly() -> None:
    """In the largest unit of which there are two."""
    words = {
        -5: "0 s",
        0: "0 s",
        1499: "1 s",
        59_000: "59 s",
        60_000: "1 min",
        90_000: "90 s",
        120_000: "2 min",
        3_600_000: "1 h",
        7_199_000: "119 min",
        90_000_000: "25 h",
        172_800_000: "2 d",
    }

    assert {milliseconds: span(milliseconds) for milliseconds in words} == words


def test_moments_are_utc() -> None:
    """To the second, with the zone."""
    assert utc_text(NOW) == "2026-11-23 14:02:07Z"
