"""The demo from curtain to curtain: start, publish, watch every event arrive, show the account."""

import ipaddress
import json
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from worker.broker.connection import connect
from worker.demo.cast import TENANT, Role, cast, commands, forget_ports, integrate, listening, remove
from worker.demo.samples import sample_lines
from worker.ledger.engine import open_ledger
from worker.ledger.integrations import IntegrationStore
from worker.ledger.queries import Tally, latencies, tallies
from worker.ledger.vault import open_vault
from worker.model.errors import SiemError, UnavailableError
from worker.model.events import decode_event
from worker.model.integrations import Integration
from worker.publisher import EventPublisher
from worker.settings import Settings
from worker.up import Stack, StackHandle

#: How many events a second are published, so that latencies are those of a busy day, not of a flood.
RATE = 4_000
#: How long the receivers have to listen, and events to arrive once they are published, in seconds.
LISTEN_SECONDS = 30.0
ARRIVE_SECONDS = 120.0
#: How often the account is looked at, in seconds.
LOOK_EVERY = 0.1

_LOOPBACK = ipaddress.ip_network("127.0.0.0/8")


@dataclass(frozen=True, slots=True)
class Line:
    """What the ledger says of one integration, beside what was published for it."""

    integration: str
    published: int
    delivered: int
    retried: int
    dead: int
    events_per_second: int
    p50_ms: int | None
    p99_ms: int | None

    @property
    def missing(self) -> int:
        """How many events are neither delivered nor dead."""
        return self.published - self.delivered - self.dead


def run_demo(settings: Settings, *, events: int, leave: bool, as_json: bool) -> int:
    """Run the demo and return the exit status: 0 if every published event is delivered or dead.

    With `leave` it ends by itself; else the stack stays up until Ctrl-C.
    """
    settings = settings.model_copy(
        update={"allowed_networks": (*settings.allowed_networks, _LOOPBACK), "log_level": "WARNING"}
    )
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    play = _Play(cast(), settings.data_dir.absolute(), events=events, leave=leave, as_json=as_json)
    try:
        status = Stack(settings, extra=play.commands(), quiet=True).run(play.perform)
    finally:
        if play.integrated:
            _strike(settings)
    if not leave:
        click.echo("Everything has ended.", err=True)
    return status or play.status


class _Play:
    """One performance."""

    def __init__(
        self, roles: Sequence[Role], directory: Path, *, events: int, leave: bool, as_json: bool
    ) -> None:
        self.status = 1
        self.integrated = False
        self._roles = roles
        self._directory = directory
        self._events = events
        self._leave = leave
        self._as_json = as_json

    def commands(self) -> dict[str, str]:
        forget_ports(self._roles, self._directory)
        return commands(self._roles, self._directory)

    def perform(self, handle: StackHandle) -> bool:
        """Publish and account beside the running stack; true ends it."""
        self._wait_for_receivers(handle)
        with _stage(handle.settings) as (store, client):
            self.integrated = True
            integrations = integrate(self._roles, self._directory, store, client, handle.settings.slots)
            account = _Account(store, integrations)
            with _progress() as progress:
                bars = _Bars(progress, account, self._events)
                self._publish(handle, account, bars)
                self._watch(handle, account, bars)
            self._show(account)
        if not self._leave and not handle.stopping.is_set():
            click.echo("The stack stays up; Ctrl-C ends it.", err=True)
        return self._leave

    def _wait_for_receivers(self, handle: StackHandle) -> None:
        deadline = time.monotonic() + LISTEN_SECONDS
        while not listening(self._roles, self._directory):
            if time.monotonic() > deadline:
                raise UnavailableError(f"the demo's receivers do not listen: see {self._directory / 'logs'}")
            handle.stopping.wait(0.05)

    def _publish(self, handle: StackHandle, account: "_Account", bars: "_Bars") -> None:
        account.begin()
        with EventPublisher(handle.settings.broker_address()) as publisher:
            for batch in _paced(sample_lines(self._events, run=secrets.token_hex(4), tenant_id=TENANT)):
                for receipt in publisher.publish_many(batch):
                    if receipt.error is not None:
                        raise SiemError(f"an event could not be published: {receipt.error}")
                account.note_published(batch)
                bars.draw_now_and_then()
                if handle.stopping.is_set():
                    return

    def _watch(self, handle: StackHandle, account: "_Account", bars: "_Bars") -> None:
        """Look at the ledger until every event is accounted for, or patience ends."""
        deadline = time.monotonic() + ARRIVE_SECONDS
        while not handle.stopping.is_set() and time.monotonic() < deadline:
            complete = account.complete()
            bars.draw()
            if complete:
                return
            handle.stopping.wait(LOOK_EVERY)

    def _show(self, account: "_Account") -> None:
        lines = account.lines()
        self.status = 0 if account.complete() else 1
        _print_table(lines, _console(stderr=self._as_json))
        missing = sum(line.missing for line in lines)
        verdict = "every event is accounted for" if not missing else f"{missing} events are NOT accounted for"
        click.echo(f"{account.summary()}.\n{verdict.capitalize()}.", err=self._as_json)
        if self._as_json:
            click.echo(json.dumps(_report(self._events, lines, account)))


class _Account:
    """What was published for whom, and what the ledger says has become of it."""

    def __init__(self, store: IntegrationStore, integrations: Sequence[Integration]) -> None:
        self._engine = store.engine
        self._integrations = integrations
        self._published: Counter[str] = Counter()
        self._started = self._ended = 0.0
        self.total_published = 0

    def begin(self) -> None:
        self._started = self._ended = time.monotonic()

    def note_published(self, lines: Sequence[bytes]) -> None:
        types = Counter(decode_event(line).type for line in lines)
        self.total_published += len(lines)
        for integration in self._integrations:
            self._published[integration.id] += sum(types[wanted.value] for wanted in integration.event_types)

    def names(self) -> list[str]:
        return [one.name for one in self._integrations]

    def lines(self) -> list[Line]:
        ids = [one.id for one in self._integrations]
        found = tallies(self._engine, integration_ids=ids)
        self._ended = time.monotonic() if not self._settled else self._ended
        return [self._line(one, found.get(one.id, Tally())) for one in self._integrations]

    _settled = False

    def complete(self) -> bool:
        self._settled = self._settled or not any(line.missing for line in self.lines())
        return self._settled

    @property
    def seconds(self) -> float:
        return self._ended - self._started

    def summary(self) -> str:
        deliveries = sum(line.delivered for line in self.lines())
        return (
            f"{self.total_published} events published, {deliveries} deliveries in {self.seconds:.1f} s "
            f"({deliveries / self.seconds:.0f} a second)"
        )

    def _line(self, integration: Integration, tally: Tally) -> Line:
        percentiles = latencies(self._engine, integration.id)
        return Line(
            integration.name,
            self._published[integration.id],
            tally.delivered,
            tally.retried,
            tally.dead,
            round(tally.delivered / self.seconds) if self.seconds else 0,
            percentiles.p50 if percentiles else None,
            percentiles.p99 if percentiles else None,
        )


class _Bars:
    """One bar for what is published, and one for what has arrived at each integration."""

    def __init__(self, progress: Progress, account: _Account, events: int) -> None:
        self._progress = progress
        self._account = account
        self._published = progress.add_task("published", total=events)
        self._arrived = {name: progress.add_task(name, total=None) for name in account.names()}
        self._drawn = 0.0

    def draw(self) -> None:
        self._progress.update(self._published, completed=self._account.total_published)
        for line in self._account.lines():
            done = line.delivered + line.dead
            self._progress.update(self._arrived[line.integration], completed=done, total=line.published)

    def draw_now_and_then(self) -> None:
        """Draw, but leave most of the time to what is shown."""
        if time.monotonic() - self._drawn > LOOK_EVERY * 2:
            self.draw()
            self._drawn = time.monotonic()


def _paced(lines: Iterator[bytes]) -> Iterator[list[bytes]]:
    """Yield small batches at the rate of the demo."""
    size = RATE // 50
    started, sent = time.monotonic(), 0
    while batch := [line for _, line in zip(range(size), lines, strict=False)]:
        yield batch
        sent += len(batch)
        time.sleep(max(0.0, started + sent / RATE - time.monotonic()))


def _strike(settings: Settings) -> None:
    """Take the demo's integrations away; its deliveries and dead letters stay, to be looked at."""
    engine = open_ledger(settings.ledger_address())
    try:
        remove(IntegrationStore(engine, open_vault(settings)))
    finally:
        engine.dispose()


@contextmanager
def _stage(settings: Settings) -> Iterator[tuple[IntegrationStore, Any]]:
    engine = open_ledger(settings.ledger_address())
    try:
        with closing(connect(settings.broker_address())) as client:
            yield IntegrationStore(engine, open_vault(settings)), client
    finally:
        engine.dispose()


def _progress() -> Progress:
    columns = (TextColumn("{task.description:>14}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=not console.is_terminal)


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr)
    # A pipe has no width of its own, and a table cut to 80 columns says nothing.
    return console if console.is_terminal else Console(stderr=stderr, width=110)


def _print_table(lines: Sequence[Line], console: Console) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("integration", no_wrap=True)
    for column in ("published", "delivered", "retried", "dead", "ev/s", "p50 ms", "p99 ms"):
        table.add_column(column, justify="right", no_wrap=True)
    for line in lines:
        name, *figures = asdict(line).values()
        # Without the "demo " that all of them share, the table fits into 80 columns.
        cells = [name.removeprefix("demo "), *("" if figure is None else str(figure) for figure in figures)]
        table.add_row(*cells)
    console.print(table)


def _report(published: int, lines: Sequence[Line], account: _Account) -> dict[str, Any]:
    return {
        "published": published,
        "accounted_for": account.complete(),
        "seconds": round(account.seconds, 2),
        "integrations": [asdict(line) for line in lines],
    }
