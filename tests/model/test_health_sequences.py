"""What a course of sendings amounts to at each of its moments: hiccups, outages, refusals, recoveries."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.model.health import (
    BacklogStats,
    Counts,
    DeliveryStats,
    HealthInputs,
    LastError,
    State,
    Subject,
    Thresholds,
)
from worker.model.health_rules import assess
from worker.model.settlement import RetryPolicy

START = 1_795_442_460_000
SECOND, MINUTE = 1000, 60_000
LIMITS = Thresholds()
HOOK = Subject("int_hook", "default", "hook", "webhook")
BUSY = LastError(0, "destination_busy", "HTTP 503", "wait")
REFUSED = LastError(0, "rejected", "HTTP 400", "see why")
#: Seconds until the second, third and fourth attempt.
BACKOFF = [RetryPolicy(3, 2.0).backoff * 2**number for number in range(3)]


@dataclass
class Course:
    """What Redis and the ledger know of a course of sendings, one after the other; no breaker opens."""

    now_ms: int = START
    minutes: dict[int, Counts] = field(default_factory=lambda: defaultdict(Counts))
    failures: int = 0
    problem: LastError | None = None
    last_success_ms: int | None = None
    last_settled_ms: int | None = None
    deaths: list[int] = field(default_factory=list)

    def batch(self, ending: str, events: int = 1) -> Iterator[State]:
        """Send a batch (`again`: two tries, `dead`: four); yield the state after each attempt."""
        tries = {"ok": "o", "again": "bo", "refused": "r", "dead": "bbbb"}[ending]
        for number, result in enumerate(tries):
            if number:
                self.now_ms += round(BACKOFF[number - 1] * SECOND)
            last = number + 1 == len(tries)
            self._settle(result, events, last=last)
            yield self.state(events * (not last))

    def _settle(self, result: str, events: int, *, last: bool) -> None:
        minute = self.now_ms - self.now_ms % MINUTE
        counts = self.minutes[minute]
        self.last_settled_ms = self.now_ms
        if result == "o":
            self.minutes[minute] = replace(counts, delivered=counts.delivered + events)
            self.failures, self.last_success_ms = 0, self.now_ms
            return
        self.problem = replace(REFUSED if result == "r" else BUSY, at_ms=self.now_ms)
        self.failures = 0 if result == "r" else self.failures + 1
        if last:
            self.minutes[minute] = replace(counts, dead=counts.dead + events)
            self.deaths += [self.now_ms] * events
        else:
            self.minutes[minute] = replace(counts, retried=counts.retried + events)

    def state(self, waiting: int = 0) -> State:
        """Judge the present moment."""
        window = {at: one for at, one in self.minutes.items() if at >= self.now_ms - 6 * MINUTE}
        recent = [one for at, one in window.items() if at >= self.now_ms - self.now_ms % MINUTE - MINUTE]
        record = DeliveryStats(
            total(list(window.values())),
            self.last_success_ms,
            self.last_settled_ms,
            self.problem,
            recent=total(recent),
            retry_minutes=sum(one.retried > 0 for one in window.values()),
        )
        backlog_stats = BacklogStats(waiting, self.now_ms if waiting else None, failures=self.failures)
        return assess(
            HealthInputs(self.now_ms, HOOK, backlog_stats, record, recorded_until_ms=self.now_ms), LIMITS
        )[0]


def total(counts: list[Counts]) -> Counts:
    """Add them up."""
    return Counts(*(sum(getattr(one, name) for one in counts) for name in ("delivered", "retried", "dead")))


def run(course: Course, endings: list[str], gap: float = 1.0, events: int = 1) -> list[State]:
    """Send batches with a gap in seconds before each; return the state after each attempt."""
    states: list[State] = []
    for ending in endings:
        course.now_ms += round(gap * SECOND)
        states += course.batch(ending, events)
    return states


@given(st.lists(st.just("ok"), max_size=30), st.lists(st.just("ok"), max_size=30), st.data())
def test_one_hiccup_is_no_trouble(before: list[str], after: list[str], data: st.DataObject) -> None:
    """A batch that is refused once and delivered at its second try, wherever it stands, however large."""
    gap, events = data.draw(st.floats(0.1, 200)), data.draw(st.integers(1, 500))
    course = Course(START + data.draw(st.integers(0, MINUTE)))

    assert set(run(course, [*before, "again", *after], gap, events)) == {State.HEALTHY}


@given(st.floats(0.5, 100), st.integers(1, 500))
def test_two_tries_for_each_batch_are_degraded(gap: float, events: int) -> None:
    """From the second minute on; it is never taken for failing."""
    course = Course()
    states = run(course, ["again"] * (2 + round(2 * 60 / gap)), gap, events)

    assert State.FAILING not in states
    assert states[-1] is State.DEGRADED
    assert set(states) == {State.HEALTHY, State.DEGRADED}


@given(st.integers(0, 20), st.floats(1, 60), st.integers(1, 500))
def test_nothing_but_failures_is_failing_at_the_third(well: int, gap: float, events: int) -> None:
    """Within seconds, whatever was delivered in the minutes before; and for as long as it goes on."""
    course = Course()
    run(course, ["ok"] * well, gap, events)
    states = run(course, ["dead"] * 3, gap, events)

    assert State.FAILING not in states[:2]
    assert set(states[2:]) == {State.FAILING}


@given(st.sampled_from(["dead", "refused"]), st.integers(3, 20), st.floats(0.5, 5), st.integers(1, 500))
def test_it_recovers_within_seconds(trouble: str, times: int, gap: float, events: int) -> None:
    """After a quarter of a minute of deliveries; that events died is shown for the rest of the window."""
    course = Course()
    run(course, [trouble] * times, gap, events)
    ended = course.now_ms
    while course.now_ms - ended < LIMITS.recovered * SECOND + gap * SECOND:
        run(course, ["ok"], gap, events)

    assert course.state() is State.DEGRADED
    run(course, ["ok"] * 7, 60, events)
    assert course.state() is State.HEALTHY


@given(st.lists(st.sampled_from(["ok", "again", "refused", "dead"]), max_size=40), st.floats(0.1, 90))
def test_failing_needs_a_row_of_failures_or_deaths(endings: list[str], gap: float) -> None:
    """Whatever happens: attempts that were repeated with success never make it failing."""
    course = Course()
    for ending in endings:
        course.now_ms += round(gap * SECOND)
        for state in course.batch(ending):
            recent = [at for at in course.deaths if course.now_ms - at < 2 * MINUTE]
            assert state is not State.FAILING or course.failures >= 3 or len(recent) >= 3
            assert state is not State.HEALTHY or course.failures < 3


@pytest.mark.parametrize(("dying", "state"), [(1, State.DEGRADED), (6, State.FAILING), (0, State.HEALTHY)])
def test_a_mixture_is_judged_by_what_dies(dying: int, state: State) -> None:
    """Of ten batches, so many are refused for good, again and again."""
    course = Course()
    run(course, (["refused"] * dying + ["ok"] * (10 - dying)) * 20, 1.0)

    assert course.state() is state
