"""Every figure of `/metrics`: its name, what it means, where it comes from, and when it is there.

A figure is there whenever all of its sources answer. One with a label has a sample for each of its `values`,
0 included: an alert on a figure that vanished would never fire. While Redis or the database is away, the
figures that come from it are left out, and `siem_redis_up` or `siem_database_up` is 0: these are always
there.

Writes figures as Prometheus reads them (text format 0.0.4).

Comes in: families of samples. Goes out: text, in which no label can break out of its quotes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from worker.api.limits import RefusalReason
from worker.broker.conflicts import ConflictKind
from worker.broker.heartbeat import API, ROLES
from worker.integrations import destination_types
from worker.model.fleet_health import worker_role
from worker.model.health import ERROR_RATE, LATENCY, RETRY_RATE, State
from worker.model.orders import MessageFault
from worker.model.outages import Resource
from worker.model.sources import Source

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_IN_LABEL = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_IN_HELP = str.maketrans({"\\": r"\\", "\n": r"\n"})


def labels(**values: str) -> str:
    """Write labels, in braces."""
    return "{" + ",".join(f'{name}="{value.translate(_IN_LABEL)}"' for name, value in values.items()) + "}"


class Exposition:
    """The text of one scrape, on its way."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._lines: list[str] = []

    def gauge(self, name: str, meaning: str, samples: Iterable[tuple[str, float]]) -> None:
        """Tell figures that go up and down: each with its labels, as `labels` writes them, or none."""
        self._family(name, "gauge", meaning, samples)

    def counter(self, name: str, meaning: str, samples: Iterable[tuple[str, float]]) -> None:
        """Tell figures that only grow; the name ends in `_total`."""
        self._family(name, "counter", meaning, samples)

    def text(self) -> str:
        """Return all that was told."""
        return "\n".join([*self._lines, ""])

    def _family(self, name: str, kind: str, meaning: str, samples: Iterable[tuple[str, float]]) -> None:
        self._lines += (f"# HELP {name} {meaning.translate(_IN_HELP)}", f"# TYPE {name} {kind}")
        self._lines += [f"{name}{labelled} {value}" for labelled, value in samples]


@dataclass(frozen=True, slots=True)
class Figure:
    """One family of samples. `values` are those of `label` that are always told."""

    name: str
    meaning: str
    sources: frozenset[Source]
    label: str = ""
    values: tuple[str, ...] = ()

    def tell(self, told: Exposition, found: float | Mapping[str, float]) -> None:
        """Tell one number, or a number for each value of the label."""
        if not isinstance(found, Mapping):
            self.render_samples(told, [("", found)])
            return
        values = dict.fromkeys([*self.values, *sorted(found)])
        self.render_samples(told, [(labels(**{self.label: value}), found.get(value, 0)) for value in values])

    def render_samples(self, told: Exposition, samples: Iterable[tuple[str, float]]) -> None:
        """Tell samples with their labels, as `labels` writes them."""
        family = told.counter if self.name.endswith("_total") else told.gauge
        family(self.name, self.meaning, samples)


_NOTHING: frozenset[Source] = frozenset()
_REDIS = frozenset({Source.REDIS})
_DATABASE = frozenset({Source.DATABASE})
_BOTH = _REDIS | _DATABASE
#: The states that an integration can be told to be in.
TOLD_STATES = tuple(state.value for state in State if state is not State.UNKNOWN)

REDIS_UP = Figure("siem_redis_up", "Whether Redis answers.", _NOTHING)
DATABASE_UP = Figure("siem_database_up", "Whether the ledger answers.", _NOTHING)
API_REFUSED = Figure(
    "siem_api_refused_total",
    "Requests and connections that were refused because somebody used more than a share.",
    _REDIS,
    "reason",
    tuple(one.value for one in RefusalReason),
)
DATABASE_WRITABLE = Figure(
    "siem_database_writable", "Whether a recorder can write to the ledger, as far as one has said.", _REDIS
)
INGRESS_ENTRIES = Figure("siem_ingress_entries", "Entries that wait to be routed.", _REDIS)
INGRESS_OLDEST = Figure("siem_ingress_oldest_seconds", "How long the oldest waits to be routed.", _REDIS)
RECORDER_ENTRIES = Figure("siem_recorder_entries", "Entries that wait to be recorded.", _REDIS)
RECORDER_OLDEST = Figure("siem_recorder_oldest_seconds", "How long the oldest waits to be recorded.", _REDIS)
UNRECORDABLE = Figure(
    "siem_unrecordable_entries", "Entries that could not be recorded; anything but 0 is not ok.", _REDIS
)
PROCESSES = Figure("siem_processes", "Living processes of each role.", _REDIS, "role", (*ROLES, API))
PROCESSES_SHORT = Figure(
    "siem_processes_short",
    "Processes that are short of a resource, in each of their roles; anything but 0 is not ok.",
    _REDIS,
    "resource",
    tuple(resource.value for resource in Resource),
)
QUEUE_ORDERS = Figure(
    "siem_queue_orders",
    "Work orders that wait in each queue of Celery.",
    _REDIS,
    "queue",
    destination_types(),
)
QUEUE_OLDEST = Figure(
    "siem_queue_oldest_seconds",
    "How long the work order has waited that no worker has taken, in each queue of Celery.",
    _REDIS,
    "queue",
    destination_types(),
)
NOT_CONSUMING = Figure(
    "siem_workers_not_consuming",
    "Living workers that do not consume the queue of their role.",
    _REDIS,
    "role",
    tuple(map(worker_role, destination_types())),
)
CONFLICTS = Figure(
    "siem_integration_conflicts",
    "Integrations on which Redis and the ledger disagree; anything but 0 is not ok.",
    _REDIS,
    "kind",
    tuple(kind.value for kind in ConflictKind),
)
REDIS_CONFIG_OK = Figure(
    "siem_redis_config_ok",
    "Whether this check of Redis is well: neither a warning nor a failure, nor unknown.",
    _REDIS,
    "check",
)
REDIS_CONFIG_UNKNOWN = Figure(
    "siem_redis_config_unknown", "Whether Redis does not tell what this check needs.", _REDIS, "check"
)
REDIS_LOSSES = Figure(
    "siem_redis_losses", "Losses of data in Redis that are not acknowledged yet.", _DATABASE
)
REDIS_LOST_EVENTS = Figure(
    "siem_redis_lost_events",
    "Deliveries and unrouted events that these are known to have cost.",
    _DATABASE,
)
CLOCK_SKEW = Figure(
    "siem_clock_skew_seconds",
    "By how much a process's clock is ahead of that of Redis.",
    _REDIS,
    "process",
)
RETENTION_REFUSED = Figure(
    "siem_retention_refused",
    "Whether something is old enough and not pruned: `siem health` says why.",
    _REDIS,
)
EVENTS = {
    "published": Figure(
        "siem_events_published_total", "Events that were routed, since the beginning.", _REDIS
    ),
    "unwanted": Figure(
        "siem_events_unwanted_total",
        "Events that no integration subscribed to, since the beginning.",
        _REDIS,
    ),
    "invalid": Figure(
        "siem_events_invalid_total", "Entries that were no valid event, since the beginning.", _REDIS
    ),
    "unreadable": Figure(
        "siem_events_unreadable_total",
        "Events whose bytes were damaged in Redis, since the beginning; each is a dead letter.",
        _REDIS,
    ),
    "renumbered": Figure(
        "siem_ingress_renumbered_total",
        "How often the ids of the ingress, of which somebody had chosen one, were brought back to the clock.",
        _REDIS,
    ),
}
MESSAGES_REFUSED = Figure(
    "siem_messages_refused_total",
    "Messages to workers that were dropped since the beginning: somebody else writes to Redis.",
    _REDIS,
    "reason",
    tuple(fault.value for fault in MessageFault),
)
#: Of each integration, with its id, tenant and type.
BACKLOG = Figure("siem_integration_backlog_events", "Events in Redis that are not settled yet.", _REDIS)
OLDEST = Figure(
    "siem_integration_oldest_event_seconds",
    "How long the oldest of them has waited; 0 without any.",
    _REDIS,
)
BREAKER = Figure("siem_integration_breaker_open", "Whether nothing is sent but a probe.", _REDIS)
STATE = Figure(
    "siem_integration_state",
    "1 for the state that was told last of an integration, 0 for the others.",
    _REDIS,
    "state",
    TOLD_STATES,
)
PARKED = Figure(
    "siem_integration_parked_events", "Events that rest in the ledger for want of room.", _DATABASE
)
TOTALS = {
    "delivered": Figure(
        "siem_integration_delivered_total",
        "Events that were delivered, since the beginning.",
        _DATABASE,
    ),
    "retried": Figure(
        "siem_integration_retried_total",
        "Events that are to be tried again, each time, since the beginning.",
        _DATABASE,
    ),
    "dead": Figure(
        "siem_integration_dead_total", "Events that became dead letters, since the beginning.", _DATABASE
    ),
}

#: Those that always have a sample while their sources answer: of the fleet, and of each integration.
OF_FLEET = (
    *(
        REDIS_UP,
        DATABASE_UP,
        API_REFUSED,
        DATABASE_WRITABLE,
        INGRESS_ENTRIES,
        INGRESS_OLDEST,
        RECORDER_ENTRIES,
    ),
    *(
        RECORDER_OLDEST,
        UNRECORDABLE,
        PROCESSES,
        PROCESSES_SHORT,
        QUEUE_ORDERS,
        QUEUE_OLDEST,
        NOT_CONSUMING,
        CONFLICTS,
        REDIS_CONFIG_OK,
    ),
    *(REDIS_CONFIG_UNKNOWN, REDIS_LOSSES, REDIS_LOST_EVENTS, RETENTION_REFUSED, *EVENTS.values()),
    MESSAGES_REFUSED,
)
OF_EACH = (BACKLOG, OLDEST, BREAKER, STATE, PARKED, *TOTALS.values())
#: Without a sample while there is nothing to reckon with: a share of nothing is no number.
ERRORS = Figure("siem_integration_error_ratio", f"Over SIEM_HEALTH_WINDOW: {ERROR_RATE}.", _BOTH)
RETRIES = Figure("siem_integration_retry_ratio", f"Over SIEM_HEALTH_WINDOW: {RETRY_RATE}.", _BOTH)
LATENCIES = Figure("siem_integration_latency_seconds", f"In seconds, {LATENCY}.", _BOTH, "quantile")
