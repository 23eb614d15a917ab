"""Health of an integration and of the fleet: the inputs, the states, and their changes.

Every change of state of an integration is announced as a `StateChange`. The rules that lead from inputs to a
state are in
`worker.model.health_rules`. Moments are in milliseconds since 1970 UTC.
"""

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from worker.model.sources import Source


class State(StrEnum):
    """Health state of an integration."""

    #: What was routed to it is delivered.
    HEALTHY = "healthy"
    #: Some of it is not, or late.
    DEGRADED = "degraded"
    #: Most of it is not, or nothing.
    FAILING = "failing"
    #: A user wants its events to wait.
    PAUSED = "paused"
    #: Nothing was routed to it for long.
    IDLE = "idle"
    #: Not known: Redis or the database is away, or nothing was recorded for long, and what is known
    #: does not decide. Never announced: release 0.1.0 could not read it.
    UNKNOWN = "unknown"
    #: It gets no events: disabled by a person, or because its destination is gone for good.
    DISABLED = "disabled"

    @classmethod
    def _missing_(cls, value: object) -> "State | None":
        """Read `switched_off`, as releases before 0.2.0 called `disabled`."""
        return cls.DISABLED if value == "switched_off" else None


#: States that are no reason for an alarm.
FINE = frozenset({State.HEALTHY, State.IDLE, State.PAUSED, State.DISABLED})


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From where on an integration is not ok. Rates are fractions, times are in seconds."""

    window: float = 300.0
    #: Of the settled events of the window, so many became dead letters; of the last minutes, so many.
    degraded_rate: float = 0.05
    failing_rate: float = 0.5
    #: So many sendings in a row, or dead letters, make it failing.
    fewest_failures: int = 3
    #: Of the attempts of the window, so many were retries, in so many of its minutes: not one hiccup.
    retry_rate: float = 0.2
    retry_minutes: int = 2
    #: Events were delivered for so long since the latest that was not: the destination has recovered.
    recovered: float = 15.0
    oldest: float = 60.0
    silence: float = 120.0
    idle: float = 3600.0
    #: Outcomes may wait so long to be recorded before the ledger's figures are old.
    lag: float = 60.0


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose health it is. `disabled_reason` and `disabled_ms` are set if its destination had it disabled."""

    id: str
    tenant_id: str
    name: str
    type: str
    enabled: bool = True
    paused: bool = False
    disabled_reason: str | None = None
    disabled_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Breaker:
    """An open circuit breaker: the finding's code that opened it, since when, and when an event tries again.

    `next_try_ms` is 0 when nothing is to be waited for; `trying` says that a batch is on its way.
    """

    cause: str
    since_ms: int
    next_try_ms: int = 0
    trying: bool = False


@dataclass(frozen=True, slots=True)
class BacklogStats:
    """What Redis knows: `backlog_events` are not settled yet, on their way included.

    `waiting_since_ms` is when the oldest of them came into the backlog, `oldest_published_ms` when it was
    published: much earlier, if it is replayed. `rests_until_ms`: the destination asked to be spared.
    `closed_ms` is when the breaker closed the last time, `failures` how many sendings in a row have failed
    until now: nothing of them came through.
    """

    backlog_events: int = 0
    waiting_since_ms: int | None = None
    oldest_published_ms: int | None = None
    breaker: Breaker | None = None
    closed_ms: int = 0
    rests_until_ms: int = 0
    failures: int = 0


#: How many of the latest settlements latencies are of: wherever they are shown, the same.
LATENCY_OF = 500
#: What a latency is, wherever it is shown.
LATENCY = (
    "from the publication to the destination's acceptance, by nearest rank over what was delivered among the "
    f"latest {LATENCY_OF} settlements"
)
#: What the error rate is, wherever it is shown.
ERROR_RATE = "of the events that were delivered or became dead letters, the share that became dead letters"
#: What the retry rate is, wherever it is shown.
RETRY_RATE = "of the attempts to deliver an event, the share that failed and was to be repeated"


@dataclass(frozen=True, slots=True)
class Counts:
    """How many events were settled how: for good, or to be tried again (an event counts each time)."""

    delivered: int = 0
    retried: int = 0
    dead: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        """Count both."""
        return Counts(self.delivered + other.delivered, self.retried + other.retried, self.dead + other.dead)

    @property
    def failed(self) -> int:
        """How many attempts failed, for good or to be repeated."""
        return self.retried + self.dead

    @property
    def settled(self) -> int:
        """How many events came to an end."""
        return self.delivered + self.dead

    @property
    def attempts(self) -> int:
        """How many attempts came to an end."""
        return self.settled + self.retried

    @property
    def error_rate(self) -> float | None:
        """See `ERROR_RATE`; from 0 to 1, None without a settled event."""
        return self.dead / self.settled if self.settled else None

    @property
    def retry_rate(self) -> float | None:
        """See `RETRY_RATE`; from 0 to 1, None without an attempt."""
        return self.retried / self.attempts if self.attempts else None


@dataclass(frozen=True, slots=True)
class LastError:
    """The latest delivery that is dead or to be tried again: when that was settled, and why."""

    at_ms: int
    code: str
    error: str
    hint: str
    retry_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Latency:
    """See `LATENCY`; in milliseconds."""

    p50: int
    p95: int
    p99: int


@dataclass(frozen=True, slots=True)
class DeliveryStats:
    """What the ledger knows. `latency` is of the latest settlements; None if none of them was a delivery.

    `counts` are of the window, `recent` of the minute under way and the one before; `retry_minutes` counts
    the minutes of the window in which an attempt was to be repeated. `last_success_ms` is exact while a
    success is among the latest settlements, else the beginning of its minute.
    """

    counts: Counts = Counts()
    last_success_ms: int | None = None
    last_settled_ms: int | None = None
    problem: LastError | None = None
    latency: Latency | None = None
    recent: Counts = Counts()
    retry_minutes: int = 0

    @property
    def delivered_for_ms(self) -> int:
        """For how long none has failed: from the latest problem to the latest success."""
        if self.last_success_ms is None or self.problem is None:
            return 0
        return max(0, self.last_success_ms - self.problem.at_ms)


@dataclass(frozen=True, slots=True)
class ParkedStats:
    """Events that a backlog has no room for: how many rest in the ledger, and since when the oldest waits."""

    events: int = 0
    oldest_ms: int | None = None


@dataclass(frozen=True, slots=True)
class HealthInputs:
    """All that is known of one integration at one moment, by the clock of Redis.

    What was settled before `recorded_until_ms` stands in the ledger. `has_recorder`: some recorder runs;
    `has_worker`: some worker delivers to destinations of its type. What comes from a source that is `missing`
    is left as it is by default.
    """

    now_ms: int
    subject: Subject
    backlog_stats: BacklogStats = BacklogStats()
    record: DeliveryStats = DeliveryStats()
    parked: ParkedStats = ParkedStats()
    recorded_until_ms: int = 0
    has_recorder: bool = True
    has_worker: bool = True
    missing: frozenset[Source] = frozenset()


@dataclass(frozen=True, slots=True)
class IntegrationHealth:
    """Health of one integration, and the reason in words.

    `error_rate` and `retry_rate` (0 to 1) are over the window, or since the breaker closed.
    `oldest_event_ms` is when the oldest undelivered event was published, `waiting_seconds` how long one has
    waited here at the most. Both count what is parked. `breaker` is set while it is open. What comes from a
    source that is `missing` is not known, whatever stands here. Deliveries count that were settled before
    `recorded_until_ms`, which is None without Redis.
    """

    integration_id: str
    tenant_id: str
    name: str
    type: str
    state: State
    reason: str
    last_success_ms: int | None
    last_error: LastError | None
    error_rate: float | None
    retry_rate: float | None
    latency: Latency | None
    backlog_events: int
    parked_events: int
    oldest_event_ms: int | None
    waiting_seconds: float | None
    breaker: Breaker | None
    recorded_until_ms: int | None = None
    missing: frozenset[Source] = frozenset()

    @property
    def breaker_open(self) -> bool:
        """Whether nothing is sent but a probe."""
        return self.breaker is not None


class StateChange(msgspec.Struct, frozen=True):
    """An integration is in another state than before; `previous` is None when none was announced before.

    `at` is the moment of the telling, in RFC 3339, UTC.
    """

    integration_id: str
    tenant_id: str
    name: str
    type: str
    state: State
    previous: State | None
    reason: str
    at: str
