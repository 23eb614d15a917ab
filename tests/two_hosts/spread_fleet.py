"""A fleet on two hosts, its Redis, its PostgreSQL and its destinations on others, and the account of it all.

The control plane's host publishes. The destinations' books and the ledger are read past all cuts: over files
and a Unix socket of this machine.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from sqlalchemy import text

from tests.chaos.account import Account, account_for, all_ended, ledger_of
from tests.chaos.publishing import Publishers
from tests.embedded_servers import VALKEY, start_server
from tests.fleet import Fleet, wait_until
from tests.ledger.postgres import postgres_server
from tests.procfile import WORKER
from tests.two_hosts.network import ADDRESSES, Network
from worker.broker import keys
from worker.ledger.redis_losses import LossStore
from worker.ledger.redriving import MOST_DEATHS
from worker.model.deliveries import MAX_REQUESTS
from worker.model.events import EventType

#: The two that the fleet runs on, and where each of its processes is started twice.
HOSTS = ("left", "right")
REDIS, DATABASE, DESTINATIONS, CONTROL_PLANE = "redis", "database", "destinations", "control-plane"
ROLES = ("router", "recorder", WORKER, "api")
WITNESSES = {"hec": "splunk_hec", "cef": "syslog_cef", "hook": "webhook"}
_URLS = {
    "splunk_hec": "http://{}/services/collector/event",
    "syslog_cef": "syslog://{}",
    "webhook": "http://{}/hook",
}
#: True of an event whose destination could not be reached, or whose worker was taken for dead.
_REASONS = (
    "timed_out",
    "connect_failed",
    "connection_lost",
    "unconfirmed",
    "closed_unconfirmed",
    "worker_lost",
)
_RATE = 50
#: How long a fleet may take to notice, to recover and to settle on a busy machine, in seconds.
LONG = 180.0
_API_PORT = "8080"
_KNOBS: dict[str, Any] = {
    "SIEM_ALLOWED_NETWORKS": ADDRESSES,
    "SIEM_SEND_DEADLINE": "6",
    "SIEM_LEASE": "8",
    "SIEM_CLAIM_IDLE": "4",
    "SIEM_VISIBILITY_TIMEOUT": "60",
    "SIEM_BREAKER_LONGEST_PROBE": "3",
    "SIEM_API_PORT": _API_PORT,
}


class SpreadFleet:
    """Each process of the Procfile on each of the two hosts, and a control plane that publishes to them."""

    def __init__(self, network: Network, folder: Path) -> None:
        """Start the servers and the destinations; `start` starts the rest."""
        self.network = network
        self.cuts = 0
        self._folder = folder
        with ExitStack() as started:
            redis_url = self._start_redis(started)
            here, there = self._start_database(started)
            self.fleet = Fleet(folder, redis_url=redis_url, database_url=here, **_KNOBS)
            started.push(self.fleet)
            self.fleet.environment["SIEM_DATABASE_URL"] = there
            self._start_destinations(started)
            self.publishers = Publishers(redis_url, seed=1, rate=_RATE, count=10_000_000)
            self._ends = started.pop_all()

    def _start_redis(self, started: ExitStack) -> str:
        address = self.network.addresses[REDIS]
        with self.network.on(REDIS):
            options = ("--bind", f"{address} 127.0.0.1", "--protected-mode", "no")
            server = started.enter_context(start_server(VALKEY, self._folder / "redis", extra=options))
        return f"redis://{address}:{server.port}/0"

    def _start_database(self, started: ExitStack) -> tuple[str, str]:
        """Return its URL over a Unix socket, which no cut concerns, and the one over the network."""
        address = self.network.addresses[DATABASE]
        with self.network.on(DATABASE):
            settings = (f"listen_addresses={address}", "max_connections=200")
            server = started.enter_context(postgres_server(*settings, clients=ADDRESSES))
        url = started.enter_context(server.database("ledger"))
        return url, f"postgresql+psycopg://postgres@{address}/ledger"

    def _start_destinations(self, started: ExitStack) -> None:
        address, ports = self.network.addresses[DESTINATIONS], self._folder / "ports.json"
        wanted = [f"{name}={kind}:healthy" for name, kind in WITNESSES.items()]
        with self.network.on(DESTINATIONS):
            witnesses = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.witnesses", str(self._folder), "1", *wanted],
                env={**os.environ, "WITNESS_ADDRESS": address},
            )
        started.callback(witnesses.wait)
        started.callback(witnesses.terminate)
        wait_until(ports.exists, "the destinations listen")
        for name, port in json.loads(ports.read_text()).items():
            kind = WITNESSES[name]
            url = _URLS[kind].format(f"{address}:{port}")
            self.fleet.integrate(url, name, type=kind, event_types=[*EventType], timeout_seconds=2.0)

    def __enter__(self) -> Self:
        """Start every process on both hosts, and publish from now on."""
        for number, host in enumerate(HOSTS, 1):
            self.fleet.environment["SIEM_API_HOST"] = self.network.addresses[host]
            with self.network.on(host):
                for role in ROLES:
                    self.fleet.spawn(f"{role}-{number}")
        wait_until(self.is_ready_everywhere, "both hosts say that the fleet is ready", LONG)
        self.publishers.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything."""
        self.publishers.stop()
        self._ends.close()

    @contextmanager
    def cut(self, *pairs: tuple[str, str], one_way: bool = False) -> Iterator[None]:
        """Cut hosts off from each other until the block ends."""
        self.cuts += 1
        cutting = self.network.cut_one_way if one_way else self.network.cut
        with cutting(*pairs):
            yield

    def is_ready(self, host: str) -> bool:
        """Whether the API on this host says that the fleet is ready."""
        url = f"http://{self.network.addresses[host]}:{_API_PORT}/readyz"
        try:
            return httpx.get(url, trust_env=False, timeout=90).status_code == 200
        except httpx.HTTPError:
            return False

    def is_ready_everywhere(self) -> bool:
        """Whether the APIs of both hosts say so."""
        return all(map(self.is_ready, HOSTS))

    def hosts_alive(self) -> set[str]:
        """Return the hosts from which heartbeats reach Redis."""
        found: Iterable[bytes] = self.fleet.client.scan_iter(match=keys.ALIVE_PREFIX + "*", count=1000)
        return {key.decode().split(":")[3] for key in found}

    def received(self) -> int:
        """Count the events that have reached all destinations."""
        return min(len(_ids(self._folder / f"{name}.received")) for name in WITNESSES)

    def published(self) -> int:
        """Count the events that Redis has acknowledged."""
        return len(self.publishers.acknowledged)

    def recorded(self) -> int:
        """Count the deliveries in the ledger."""
        return self._count("SELECT count(*) FROM delivery_status")

    def retried(self) -> int:
        """Count those of more than one attempt."""
        return self._count("SELECT count(*) FROM delivery_status WHERE attempts > 1")

    def _count(self, query: str) -> int:
        with self.fleet.engine.connect() as connection:
            found: int = connection.execute(text(query)).scalar_one()
        return found

    def settle(self) -> None:
        """Publish no more, and wait until everything is delivered, or dead for good."""
        self.publishers.stop()
        ids, count = [f"int_{name}" for name in WITNESSES], self.published()
        wait_until(lambda: all_ended(self.fleet.engine, ids, count), f"{count} events have ended", LONG)

    def faults(self) -> dict[str, Any]:
        """Return what is wrong at each destination, and what Redis is said to have lost."""
        accounts = {name: self._account(name) for name in WITNESSES}
        found = {name: one.report() for name, one in accounts.items() if one.fault_counts}
        losses = LossStore(self.fleet.engine).list()
        return found | ({"losses": losses} if losses else {})

    def _account(self, name: str) -> Account:
        rows, dead = ledger_of(self.fleet.engine, f"int_{name}")
        is_cef = WITNESSES[name] == "syslog_cef"
        expected = self.publishers.as_cef if is_cef else self.publishers.acknowledged
        most = MAX_REQUESTS * (1 + MOST_DEATHS) + self.cuts
        return account_for(self._folder / f"{name}.received", expected, rows, dead, _REASONS, most)


def _ids(book: Path) -> set[bytes]:
    """Return the ids of the events that a destination has written down."""
    return {line.partition(b" ")[2] for line in book.read_bytes().splitlines()}
