"""What a row of the ledger, a waiting event and each process of a fleet take.

Events wait in Redis for one integration, then for ten; all are delivered to receivers on the same machine,
with the ledger in SQLite, then in PostgreSQL. Every process starts by the line of the Procfile, with as many
threads as by default, without TLS to Redis or the database. Prints JSON.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from secrets import token_hex
from typing import Any

from sqlalchemy import text

from tests.benchmarks.measuring import PATIENT, end_on_sigterm, hardware, recorded
from tests.demo.running import starter
from tests.fleet import Fleet, wait_until
from tests.ledger.postgres import postgres_server
from tests.procfile import commands
from worker.broker import keys
from worker.broker.formats import written_formats
from worker.integrations import destination_types
from worker.model.events import EventType
from worker.model.fleet_health import worker_role
from worker.samples import sample_lines

#: Type and address of each receiver of the demo.
_WAYS = {
    "splunk_receiver": ("splunk_hec", "http://127.0.0.1:{}/services/collector/event"),
    "syslog_receiver": ("syslog_cef", "syslog://127.0.0.1:{}"),
    "webhook_receiver": ("webhook", "http://127.0.0.1:{}/hook"),
}
_SQLITE = (
    "SELECT sum(pgsize) FROM dbstat WHERE name IN (SELECT name FROM sqlite_schema WHERE tbl_name = '{}')"
)
_POSTGRESQL = "SELECT pg_total_relation_size('{}')"
_TABLE = "deliveries"


class _ColdFleet(Fleet):
    """Processes that share no memory with another one, as those of the tests do."""

    def spawn(self, role: str) -> None:
        with (self.directory / f"{role}.log").open("ab") as log:
            self.processes[role] = subprocess.Popen(
                commands()[role],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def main() -> None:
    """Measure and print one JSON object."""
    end_on_sigterm()
    given = arguments()
    json.dump({"hardware": hardware(), **measure(given)}, sys.stdout, indent=2)
    sys.stdout.write("\n")


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000, help="to publish each time (default 20000)")
    parser.add_argument("--integrations", type=int, nargs="+", default=[1, 10], help="numbers to try (1 10)")
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"], help="to try (both)")
    return parser.parse_args(words)


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of every database and number of integrations."""
    found: dict[str, Any] = {"bytes_an_event": _bytes_an_event(given.events)}
    for database in given.databases:
        for count in given.integrations:
            with tempfile.TemporaryDirectory(prefix="siem-bench-") as name, ExitStack() as stack:
                url = ""
                if database == "postgresql":
                    url = stack.enter_context(stack.enter_context(postgres_server()).database("siem"))
                found[f"{database}, {count} integrations"] = _measure(Path(name), url, given.events, count)
    return found


def _bytes_an_event(events: int) -> int:
    return round(sum(map(len, sample_lines(events, run="sizes"))) / events)


def _measure(directory: Path, database_url: str, events: int, count: int) -> dict[str, Any]:
    with ExitStack() as stack:
        fleet = stack.enter_context(_ColdFleet(directory, database_url=database_url, **PATIENT))
        del fleet.environment["SIEM_WORKER_THREADS"]  # few, as tests have it
        _integrate(fleet, stack, count)
        fleet.start("router")
        wait_until(lambda: written_formats(fleet.client), "it is known what all processes read")
        waiting = _publish(fleet, events)
        fleet.start("recorder", "api", *map(worker_role, destination_types()))
        wait_until(lambda: recorded(fleet) >= events * count, f"{events * count} rows are written", 600)
        return {
            "redis_bytes_a_waiting_event": round(waiting / events),
            "ledger_bytes_a_row": round(_table_bytes(fleet) / (events * count)),
            "processes": {role: _process(process.pid) for role, process in fleet.processes.items()},
        }


def _integrate(fleet: Fleet, stack: ExitStack, count: int) -> None:
    """Create so many integrations, of each type in turn, with ids as long as those of the product."""
    receivers = {
        program: stack.enter_context(starter(program, fleet.directory / program)("--count-only"))
        for program in _WAYS
    }
    for number in range(count):
        program, (kind, address) = list(_WAYS.items())[number % len(_WAYS)]
        url = address.format(receivers[program].port)
        options: dict[str, Any] = {"type": kind, "event_types": [*EventType], "timeout_seconds": 20.0}
        fleet.integrate(url, f"number{number}", id=f"int_{token_hex(8)}", **options)


def _publish(fleet: Fleet, events: int) -> int:
    """Publish, and return by how much memory of Redis grew once all of it waits for its integrations."""
    before = _used(fleet)
    refused = [
        one.error for one in fleet.publisher.publish_many(sample_lines(events, run="sizes")) if one.error
    ]
    assert not refused, refused[0]
    wait_until(lambda: not fleet.client.xlen(keys.EVENTS), "all is routed", 600)
    return _used(fleet) - before


def _used(fleet: Fleet) -> int:
    used: int = fleet.client.info("memory")["used_memory"]
    return used


def _table_bytes(fleet: Fleet) -> int:
    """Return what the table takes with its indexes; in PostgreSQL without what nobody has vacuumed yet."""
    is_sqlite = fleet.engine.dialect.name == "sqlite"
    with fleet.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not is_sqlite:
            connection.execute(text(f"VACUUM FULL {_TABLE}"))
        found = connection.execute(text((_SQLITE if is_sqlite else _POSTGRESQL).format(_TABLE)))
        return int(found.scalar_one())


def _process(pid: int) -> dict[str, Any]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = {
        name: value.split()[0] for name, _, value in (line.partition(":") for line in lines) if value.split()
    }
    return {
        "rss_mb": round(int(status["VmRSS"]) * 1024 / 1e6),
        "rss_mb_at_most": round(int(status["VmHWM"]) * 1024 / 1e6),
        "threads": int(status["Threads"]),
        "descriptors": sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()),
    }


if __name__ == "__main__":
    main()
