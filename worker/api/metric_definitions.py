"""Every metric of `/metrics`: its name, what it means, what to do about its values, where it comes from.

Without more, a metric comes from Redis. Names, labels and units stay what they are: dashboards and alerts
rest on them. `worker.api.metric_registry` says when one has samples; `worker.api.metrics` finds its values.
"""

from worker.api.integration_metric_definitions import INTEGRATIONS
from worker.api.metric_registry import MetricRegistry
from worker.api.process_metric_definitions import PROCESS
from worker.broker.conflicts import ConflictKind
from worker.integrations import destination_types
from worker.ledger.pruning import PrunableKind
from worker.model.histograms import LATENCY_BUCKETS
from worker.model.replays import ReplayState
from worker.model.sources import Source

_DATABASE = (Source.DATABASE,)


def what_of(kind: PrunableKind) -> str:
    """Return what a kind of rows is called in a label."""
    return kind.name.lower()


METRICS = MetricRegistry()
_of_fleet = METRICS.of_fleet

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
REDIS_MEMORY = _of_fleet(
    "siem_redis_memory_bytes",
    "Bytes that Redis uses; left out where it does not say.",
    "Above 80 % of its limit: find out what waits, with `siem status`, or raise the limit.",
    sparse=True,
)
REDIS_MEMORY_LIMIT = _of_fleet(
    "siem_redis_memory_limit_bytes",
    "Bytes that Redis may use (`maxmemory`), 0 without a limit; left out where it does not say.",
    "0: set `maxmemory` below what the host can give.",
    sparse=True,
)
REDIS_EVICTED = _of_fleet(
    "siem_redis_evicted_keys_total",
    "Keys that Redis deleted for lack of memory since it was started; left out where it does not say.",
    "Not 0: accepted events may be gone. Set `maxmemory-policy noeviction`.",
    sparse=True,
)
REDIS_EPOCHS = _of_fleet(
    "siem_redis_epoch_changes_total",
    "How often Redis was found emptied, replaced or rolled back.",
    "Rising: see `siem redis losses` for what is missing.",
    _DATABASE,
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
RETENTION_OLDEST = _of_fleet(
    "siem_retention_oldest_seconds",
    "Age of the oldest row of each kind in the database; 0 without any. It may be a minute old.",
    "Well above `siem_retention_limit_seconds`: nothing is pruned. Check the recorders' log.",
    _DATABASE,
    label="what",
    values=map(what_of, PrunableKind),
)
RETENTION_LIMIT = _of_fleet(
    "siem_retention_limit_seconds",
    "For how long rows of each kind are kept, by the settings of the process that is scraped.",
    "Different between processes: give all of them the same SIEM_KEEP_ settings.",
    (),
    label="what",
    values=map(what_of, PrunableKind),
)
INGRESS_ENTRIES = _of_fleet(
    "siem_ingress_entries",
    "Entries that wait to be routed; each holds one event or several.",
    "Growing: routers are away or too slow. Start more routers, or find out who publishes so much.",
)
INGRESS_EVENTS = _of_fleet(
    "siem_ingress_events",
    "Events in the entries that wait to be routed; an estimate while more than 200 entries or 2 MiB wait.",
    "Growing: do as for `siem_ingress_entries`.",
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
DELIVERY_LATENCY = _of_fleet(
    "siem_delivery_latency_seconds",
    "Seconds from the publication of an event to its acceptance; late ones of replays of a person left out.",
    "Many above your objective: see which integration is late in `siem_integration_latency_seconds`.",
    _DATABASE,
    label="type",
    values=destination_types(),
    buckets=LATENCY_BUCKETS,
)
REPLAYS = _of_fleet(
    "siem_replays",
    "Replays by state, those that are kept.",
    "`running` not 0 for long: see `siem replays list`.",
    _DATABASE,
    label="state",
    values=ReplayState,
)
REPLAYED_EVENTS = _of_fleet(
    "siem_replayed_events_total",
    "Dead letters that replays have handed over to be sent again.",
    "Rising beside the dead: they die again. Correct the cause first.",
    _DATABASE,
)

METRICS.include(PROCESS)
METRICS.include(INTEGRATIONS)
