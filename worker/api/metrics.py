"""Tells Prometheus how the fleet and each integration fare.

Comes in: Redis and the ledger. Goes out: text. Integrations are told by id, tenant and type, never by name
or address. What does not answer is told as such, and its figures are left out.
"""

import threading
import time
from collections.abc import Mapping, Sequence

from worker.api.clock_metrics import anonymous, tell_clocks
from worker.api.exposition import Exposition, labels
from worker.api.redis_metrics import tell_redis_config, tell_redis_losses
from worker.api.resources import Resources
from worker.broker.announcing import Announcements
from worker.broker.clocks import Refusals, skews
from worker.broker.conflicts import conflicts, told_by_kind
from worker.broker.ingress import counters
from worker.broker.vital_signs import FleetSigns, VitalSigns
from worker.ledger.health_queries import subjects
from worker.ledger.parked import Parked, ParkedStore
from worker.ledger.totals import Settled, Totals
from worker.model.errors import BrokerUnavailable, LedgerUnavailable, SchemaOutdated
from worker.model.wellbeing import Subject, Vitals
from worker.redis_report import RedisReport

#: Whoever asks more often is told the same again, in seconds.
FRESH = 1.0


class Metrics:
    """The figures of one process; may be shared between threads."""

    def __init__(self, resources: Resources) -> None:
        """Ask what the doors share; totals begin with the first scrape."""
        self._resources = resources
        self._signs = VitalSigns(resources.client)
        self._redis = RedisReport(resources.engine, resources.client, resources.config)
        self._totals = Totals(resources.engine)
        self._lock = threading.Lock()
        self._told = ""
        self._told_at = -FRESH

    def scrape(self) -> str:
        """Return the figures, at most a second old."""
        with self._lock:
            if time.monotonic() - self._told_at >= FRESH:
                self._told = self._tell()
                self._told_at = time.monotonic()
            return self._told

    def _tell(self) -> str:
        told = Exposition()
        known = self._subjects()
        signs = self._fleet_signs()
        told.gauge("siem_database_up", "Whether the ledger answers.", [("", int(known is not None))])
        told.gauge("siem_redis_up", "Whether Redis answers.", [("", int(signs is not None))])
        if signs is not None:
            _tell_fleet(told, signs)
            try:
                tell_redis_config(told, self._redis.checks())
                self._tell_conflicts(told)
                self._tell_clocks(told)
                tell_redis_losses(told, self._redis.losses() if known is not None else None)
                self._tell_redis(told, known or [])
            except (BrokerUnavailable, LedgerUnavailable):
                # The next scrape says so; this one tells what it has.
                return told.text()
        return told.text()

    def _tell_redis(self, told: Exposition, known: Sequence[Subject]) -> None:
        for name, count in counters(self._resources.client).items():
            told.counter(f"siem_events_{name}_total", _COUNTED[name], [("", count)])
        if not known:
            return
        recorded_until_ms = self._signs.recorded_until_ms()
        vitals = self._signs.of([one.id for one in known])
        now_ms = self._signs.now_ms()
        states = {one: change.state for one, change in Announcements(self._resources.client).known().items()}
        totals = self._totals.look([one.id for one in known], recorded_until_ms)
        parked = ParkedStore(self._resources.engine).counts()
        marks = {one.id: labels(integration=one.id, tenant=one.tenant_id, type=one.type) for one in known}
        _tell_vitals(told, marks, vitals, now_ms)
        _tell_parked(told, marks, parked)
        _tell_totals(told, marks, totals)
        told.gauge(
            "siem_integration_state",
            "1 for the state that was told last of an integration.",
            [
                (f'{mark[:-1]},state="{states[one].value}"}}', 1)
                for one, mark in marks.items()
                if one in states
            ],
        )

    def _tell_clocks(self, told: Exposition) -> None:
        found = skews(self._resources.client)
        if not self._resources.config.metrics_token.get_secret_value():
            # Whoever reaches the API may read this: names of hosts are nobody's business.
            found = {anonymous(name): skew for name, skew in found.items()}
        tell_clocks(told, found, Refusals(self._resources.client).all())

    def _tell_conflicts(self, told: Exposition) -> None:
        counts = told_by_kind(conflicts(self._resources.client))
        told.gauge(
            "siem_integration_conflicts",
            "Integrations on which Redis and the ledger disagree; anything but 0 is not ok.",
            [(labels(kind=kind.value), count) for kind, count in counts.items()],
        )

    def _subjects(self) -> list[Subject] | None:
        try:
            return subjects(self._resources.engine)
        except (LedgerUnavailable, SchemaOutdated):
            return None

    def _fleet_signs(self) -> FleetSigns | None:
        try:
            return self._signs.of_fleet()
        except BrokerUnavailable:
            return None


_COUNTED = {
    "published": "Events that were routed, since the beginning.",
    "unwanted": "Events that no integration subscribed to, since the beginning.",
    "invalid": "Entries that were no valid event, since the beginning.",
    "unreadable": "Events whose bytes were damaged in Redis, since the beginning; each is a dead letter.",
}


def _tell_fleet(told: Exposition, signs: FleetSigns) -> None:
    waiting = (("ingress", "to be routed", signs.to_route), ("recorder", "to be recorded", signs.to_record))
    for name, purpose, found in waiting:
        told.gauge(f"siem_{name}_entries", f"Entries that wait {purpose}.", [("", found.entries)])
        seconds = found.seconds(signs.now_ms)
        told.gauge(f"siem_{name}_oldest_seconds", f"How long the oldest waits {purpose}.", [("", seconds)])
    told.gauge(
        "siem_unrecordable_entries",
        "Entries that could not be recorded; anything but 0 is not ok.",
        [("", signs.unrecordable)],
    )
    alive = [(labels(role=role), count) for role, count in sorted(signs.processes.items())]
    told.gauge("siem_processes", "Living processes of each role.", alive)
    queues = [(labels(queue=queue), length) for queue, length in signs.queues.items()]
    told.gauge("siem_queue_orders", "Work orders that wait in each queue of Celery.", queues)


def _tell_vitals(
    told: Exposition, marks: Mapping[str, str], vitals: Mapping[str, Vitals], now_ms: int
) -> None:
    told.gauge(
        "siem_integration_backlog_events",
        "Events in Redis that are not settled yet.",
        [(mark, vitals[one].backlog_events) for one, mark in marks.items()],
    )
    told.gauge(
        "siem_integration_oldest_event_seconds",
        "How long the oldest of them has waited; 0 without any.",
        [(mark, _waited(vitals[one].waiting_since_ms, now_ms)) for one, mark in marks.items()],
    )
    told.gauge(
        "siem_integration_breaker_open",
        "Whether nothing is sent but a probe.",
        [(mark, int(vitals[one].breaker is not None)) for one, mark in marks.items()],
    )


def _tell_parked(told: Exposition, marks: Mapping[str, str], parked: Mapping[str, Parked]) -> None:
    samples = [(mark, parked[one].events if one in parked else 0) for one, mark in marks.items()]
    told.gauge("siem_integration_parked_events", "Events that rest in the ledger for want of room.", samples)


def _tell_totals(told: Exposition, marks: Mapping[str, str], totals: Mapping[str, Settled]) -> None:
    for name, meaning in (
        ("delivered", "Events that were delivered, since the first scrape of this process."),
        ("retried", "Events that are to be tried again, each time, since that scrape."),
        ("dead", "Events that became dead letters, since that scrape."),
    ):
        samples = [(mark, getattr(totals[one], name)) for one, mark in marks.items()]
        told.counter(f"siem_integration_{name}_total", meaning, samples)


def _waited(since_ms: int | None, now_ms: int) -> float:
    return 0 if since_ms is None else max(0, now_ms - since_ms) / 1000
