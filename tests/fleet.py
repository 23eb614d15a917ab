"""A whole fleet for one test: a real server, real processes, a real ledger, and short patience.

In comes a directory; out come the processes of the Procfile, started by its own lines, each of which can be
killed and started again, and short ways to publish, to wait, and to read what the ledger says.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any, Self

import redis

from tests.embedded_servers import VALKEY, RunningServer, start_server
from tests.ledger.letters import all_dead_letters
from tests.ledger.tables import lay_tables
from tests.procfile import WORKER, commands
from tests.warm_start import Process
from tests.warm_start import start as start_warm
from worker.broker import keys
from worker.broker.connection import redis_client
from worker.broker.heartbeat import roles_alive
from worker.broker.snapshot import publish_integrations
from worker.integrations import destination_types
from worker.integrations.integration import Integration, parse_integration
from worker.ledger.deliveries import find_deliveries
from worker.ledger.engine import open_ledger
from worker.ledger.integrations import IntegrationStore
from worker.ledger.results import DeadLetterRow, DeliveryRow
from worker.model.fleet_health import worker_role
from worker.model.limits import Quotas
from worker.publisher import EventPublisher
from worker.settings import Settings
from worker.vault.vault import open_vault

#: Far beyond what anything takes: what is only slow, on a busy machine, is no failure.
PATIENCE = 120.0
_BIN = Path(sys.executable).parent

#: Short waits, so that a test of what happens after them is short as well.
HASTY = {
    "SIEM_ALLOWED_NETWORKS": "127.0.0.0/8",
    "SIEM_RETRY_BACKOFF": "0.1",
    "SIEM_RETRY_GRACE": "1",
    "SIEM_SEND_DEADLINE": "3",
    "SIEM_LEASE": "4",
    "SIEM_ORDER_LEASE": "2",
    "SIEM_SWEEP_INTERVAL": "0.3",
    "SIEM_CLAIM_IDLE": "2",
    "SIEM_RECORDER_LINGER": "0.02",
    "SIEM_WORKER_THREADS": "8",
    "SIEM_BREAKER_FIRST_PROBE": "1",
    "SIEM_BREAKER_LONGEST_PROBE": "4",
    "SIEM_LOG_LEVEL": "INFO",
    "SIEM_API_PORT": "0",  # several fleets of one machine may each have an API
}

#: What a fleet consists of unless a test names its roles: one worker serves all types of destination.
ROLES = ("router", "recorder", WORKER)


def wait_until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Wait until the condition holds; return what it gave. Fails with `what` when time is up.

    Looks fifty times a second at first, ten times a second in the end: many looks at a ledger cost as much as
    what is waited for.
    """
    began = time.monotonic()
    while not (found := condition()):
        waited = time.monotonic() - began
        if waited > seconds:
            raise AssertionError(f"waited {seconds:.0f} s in vain: {what}")
        time.sleep(min(0.1, 0.02 + waited / 50))  # polls other processes, which cannot signal this one
    return found


#: What a test makes by itself is bounded by no quota.
AMPLE = Quotas(integrations=1_000_000)


class Fleet:
    """The processes, their server and their ledger."""

    def __init__(
        self,
        directory: Path,
        *,
        binary: Path = VALKEY,
        redis_url: str = "",
        database_url: str = "",
        **knobs: str,
    ) -> None:
        """Prepare; `start` starts the roles that are named. With `redis_url`, its own server idles."""
        self.directory = directory
        self.server: RunningServer = start_server(binary, directory / "server")
        given = {
            **HASTY,
            "SIEM_REDIS_URL": redis_url or self.server.url,
            "SIEM_DATA_DIR": str(directory),
            "SIEM_DATABASE_URL": database_url,
            **knobs,
        }
        self.environment = {**os.environ, **given}
        self.settings = _settings(given)
        self.client = redis_client(self.settings.broker_address())
        self.engine = open_ledger(self.settings.ledger_address())
        lay_tables(self.engine)
        self.store = IntegrationStore(self.engine, open_vault(self.settings), AMPLE)
        self.publisher = EventPublisher(self.settings.broker_address())
        self.processes: dict[str, Process] = {}
        #: What an operator might add to the Procfile's line of a worker: the last of two flags counts.
        self.worker_flags: tuple[str, ...] = ()
        #: The hard and the soft limit on open files of workers that are started from now on, by `ulimit -n`.
        self.worker_files: int | None = None

    def start(self, *roles: str) -> Self:
        """Start these roles, or all, and wait until each gives a sign of life."""
        for role in roles or ROLES:
            self.spawn(role)
        wanted = {name for role in roles or ROLES for name in _signs(_process(role))}
        wait_until(lambda: wanted <= roles_alive(self.client), f"{wanted} are alive")
        if "router" in wanted:
            wait_until(self._is_read, "a router reads what is published")
        return self

    def _is_read(self) -> bool:
        """Whether a router waits for events: what is published together from now on is read together."""
        try:
            return bool(self.client.xinfo_consumers(keys.EVENTS, keys.ROUTER_GROUP))
        except redis.ResponseError:
            return False  # nobody has read yet

    def spawn(self, role: str) -> None:
        """Start a process of the Procfile, or `worker`; a second router is named `router-2`."""
        with (self.directory / f"{role}.log").open("ab") as log, Path(os.devnull).open("rb") as nothing:
            command = self._command(_process(role))
            self.processes[role] = start_warm(command, self.environment, (nothing, log, log))

    def _command(self, role: str) -> list[str]:
        if not role.startswith(WORKER):
            return commands()[role]
        limited = ("bash", "-c", f'ulimit -n {self.worker_files}; exec "$@"', "limited")
        return [*(limited if self.worker_files else ()), *commands()[role], *self.worker_flags]

    def kill(self, role: str) -> None:
        """Kill a process and all its children with SIGKILL."""
        process = self.processes.pop(role)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def terminate(self, role: str) -> int:
        """Ask a process to end; return its exit status."""
        process = self.processes.pop(role)
        process.terminate()
        return process.wait(timeout=PATIENCE)

    def log(self, role: str) -> str:
        """Return what a process has printed so far."""
        return (self.directory / f"{role}.log").read_text()

    def integrate(self, url: str, name: str = "splunk", **changes: Any) -> Integration:
        """Create an integration (Splunk's, unless url or `type` say otherwise); tell the fleet of it."""
        own = {key: changes.pop(key) for key in tuple(changes) if key in Integration.model_fields}
        destination = {"type": _type_of(url), "url": url, "timeout_seconds": 1.0}
        if changes.get("type", destination["type"]) == "splunk_hec":
            destination["token"] = "secret-token"
        document = {"id": f"int_{name}", "name": name, "destination": destination | changes, **own}
        integration = parse_integration(document)
        self.store.create(integration)
        self.announce()
        return integration

    def announce(self) -> None:
        """Publish the ledger's integrations to Redis, as the command line does."""
        publish_integrations(self.client, self.store.records(), self.settings.slots)

    def publish(self, events: Iterable[dict[str, Any]]) -> list[str]:
        """Publish events; return their ids."""
        given = list(events)
        receipts = list(self.publisher.publish_many(given))
        assert [receipt.error for receipt in receipts] == [None] * len(given)
        return [event["id"] for event in given]

    def publish_at_once(self, events: Iterable[dict[str, Any]]) -> list[str]:
        """Publish events in one transaction, so that one read of the router sees all; return their ids."""
        given = list(events)
        pipeline = self.client.pipeline(transaction=True)
        for event in given:
            pipeline.xadd("siem:events", {"event": json.dumps(event)})
        pipeline.execute()
        return [event["id"] for event in given]

    def first_row(self, integration: str) -> DeliveryRow:
        """Wait for the first row of an integration; return the latest."""
        found: list[DeliveryRow] = wait_until(lambda: self.rows(integration), f"a row of {integration}")
        return found[0]

    def settled(
        self, count: int, integration: str = "int_splunk", seconds: float = PATIENCE
    ) -> list[DeliveryRow]:
        """Wait until that many events are delivered or dead in the ledger; return all rows."""
        wait_until(
            lambda: sum(row.status != "retrying" for row in self.rows(integration)) >= count,
            f"{count} events of {integration} are delivered or dead",
            seconds,
        )
        return self.rows(integration)

    def rows(self, integration: str = "int_splunk") -> list[DeliveryRow]:
        """Read the ledger's deliveries of an integration."""
        return list(find_deliveries(self.engine, integration_id=integration, limit=100_000))

    def requests(self, integration: str = "int_splunk") -> Counter[str]:
        """Count for each event the requests that have carried it, as the ledger tells.

        Where a busy machine is late with an answer it is more than one. What was sent beyond that is a fault.
        """
        return Counter({row.event_id: row.attempts for row in self.rows(integration)})

    def dead(self, integration: str | None = "int_splunk") -> list[DeadLetterRow]:
        """Read the ledger's dead letters of an integration."""
        return list(all_dead_letters(self.engine, integration_id=integration, limit=100_000))

    def inspect(self, what: str) -> dict[str, Any]:
        """Return what the workers answer to `celery inspect`, by their node names; at least one answers."""

        def answer() -> dict[str, Any]:
            done = self.celery("inspect", what, "--json")
            answered: dict[str, Any] = json.loads(done.stdout) if not done.returncode else {}
            return answered

        found: dict[str, Any] = wait_until(answer, f"a worker answers inspect {what}")
        return found

    def celery(self, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
        """Run `celery -A worker` with these arguments."""
        return self._run("celery", "-A", "worker", *arguments)

    def siem(self, *arguments: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        """Run the program `siem`."""
        return self._run("siem", *arguments, stdin=stdin)

    def _run(self, program: str, *arguments: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        with TemporaryFile() as typed, TemporaryFile() as out, TemporaryFile() as err:
            typed.write(stdin)
            typed.seek(0)
            command = [str(_BIN / program), *arguments]
            process = start_warm(command, self.environment, (typed, out, err))
            try:
                code = process.wait(120)
            finally:
                process.kill()
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(command, code, out.read(), err.read())

    def siem_json(self, *arguments: str, stdin: bytes = b"") -> Any:
        """Run the program `siem` and read the JSON that it prints."""
        done = self.siem(*arguments, "--json", stdin=stdin)
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)

    def status(self) -> Any:
        """Return the document of `siem status`, which exits with 1 where something is not well."""
        done = self.siem("status", "--json")
        assert done.returncode in {0, 1}, done.stderr.decode()
        return json.loads(done.stdout)

    def __enter__(self) -> Self:
        """End everything at the end of a `with`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill every process, then end the server: a test that asks for a graceful end does so itself."""
        for process in self.processes.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        for process in self.processes.values():
            process.wait()
        self.publisher.close()
        self.client.close()
        self.engine.dispose()
        self.server.stop()


def _process(role: str) -> str:
    """Return whose line of the Procfile starts this role: `router` for `router-2`."""
    return re.sub(r"-\d+$", "", role)


def _signs(process: str) -> tuple[str, ...]:
    """Return the signs of life that a process gives."""
    return tuple(map(worker_role, destination_types())) if process == WORKER else (process,)


def _type_of(url: str) -> str:
    return "syslog_cef" if url.startswith("syslog") else "splunk_hec"


def _settings(given: dict[str, str]) -> Settings:
    """Read settings from these variables alone."""
    before = dict(os.environ)
    os.environ.update(given)
    try:
        return Settings()
    finally:
        os.environ.clear()
        os.environ.update(before)
