"""What a full batch costs at each stage: commands of Redis, bytes to and from it, statements of SQL.

Counted, not timed: a change that makes one more round trip a batch shows here on any machine. The stages run
one after the other in this process, by the product's own parts, and each finds its work waiting.
"""

import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from sqlalchemy import event

from tests.fleet import Fleet
from tests.receivers.hec import HecReceiver
from worker.broker import connection, keys
from worker.broker.backlog import Backlog, Timing
from worker.broker.connection import redis_client
from worker.broker.formats import READABLE
from worker.broker.ingress import Ingress
from worker.broker.ingress_ahead import IngressAhead
from worker.broker.outcomes import Outcomes
from worker.broker.snapshot import Snapshot
from worker.destinations.registry import sender_opener
from worker.ledger.recording import probe, record_entries
from worker.model.events import EventType
from worker.model.orders import WorkOrder
from worker.pipeline.delivery import DeliveryWorker, Timeouts
from worker.pipeline.recorder import Recorder
from worker.pipeline.router import Router
from worker.samples import sample_lines
from worker.settings import Settings
from worker.vault.documents import open_document
from worker.vault.vault import open_vault

#: Events of a batch, and so many batches are counted.
_BATCH, _BATCHES = 500, 20


@dataclass(frozen=True, slots=True)
class Cost:
    """What a batch of 500 events costs: commands, those of scripts too; thousands of bytes; statements."""

    commands: float
    kilobytes_in: float
    kilobytes_out: float
    statements: float = 0.0


#: No stage may cost more; who makes one cheaper lowers its figures. A batch has 360 kB of events.
MOST = {
    # An entry and its events in one transaction, for each lane of a thousand events; its id is the answer.
    "publish": Cost(7, 400, 1),
    # Reading, handing over and waking, for many frames at once. Only what is left of a
    # thousand passes, in small frames.
    "route": Cost(7, 16, 16),
    # Claim and settle, with what their scripts do; the events come once, past these, and their outcomes go.
    "deliver": Cost(90, 55, 400),
    # Up to 64 batches are read, recorded and finished at once, by a dozen statements.
    "record": Cost(1.5, 1, 54, 0.6),
}


class Stages:
    """The parts of a fleet with one integration, each called until its work is done."""

    def __init__(self, fleet: Fleet) -> None:
        """Make them for this fleet, none of whose processes run."""
        config, self._client = fleet.settings, fleet.client
        self._fleet = fleet
        self._orders: list[WorkOrder] = []
        backlog = Backlog(self._client, Timing.of(config))
        self._router = self._make_router(backlog)
        self._worker = self._make_worker(backlog, config)
        outcomes = Outcomes(self._client, "recorder", config.claim_idle)
        write = partial(record_entries, fleet.engine)
        self._recorder = Recorder(outcomes, write, partial(probe, fleet.engine), lambda: True, 0.0)

    def _make_router(self, backlog: Backlog) -> Router:
        self._ingress, ahead = Ingress(self._client, "router", 30), IngressAhead(self._client)
        return Router(self._ingress, backlog, Snapshot(self._client), self._issue, ahead)

    def _make_worker(self, backlog: Backlog, config: Settings) -> DeliveryWorker:
        vault = open_vault(config)
        opener = sender_opener(
            lambda document: open_document(document, vault), config.allowed_networks, connections=8
        )
        return DeliveryWorker(backlog, opener, self._issue, "splunk_hec", Timeouts(45, 60, 2))

    def _issue(self, order: WorkOrder, _kind: str) -> None:
        self._orders.append(order)

    def publish(self, events: int, run: str) -> None:
        """Publish so many events."""
        lines = sample_lines(events, run=run)
        assert all(one.error is None for one in self._fleet.publisher.publish_many(lines))

    def route(self) -> None:
        """Route what was published, as a router that finds much: it does not take it for a trickle."""
        self._ingress.read_again()
        while self._client.xlen(keys.EVENTS):
            self._router.step()

    def deliver(self) -> None:
        """Carry out all orders, and those that follow from them."""
        while self._orders:
            self._worker.deliver(self._orders.pop())

    def record(self) -> None:
        """Record what has become of them."""
        while self._client.xlen(keys.OUTCOMES):
            self._recorder.step(threading.Event())

    def close(self) -> None:
        """Let go of the destination."""
        self._worker.close()


class Counter:
    """Counts what a server of Redis and an engine of SQL are asked."""

    def __init__(self, client: redis.Redis, engine: Any) -> None:
        """Begin to count."""
        self._client = client
        self._statements = 0
        event.listen(engine, "before_cursor_execute", self._note)

    def _note(self, *_: object) -> None:
        self._statements += 1

    def cost_of(self, stage: Callable[[], None]) -> Cost:
        """Return what a stage costs for each batch; the counting itself costs 2 commands in all."""
        before = self._counts()
        stage()
        pairs = zip(self._counts(), before, strict=True)
        return Cost(*(round((now - then) / _BATCHES, 1) for now, then in pairs))

    def _counts(self) -> tuple[float, ...]:
        stats, commands = self._client.info("stats"), self._client.info("commandstats")
        calls = sum(one["calls"] for one in commands.values())
        to, back = stats["total_net_input_bytes"], stats["total_net_output_bytes"]
        return calls, to / 1000, back / 1000, self._statements


@pytest.fixture
def stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Stages, Counter]]:
    """Give the parts over a Redis and a ledger of their own, warm: slots have grown, connections are open."""
    # On a busy machine a router reads less at once, and a task has time for fewer batches: not here.
    timeless = SimpleNamespace(**vars(time) | {"monotonic": lambda: 0.0})
    monkeypatch.setattr("worker.pipeline.router.time", timeless)
    monkeypatch.setattr("worker.pipeline.delivery.time", timeless)
    # Nor is a batch that it takes long for one of a slow destination, or an order lost that has not come yet.
    monkeypatch.setattr(connection, "script_text", _patient(connection.script_text))
    with HecReceiver() as receiver, Fleet(tmp_path, SIEM_CLAIM_IDLE="30") as fleet:
        fleet.integrate(receiver.url, event_types=[*EventType], timeout_seconds=20.0)
        # As a sweeper does once all processes are of this release; none runs here.
        fleet.client.set(keys.FORMATS, " ".join(READABLE))
        made = Stages(fleet)
        counter = redis_client(fleet.server.url)
        try:
            _run_all(made, 4 * _BATCH, "warm-up")
            yield made, Counter(counter, fleet.engine)
        finally:
            made.close()
            counter.close()


def _patient(whole: Callable[[str], str]) -> Callable[[str], str]:
    """Have scripts find nothing slow or lost for ten minutes."""
    return lambda name: re.sub(r"(?<=local )(SOON|ON_ITS_WAY)_MS = \d+", r"\1_MS = 600000", whole(name))


def _run_all(stages: Stages, events: int, run: str) -> None:
    stages.publish(events, run)
    stages.route()
    stages.deliver()
    stages.record()


def test_a_full_batch_costs_no_more_at_any_stage(stages: tuple[Stages, Counter]) -> None:
    """One command more for each event, or a payload that travels once more, is found before it is merged."""
    made, counter = stages
    events = _BATCH * _BATCHES
    found = {
        "publish": counter.cost_of(lambda: made.publish(events, "counted")),
        "route": counter.cost_of(made.route),
        "deliver": counter.cost_of(made.deliver),
        "record": counter.cost_of(made.record),
    }

    over = [f"{stage}: {cost}" for stage, cost in found.items() if _exceeds(cost, MOST[stage])]
    assert not over, "\n".join(over)


def _exceeds(cost: Cost, most: Cost) -> bool:
    return (
        cost.commands > most.commands
        or cost.kilobytes_in > most.kilobytes_in
        or cost.kilobytes_out > most.kilobytes_out
        or cost.statements > most.statements
    )
