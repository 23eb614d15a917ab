"""Every metric of `/metrics`: its name, what it means, what to do about its values, where it comes from.

Without more, a metric comes from Redis. Names, labels and units stay what they are: dashboards and alerts
rest on them. `worker.api.metric_registry` says when one has samples; `worker.api.metrics` finds its values.
"""

from worker.api.limits import RefusalReason
from worker.api.metric_registry import MetricRegistry
from worker.broker.conflicts import ConflictKind
from worker.broker.heartbeat import API, ROLES
from worker.integrations import destination_types
from worker.model.fleet_health import worker_role
from worker.model.health import ERROR_RATE, LATENCY, RETRY_RATE, State
from worker.model.orders import MessageFault
from worker.model.outages import Resource
from worker.model.sources import Source

_DATABASE = (Source.DATABASE,)
_BOTH = (Source.REDIS, Source.DATABASE)

METRICS = MetricRegistry()
_of_fleet, _of_integrations = METRICS.of_fleet, METRICS.of_integrations

REDIS_UP = _of_fleet(
    "siem_redis_up",
    "Whether Redis answers the process that is scraped.",
    "0: nothing is routed or delivered. Read the reason in the log, then restore Redis.",
    (),
)
DATABASE_UP = _of_fleet(
    "siem_database_up",
    "Whether the database answers the process that is scraped.",
    "0: deliveries go on, and their outcomes wait in Redis. Restore it before Redis is full.",
    (),
)
DATABASE_WRITABLE = _of_fleet(
    "siem_database_writable",
    "Whether recorders can write to the database, as far as one has reported.",
    "0: its disk is full, it is read-only, or a right is missing. Correct that; nothing is lost meanwhile.",
)
REDIS_LOSSES = _of_fleet(
    "siem_redis_losses",
    "Losses of data in Redis that are not acknowledged.",
    "Not 0: see `siem redis losses`, publish again what is missing, then run `siem redis acknowledge`.",
    _DATABASE,
)
REDIS_LOST_EVENTS = _of_fleet(
    "siem_redis_lost_events",
    "Deliveries and unrouted events that the losses of `siem_redis_losses` are known to have cost.",
    "Not 0: do as for `siem_redis_losses`.",
    _DATABASE,
)
REDIS_CONFIG_OK = _of_fleet(
    "siem_redis_config_ok",
    "Whether this check of Redis passes: no warning, no failure, and not unknown.",
    "0: run `siem redis check`, which says what to change.",
    label="check",
)
REDIS_CONFIG_UNKNOWN = _of_fleet(
    "siem_redis_config_unknown",
    "Whether Redis does not say what this check needs.",
    "1: allow CONFIG GET and INFO, or check it by hand.",
    label="check",
)
CLOCK_SKEW = _of_fleet(
    "siem_clock_skew_seconds",
    "Seconds by which the clock of a process is ahead of that of Redis; its host is named if a token is set.",
    "Above 5 or below -5: correct the clock of that host (NTP).",
    label="process",
)
RETENTION_REFUSED = _of_fleet(
    "siem_retention_refused",
    "Whether something is old enough to be pruned and is kept.",
    "1: see `siem health` for the reason, then `siem db prune --dry-run`, and `--confirm`.",
)
INGRESS_ENTRIES = _of_fleet(
    "siem_ingress_entries",
    "Entries that wait to be routed.",
    "Growing: routers are away or too slow. Start more routers, or find out who publishes so much.",
)
INGRESS_OLDEST = _of_fleet(
    "siem_ingress_oldest_seconds",
    "How long the oldest of the entries that wait to be routed has waited.",
    "Above SIEM_HEALTH_LAG: do as for `siem_ingress_entries`; `/readyz` is not ok.",
)
INGRESS_RENUMBERED = _of_fleet(
    "siem_ingress_renumbered_total",
    "How often the ids of the ingress, one of which lay in the future, were brought back to the clock.",
    "Rising: a publisher chooses ids. Find it, and have it publish by the HTTP API.",
)
RECORDER_ENTRIES = _of_fleet(
    "siem_recorder_entries",
    "Entries that wait to be recorded.",
    "Growing: recorders or the database are away or too slow. Start a recorder, and check the database.",
)
RECORDER_OLDEST = _of_fleet(
    "siem_recorder_oldest_seconds",
    "How long the oldest of the entries that wait to be recorded has waited.",
    "Above SIEM_HEALTH_LAG: figures of health are old. Do as for `siem_recorder_entries`.",
)
UNRECORDABLE = _of_fleet(
    "siem_unrecordable_entries",
    "Entries set aside because the database refused their values.",
    "Not 0: run `siem unrecordable list`, correct the cause, then retry them.",
)
CONFLICTS = _of_fleet(
    "siem_integration_conflicts",
    "Integrations on which Redis and the database disagree, as after a restore.",
    "Not 0: run `siem integrations orphans list`, and settle each.",
    label="kind",
    values=ConflictKind,
)
PROCESSES = _of_fleet(
    "siem_processes",
    "Living processes of each role; a killed one is missed within 3 s.",
    "0 of a role that you need: start one.",
    label="role",
    values=(*ROLES, API),
)
PROCESSES_SHORT = _of_fleet(
    "siem_processes_short",
    "Processes that are short of a resource, in each of their roles.",
    "Not 0: raise that limit (as LimitNOFILE=), or start further processes.",
    label="resource",
    values=Resource,
)
QUEUE_ORDERS = _of_fleet(
    "siem_queue_orders",
    "Work orders that wait in each queue of Celery.",
    "Growing: workers of this type are away or busy. Start more of them.",
    label="queue",
    values=destination_types(),
)
QUEUE_OLDEST = _of_fleet(
    "siem_queue_oldest_seconds",
    "How long the oldest work order has waited that no worker has taken, in each queue of Celery.",
    "Above SIEM_HEALTH_LAG: no worker of this type takes orders. Start or restart one.",
    label="queue",
    values=destination_types(),
)
NOT_CONSUMING = _of_fleet(
    "siem_workers_not_consuming",
    "Living workers that do not consume the queue of their role (`cancel_consumer`); they are not ready.",
    "Not 0: restart them, or have them consume it again with `celery control add_consumer`.",
    label="role",
    values=map(worker_role, destination_types()),
)
EVENTS = {
    "published": _of_fleet(
        "siem_events_published_total",
        "Events that were routed.",
        "Flat for long: check that publishers publish.",
    ),
    "unwanted": _of_fleet(
        "siem_events_unwanted_total",
        "Events that no integration subscribed to.",
        "Close to those published: check which types of event the integrations subscribe to.",
    ),
    "invalid": _of_fleet(
        "siem_events_invalid_total",
        "Entries that were no valid event.",
        "Rising: a publisher is wrong. See `siem dead-letters list`, and correct the publisher.",
    ),
    "unreadable": _of_fleet(
        "siem_events_unreadable_total",
        "Events whose bytes were damaged in Redis; each is a dead letter.",
        "Rising: check the disk and the memory of Redis.",
    ),
    "renumbered": INGRESS_RENUMBERED,
}
MESSAGES_REFUSED = _of_fleet(
    "siem_messages_refused_total",
    "Messages to workers that were dropped because they were no work orders.",
    "Rising: check who else may write to Redis.",
    label="reason",
    values=MessageFault,
)
API_REFUSED = _of_fleet(
    "siem_api_refused_total",
    "Requests and connections that the API refused because a client used more than its share.",
    "Rising: see the log of the API for the client. Start more processes of the API if it is all of them.",
    label="reason",
    values=RefusalReason,
)

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
