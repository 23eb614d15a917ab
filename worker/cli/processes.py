"""`siem up`, `siem route`, `siem record`: the long-running processes."""

import logging
import os
import platform
import signal
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

import click

from worker.broker.alive import SignOfLife
from worker.broker.backlog import Backlog, Timing
from worker.broker.connection import Client, connect
from worker.broker.housekeeping import Housekeeping
from worker.broker.ingress import Ingress
from worker.broker.outcomes import Outcomes
from worker.broker.snapshot import Snapshot
from worker.cli.stores import reconcile
from worker.demo.play import run_demo
from worker.ledger.engine import open_ledger, require_current
from worker.ledger.integrations import IntegrationStore
from worker.ledger.recording import record as record_in
from worker.ledger.vault import open_vault
from worker.model.orders import Issue
from worker.recorder import Recorder
from worker.router import Router
from worker.settings import Settings, settings
from worker.sweeper import Sweeper
from worker.up import run_up

log = logging.getLogger(__name__)


@click.command()
@click.option(
    "--demo", is_flag=True, help="Add receivers on loopback, publish sample events, show them arrive."
)
@click.option("--events", type=click.IntRange(1, 10_000_000), default=10_000, show_default=True)
@click.option("--exit", "leave", is_flag=True, help="With --demo: end once every event is accounted for.")
@click.option("--json", "as_json", is_flag=True, help="With --demo: print the account as JSON, last line.")
def up(*, demo: bool, events: int, leave: bool, as_json: bool) -> None:
    """Run everything on this machine: Redis, ledger, router, recorder, worker. Ctrl-C ends it.

    Without SIEM_REDIS_URL and SIEM_DATABASE_URL it brings its own server and SQLite, and keeps their data
    in SIEM_DATA_DIR. The demo exits with 1 if an event is not accounted for.
    """
    if (leave or as_json) and not demo:
        raise click.UsageError("--exit and --json go with --demo")
    if demo:
        sys.exit(run_demo(settings(), events=events, leave=leave, as_json=as_json))
    sys.exit(run_up(settings()))


@click.command()
def route() -> None:
    """Route events from `siem:events` to the backlogs, and sweep up after dead processes.

    Run as many as you like. Ends cleanly on SIGTERM.
    """
    from worker.celery import issue_order  # noqa: PLC0415 - needs the address of Redis, which --help does not

    config = settings()
    backlog = Backlog(connect(config.broker_address()), Timing.of(config))
    client = connect(config.broker_address())
    ingress = Ingress(client, _consumer(), config.claim_idle)
    router = Router(ingress, backlog, Snapshot(client), issue_order)
    with _process("router", client) as stopping:
        sweeper = threading.Thread(target=_sweeper(config, issue_order).run, args=[stopping], name="sweeper")
        sweeper.start()
        router.run(stopping)
        sweeper.join()


@click.command()
def record() -> None:
    """Record outcomes and dead letters in the ledger. Ends cleanly on SIGTERM."""
    config = settings()
    engine = open_ledger(config.ledger_address())
    require_current(engine)
    client = connect(config.broker_address())
    recorder = Recorder(
        Outcomes(client, _consumer(), config.claim_idle),
        partial(record_in, engine),
        partial(reconcile, IntegrationStore(engine, open_vault(config))),
        config.recorder_linger,
    )
    with _process("recorder", client) as stopping:
        recorder.run(stopping)
    engine.dispose()


def _sweeper(config: Settings, issue: Issue) -> Sweeper:
    client = connect(config.broker_address())
    return Sweeper(
        Backlog(client, Timing.of(config)),
        Snapshot(client),
        Housekeeping(client),
        issue,
        config.sweep_interval,
    )


@contextmanager
def _process(role: str, client: Client) -> Iterator[threading.Event]:
    """Give signs of life until SIGTERM or SIGINT asks for an end."""
    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    sign = SignOfLife(client, role)
    sign.start()
    log.info("%s started", role)
    yield stopping
    sign.stop()
    log.info("%s ended", role)


def _consumer() -> str:
    """Name a reader as no other process ever did."""
    return f"{platform.node()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
