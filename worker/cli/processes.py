"""`siem route` and `siem record`: the processes of a fleet that run until SIGTERM."""

import gc
import logging
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

import click

from worker import __version__
from worker.allocator import keep_freed_memory
from worker.background import cleanup, health_monitor, loss_monitor, replayer, retention
from worker.background.audit_publisher import publisher_of
from worker.background.cleanup import Cleanup
from worker.background.health import HealthService
from worker.background.health_monitor import HealthMonitor, StateDebouncer, webhook
from worker.background.loss_monitor import LossWatch
from worker.background.pruning_guard import PruningGuard, read_clocks
from worker.background.redis_monitor import RedisWatch, refuse_unfit
from worker.background.replayer import Replayer
from worker.background.retention import Retention
from worker.background.schema_compatibility import schema_facts
from worker.background.secret_binding import seal_binding
from worker.background.unparker import unparker_of
from worker.broker import keys
from worker.broker.backlog import Backlog, Timing
from worker.broker.connection import redis_client
from worker.broker.deletions import DeletedKeys
from worker.broker.formats import Format, KnownFormats
from worker.broker.health_events import HealthEvents
from worker.broker.heartbeat import Heartbeat
from worker.broker.identity import process_identity
from worker.broker.ingress import Ingress
from worker.broker.ingress_ahead import IngressAhead
from worker.broker.locks import LeaderLock, LedgerClaim
from worker.broker.notices import PruningRefusals, RecorderStall
from worker.broker.outcomes import Outcomes, oldest_ms
from worker.broker.parking import BacklogBudget, Parking
from worker.broker.redis_server import RedisMarks
from worker.broker.replaying import Replaying
from worker.broker.snapshot import Snapshot
from worker.broker.sweep import Housekeeping
from worker.cli.stores import configuration, open_standing_ledger, reconciliation
from worker.ledger.engine import Ledger, check_ledger_writes, ledger_id
from worker.ledger.integrations import IntegrationStore
from worker.ledger.migrations.runner import require_readable_schema
from worker.ledger.parked import ParkedStore
from worker.ledger.pruning import oldest_due, prunable_shares, prune_rows
from worker.ledger.recording import probe
from worker.ledger.recording import record_entries as record_in
from worker.ledger.redis_losses import LossStore
from worker.ledger.redis_marks import MarkStore
from worker.ledger.replay_pages import ReplayStore
from worker.model.availability import Dependencies
from worker.model.errors import LedgerUnavailable, SchemaBehind
from worker.model.log_events import PROCESS_STARTED, PROCESS_STOPPED
from worker.model.orders import Issue
from worker.pipeline.recorder import Recorder
from worker.pipeline.router import Router
from worker.pipeline.sweeper import Sweeper
from worker.probes.process import ProcessProbe
from worker.probes.server import probes
from worker.settings import Settings
from worker.tracing import ROUTER, close_tracing, open_tracing
from worker.vault.vault import open_vault
from worker.views.audit import stream_document

log = logging.getLogger(__name__)


@click.command()
def route() -> None:
    """Route events from `siem:events` to the backlogs, and sweep up after dead processes.

    Run as many as you like. Ends cleanly on SIGTERM.
    """
    config = configuration()
    from worker.celery import issue_order  # noqa: PLC0415 - needs the address of Redis, which --help does not

    # A read makes thousands of short-lived objects and no cycles: looking for some costs a sixth of the time.
    gc.set_threshold(100_000, 50, 100)
    backlog = Backlog(redis_client(config.broker_address()), Timing.of(config))
    client = redis_client(config.broker_address())
    ingress = Ingress(client, str(process_identity()), config.claim_idle)
    tracing = open_tracing(ROUTER, enabled=config.tracing)
    router = Router(ingress, backlog, Snapshot(client), issue_order, IngressAhead(client), tracing)
    with (
        _process("router", config) as (stopping, dependencies, process),
        _beside([_sweeper(config, issue_order)], stopping, dependencies),
    ):
        dependencies.loops.watch("sweeper")
        process.works()
        router.run(stopping, dependencies)


@click.command()
def record() -> None:
    """Record outcomes and dead letters in the ledger. Ends cleanly on SIGTERM.

    Beside it, replay dead letters as asked (and those of an outage that is over), bring back what was parked
    when a backlog has room again, prune what is old, remove from Redis what was deleted, and publish
    changes of health.
    While Redis or the database is away it waits; what is to be recorded rests in Redis meanwhile.
    """
    config = configuration()
    engine = open_standing_ledger()
    try:
        with _process("recorder", config, schema_facts()) as (stopping, dependencies, process):
            own_id = _await_ledger(engine, stopping, dependencies)
            if own_id is None:
                return
            claim = LedgerClaim(redis_client(config.broker_address()), own_id)
            with _beside_recorder(config, claim, stopping, dependencies):
                process.works()
                _recorder(config, engine, claim).run(stopping, dependencies)
    finally:
        engine.dispose()


def _recorder(config: Settings, engine: Ledger, claim: LedgerClaim) -> Recorder:
    known = KnownFormats(redis_client(config.broker_address()))
    return Recorder(
        Outcomes(redis_client(config.broker_address()), str(process_identity()), config.claim_idle, claim),
        # By the batch once all processes can read that.
        lambda *entries: record_in(engine, *entries, batches=known.has(Format.BATCHES)),
        partial(probe, engine),
        reconciliation(
            redis_client(config.broker_address()), IntegrationStore(engine, open_vault(config))
        ).look,
        config.recorder_linger,
        RecorderStall(redis_client(config.broker_address())),
        partial(check_ledger_writes, engine),
    )


@contextmanager
def _beside_recorder(
    config: Settings, claim: LedgerClaim, stopping: threading.Event, dependencies: Dependencies
) -> Iterator[None]:
    """Do what a recorder does beside recording, on connections of its own."""
    engine = open_standing_ledger()
    try:
        steps: list[_Step] = [
            _replayer(config, engine, claim),
            unparker_of(config, engine, redis_client(config.broker_address()), claim),
            _retention(config, engine, claim),
            _health_watch(config, engine, claim),
            _loss_watch(config, engine, claim),
            _cleanup(config, engine, claim),
            seal_binding(engine, open_vault(config), redis_client(config.broker_address())),
            publisher_of(config, engine, redis_client(config.broker_address()), claim, stream_document),
        ]
        with _beside(steps, stopping, dependencies):
            yield
    finally:
        engine.dispose()


class _Step(Protocol):
    def run(self, stopping: threading.Event, dependencies: Dependencies) -> None: ...


@contextmanager
def _beside(steps: Sequence[_Step], stopping: threading.Event, dependencies: Dependencies) -> Iterator[None]:
    """Take these steps in threads of their own; all end when the process does."""
    threads = [
        threading.Thread(target=step.run, args=[stopping, dependencies], name=type(step).__name__)
        for step in steps
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopping.set()
        for thread in threads:
            thread.join()


def _replayer(config: Settings, engine: Ledger, claim: LedgerClaim) -> Replayer:
    client = redis_client(config.broker_address())
    return Replayer(
        ReplayStore(engine),
        Replaying(client),
        Snapshot(client),
        LeaderLock(client, keys.REPLAYER_LOCK, replayer.TURN, claim),
    )


def _retention(config: Settings, engine: Ledger, claim: LedgerClaim) -> Retention:
    client = redis_client(config.broker_address())
    turn = LeaderLock(client, keys.RETENTION_LOCK, retention.TURN, claim)
    guard = PruningGuard(
        partial(read_clocks, engine, client),
        partial(oldest_due, engine),
        partial(prunable_shares, engine),
        PruningRefusals(client),
    )
    prune = partial(prune_rows, engine, spare_ms=retention.spare_ms_of(config))
    return Retention(prune, partial(oldest_ms, client), guard, turn, retention.kept_days_of(config))


def _health_watch(config: Settings, engine: Ledger, claim: LedgerClaim) -> HealthMonitor:
    client = redis_client(config.broker_address())
    seconds = health_monitor.TURN_INTERVALS * config.health_interval
    # Latencies are of no consequence for a state.
    return HealthMonitor(
        partial(HealthService(engine, client, config).all, None, with_latencies=False),
        HealthEvents(client),
        LeaderLock(client, keys.HEALTH_LOCK, seconds, claim),
        StateDebouncer(config.health_steady),
        webhook(config),
        interval=config.health_interval,
    )


def _loss_watch(config: Settings, engine: Ledger, claim: LedgerClaim) -> LossWatch:
    client = redis_client(config.broker_address())
    turn = LeaderLock(client, keys.MARKER_LOCK, loss_monitor.TURN, claim, when_full=True)
    return LossWatch(RedisMarks(client), MarkStore(engine), LossStore(engine), turn)


def _cleanup(config: Settings, engine: Ledger, claim: LedgerClaim) -> Cleanup:
    client = redis_client(config.broker_address())
    return Cleanup(
        DeletedKeys(client),
        Snapshot(client),
        IntegrationStore(engine, open_vault(config)).states,
        ParkedStore(engine).counts,
        LeaderLock(client, keys.CLEANUP_LOCK, cleanup.TURN, claim),
    )


def _sweeper(config: Settings, issue: Issue) -> Sweeper:
    client = redis_client(config.broker_address())
    backlog, parking = Backlog(client, Timing.of(config)), Parking(client, config.cap)
    budget = BacklogBudget(client, parking, config.waiting_bytes)
    house = Snapshot(client), Housekeeping(client)
    return Sweeper(backlog, parking, budget, *house, issue, config.sweep_interval)


def _await_ledger(engine: Ledger, stopping: threading.Event, dependencies: Dependencies) -> str | None:
    """Wait for the database; return the ledger's id, or None if stopped before.

    Waits for `siem db upgrade`, too: outcomes rest in Redis, or an older recorder records them. Raises
    SchemaOutdated if no upgrade makes its tables ones that this release can work with.
    """
    me = object()
    while not stopping.is_set():
        dependencies.loops.turned("recorder")
        try:
            require_readable_schema(engine)
            own_id = ledger_id(engine)
        except (LedgerUnavailable, SchemaBehind) as error:
            stopping.wait(dependencies.database.lost(me, error))
        else:
            dependencies.database.back(me)
            return own_id
    return None


@contextmanager
def _process(
    role: str, config: Settings, facts: Mapping[str, Any] | None = None
) -> Iterator[tuple[threading.Event, Dependencies, ProcessProbe]]:
    """Give heartbeats, answer probes, and watch how Redis is configured, until a signal asks for an end.

    Raises InvalidSetting if no process can work with this Redis.
    """
    client = redis_client(config.broker_address())
    refuse_unfit(client, config.redis_accept)
    keep_freed_memory()
    stopping, dependencies = threading.Event(), Dependencies(logging.getLogger(f"worker.{role}"))
    dependencies.loops.watch(role)
    process = ProcessProbe(dependencies, dependencies.absence)

    def stop(*_: object) -> None:
        process.ends()
        stopping.set()

    watch = RedisWatch(client, config.redis_accept, stop, plan=config.memory_plan)
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    sign = Heartbeat(client, role, facts=facts)
    with probes(process, config.probe_host, config.probe_port):
        sign.start()
        PROCESS_STARTED.log(log, role=role, release=__version__)
        try:
            with _beside([watch], stopping, dependencies):
                yield stopping, dependencies, process
        finally:
            # A main thread that fails must take its other threads along: half a process is worse than none.
            stopping.set()
            sign.stop()
            close_tracing()
    PROCESS_STOPPED.log(log, role=role)
