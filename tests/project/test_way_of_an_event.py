"""How many modules a reader visits who follows one event to a webhook, from XADD to the row in the ledger."""

import json
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import redis
from cryptography.fernet import Fernet

import worker
from tests.broker.sending import TIMING
from tests.receivers.webhook import WebhookReceiver
from worker.broker import keys
from worker.broker.backlog import Backlog
from worker.broker.ingress import Ingress
from worker.broker.ingress_ahead import IngressAhead
from worker.broker.outcomes import Outcomes
from worker.broker.snapshot import Snapshot, publish_integrations
from worker.destinations.registry import sender_opener
from worker.integrations.integration import parse_integration
from worker.ledger.deliveries import find_deliveries
from worker.ledger.engine import open_ledger
from worker.ledger.integrations import IntegrationStore
from worker.ledger.migrations.runner import upgrade_tables
from worker.ledger.recording import probe, record_entries
from worker.model.orders import WorkOrder
from worker.pipeline.delivery import DeliveryWorker, Timeouts
from worker.pipeline.recorder import Recorder
from worker.pipeline.router import Router
from worker.vault.documents import open_document
from worker.vault.vault import Vault

_ROOT = Path(worker.__file__).parent


#: Modules from XADD to the row, over a connection that is there already: the router enters 23, the worker 35,
#: the recorder 16, some of them twice. At under 300 lines a file, fewer would each hold several subjects.
MOST_MODULES = 70
#: From claim to settle, a module is entered from no more functions than this.
MOST_VISITS = 2
#: But for what is used all along: the attempt and its plan, the names of keys, the connection.
OFTEN = {
    "model/batches.py": 8,
    "model/event_runs.py": 3,
    # A request of HTTP/1.1 is written, waited for and read by us; libcurl makes the connection alone.
    "transports/curl/http1.py": 7,
    "transports/curl/many.py": 3,
    "broker/keys.py": 4,
    "transports/resolver.py": 4,
    "destinations/batching.py": 3,
    "transports/dialer.py": 3,
    "transports/curl/flight.py": 3,
    "transports/curl/exchange.py": 3,
}


class Visits:
    """The modules that control enters, and from which functions of other modules."""

    def __init__(self) -> None:
        """Begin without any."""
        self._entered: set[tuple[CodeType | None, str]] = set()

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Follow this thread while the block runs."""
        sys.setprofile(self._note)
        try:
            yield
        finally:
            sys.setprofile(None)

    def counts(self) -> Counter[str]:
        """Return from how many functions each module was entered."""
        return Counter(module for _, module in self._entered)

    def _note(self, frame: FrameType, event: str, _argument: Any) -> None:
        if event != "call" or (module := _module_of(frame)) is None:
            return
        caller = frame.f_back
        while caller is not None and _module_of(caller) is None:
            caller = caller.f_back
        if caller is None or _module_of(caller) != module:
            self._entered.add((caller.f_code if caller else None, module))


def _module_of(frame: FrameType) -> str | None:
    path = Path(frame.f_code.co_filename)
    return str(path.relative_to(_ROOT)) if path.is_relative_to(_ROOT) else None


@contextmanager
def processes(client: redis.Redis, folder: Path, url: str) -> Iterator[Callable[[str], dict[str, Visits]]]:
    """Give what sends an event of this id to the URL, by a router, a worker and a recorder in this thread."""
    engine, vault = (
        open_ledger(f"sqlite:///{folder / 'ledger.sqlite3'}"),
        Vault([Fernet.generate_key().decode()]),
    )
    upgrade_tables(engine)
    store = IntegrationStore(engine, vault)
    hook = {"id": "int_a", "name": "Hook", "destination": {"type": "webhook", "url": url}}
    store.create(parse_integration(hook))
    publish_integrations(client, store.records(), slots=4)
    orders: list[WorkOrder] = []
    backlog = Backlog(client, TIMING)
    open_sender = sender_opener(
        lambda document: open_document(document, vault), [ip_network("127.0.0.0/8")], connections=2
    )
    router = Router(
        Ingress(client, "router", 30),
        backlog,
        Snapshot(client),
        lambda order, _: orders.append(order),
        IngressAhead(client),
    )
    delivery = DeliveryWorker(
        backlog, open_sender, lambda order, _: orders.append(order), "webhook", Timeouts(45, 60, 2)
    )
    recorder = Recorder(
        Outcomes(client, "recorder", 30),
        partial(record_entries, engine),
        partial(probe, engine),
        lambda: True,
        0,
    )

    def deliver(event_id: str) -> dict[str, Visits]:
        event = {"id": event_id, "type": "policy.deny", "timestamp": "2026-11-22T10:11:12Z"}
        client.xadd(keys.EVENTS, {"event": json.dumps(event)})
        visits = {"router": Visits(), "delivery": Visits(), "recorder": Visits()}
        while not orders:
            visits["router"] = Visits()
            with visits["router"].followed():
                router.step()
        with visits["delivery"].followed():
            delivery.deliver(orders.pop())
        while not find_deliveries(engine, event_id=event_id):
            visits["recorder"] = Visits()
            with visits["recorder"].followed():
                recorder.step(threading.Event())
        return visits

    try:
        yield deliver
    finally:
        delivery.close()
        engine.dispose()


def test_the_way_of_an_event_is_short(client: redis.Redis, tmp_path: Path) -> None:
    """So many modules and no more; between claim and settle, none is gone back to again and again."""
    with WebhookReceiver() as endpoint, processes(client, tmp_path, endpoint.url) as deliver:
        deliver("first")  # makes the sender and its connection
        visits = deliver("second")
        assert set(endpoint.ids) == {"first", "second"}

    modules = {module for one in visits.values() for module in one.counts()}
    assert len(modules) <= MOST_MODULES, sorted(modules)
    often = {
        module: count
        for module, count in visits["delivery"].counts().items()
        if count > OFTEN.get(module, MOST_VISITS)
    }
    assert often == {}
    assert visits["delivery"].counts()["pipeline/delivery.py"] == 1
    assert visits["delivery"].counts()["model/settlement.py"] == 1
    assert visits["delivery"].counts()["destinations/webhook/sender.py"] == 1
