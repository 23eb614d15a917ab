"""Every metric of an integration; `worker.api.metric_definitions` explains and includes them."""

from worker.api.metric_registry import MetricRegistry
from worker.model.health import ERROR_RATE, LATENCY, RETRY_RATE, State
from worker.model.sources import Source

_DATABASE = (Source.DATABASE,)
_BOTH = (Source.REDIS, Source.DATABASE)

INTEGRATIONS = MetricRegistry()
_of_integrations = INTEGRATIONS.of_integrations

BACKLOG = _of_integrations(
    "backlog_events",
    "Events in Redis that are not settled.",
    "Growing: the destination is slower than its events. Check its breaker and latency with `siem doctor`.",
)
OLDEST = _of_integrations(
    "oldest_event_seconds",
    "How long the oldest of these events has waited; 0 without any.",
    "Above SIEM_HEALTH_OLDEST: deliveries are late. Do as for its backlog.",
)
PARKED = _of_integrations(
    "parked_events",
    "Events moved to the database because the backlog had no room, or the integration is paused.",
    "Not 0: they return by themselves. Check why the destination does not take them, or resume it.",
    _DATABASE,
)
BREAKER = _of_integrations(
    "breaker_open",
    "Whether its circuit breaker is open, so that only a probe is sent.",
    "1: run `siem doctor` with its name.",
)
STATE = _of_integrations(
    "state",
    "1 for the state that was reported last, 0 for the others.",
    "`failing` or `degraded` is 1: see `siem health` for the reason.",
    label="state",
    values=(state for state in State if state is not State.UNKNOWN),
)
TOTALS = {
    "delivered": _of_integrations(
        "delivered_total",
        "Events that were delivered.",
        "Flat while the backlog grows: run `siem doctor` with its name.",
        _DATABASE,
    ),
    "retried": _of_integrations(
        "retried_total",
        "Attempts that failed and are repeated; an event counts each time.",
        "Rising beside the delivered: the destination is unstable. See `siem deliveries --failed`.",
        _DATABASE,
    ),
    "dead": _of_integrations(
        "dead_total",
        "Events that became dead letters.",
        "Rising: see `siem dead-letters list`, correct the cause, then replay them.",
        _DATABASE,
    ),
}
ATTEMPTS = _of_integrations(
    "attempts_total",
    "Attempts to deliver an event, by what became of it and the code of the failure, `none` without one.",
    "`retried` or `dead` rising: the code says why; see `siem deliveries --failed`, and run `siem doctor`.",
    _DATABASE,
    label="status",
    values=("delivered", "retried", "dead"),
    others=("code",),
)
DEAD_LETTERS = _of_integrations(
    "dead_letters",
    "Dead letters that wait for a person, or for an outage to end. With a million it may be a minute old.",
    "Not 0: see `siem dead-letters list`, correct the cause, then replay or discard them.",
    _DATABASE,
)
CERTIFICATE_EXPIRY = _of_integrations(
    "certificate_expiry_timestamp_seconds",
    "When the certificate ends that its server showed last (Unix time, in seconds); left out before that.",
    "Less than `time()` plus two weeks: have the owner of the destination renew it.",
    sparse=True,
)
SLOTS = _of_integrations(
    "slots_leased",
    "Slots that are in use: a batch is ordered, is being sent, or waits for its retry.",
    "At its maximum while the backlog grows: the destination is slow. Give it more slots.",
)
ERRORS = _of_integrations(
    "error_ratio",
    f"Over SIEM_HEALTH_WINDOW: {ERROR_RATE}. With a thousand integrations it may be a minute old.",
    "From 0.05 on it is degraded, from 0.5 on failing: do as for its dead letters.",
    _BOTH,
    sparse=True,
)
RETRIES = _of_integrations(
    "retry_ratio",
    f"Over SIEM_HEALTH_WINDOW: {RETRY_RATE}. With a thousand integrations it may be a minute old.",
    "From 0.2 on it is degraded: do as for the attempts that are repeated.",
    _BOTH,
    sparse=True,
)
LATENCIES = _of_integrations(
    "latency_seconds",
    f"In seconds, {LATENCY}. With a thousand integrations it may be a minute old.",
    "High at 0.5: check the destination, or give it more slots. High at 0.99 only: check its retries.",
    _BOTH,
    label="quantile",
    sparse=True,
)
