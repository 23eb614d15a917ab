"""How long the server takes for each page and list, in milliseconds, while the ledger is full.

Makes integrations of all three types, a day of minutes for each, and deliveries of which a few in a thousand
are dead; then asks for every page a number of times, over HTTP on loopback. Prints JSON: median and slowest.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text

from tests.benchmarks.measuring import end_on_sigterm, hardware
from tests.fleet import Fleet
from tests.pages.conftest import HOME, OURS, running
from worker.integrations.integration import parse_integration
from worker.ledger.recording import record_entries
from worker.model.api_keys import Role
from worker.model.deliveries import EventTrace, Failure, Outcome, Status
from worker.model.failures import FailureCode

_MINUTE_MS = 60_000
_URLS = {
    "splunk_hec": "https://splunk.example.com:8088/services/collector/event",
    "syslog_cef": "syslog://siem.example.com:514",
    "webhook": "https://hook.example.com/in",
}
_STEP = 500_000
#: Events of a batch, and batches of a transaction.
_BATCH, _BATCHES = 500, 200
_REFUSED = Failure(FailureCode.EVENT_REFUSED, "HTTP 400", "see what it says", 400)
#: Rows without a round trip each: the numbers are made by SQLite itself.
_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT :first UNION ALL SELECT i + 1 FROM n WHERE i < :last)"
_MINUTES = """
INSERT OR REPLACE INTO minute_counts
SELECT 'int_' || (i % :integrations), :now - (i / :integrations) * 60000, 60, 1, 0, 60 * 25, 300 FROM n"""


def main() -> None:
    """Fill, ask, and print one JSON object."""
    end_on_sigterm()
    given = _arguments()
    with tempfile.TemporaryDirectory(prefix="siem-pages-") as name, Fleet(Path(name)) as fleet:
        began = time.monotonic()
        _fill(fleet, given.integrations, given.rows)
        filled = time.monotonic() - began
        with running(fleet) as site:
            times = _ask(site.url, site.keys[OURS, Role.ADMIN], given.rounds)
    result = {"hardware": hardware(), "integrations": given.integrations, "deliveries": given.rows}
    json.dump(result | {"seconds_to_fill": round(filled), "milliseconds": times}, sys.stdout, indent=2)
    sys.stdout.write("\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--integrations", type=int, default=1000, help="how many (default 1000)")
    parser.add_argument("--rows", type=int, default=10_000_000, help="deliveries (default 10000000)")
    parser.add_argument("--rounds", type=int, default=15, help="how often each is asked for (default 15)")
    return parser.parse_args()


def _fill(fleet: Fleet, integrations: int, rows: int) -> None:
    for number in range(integrations):
        kind = [*_URLS][number % len(_URLS)]
        destination = {"type": kind, "url": _URLS[kind]} | ({"token": "t"} if kind == "splunk_hec" else {})
        document = {"id": f"int_{number}", "tenant_id": OURS, "name": f"siem {number:04}"}
        fleet.store.create(parse_integration({**document, "destination": destination}))
    fleet.announce()
    now = time.time_ns() // 1_000_000 // _MINUTE_MS * _MINUTE_MS
    shared = {"integrations": integrations, "now": now, "rows": rows}
    _record(fleet, integrations, rows, now)
    _insert(fleet, _NUMBERS + _MINUTES, integrations * 24 * 60, shared)


def _record(fleet: Fleet, integrations: int, rows: int, now: int) -> None:
    """Write deliveries as a recorder does: batches, each with one that is dead and has a row of its own."""
    numbers = range(-(-rows // _BATCH))
    for first in range(0, len(numbers), _BATCHES):
        entries = [
            _entry(one, f"int_{one % integrations}", now - (rows - one * _BATCH) // 100)
            for one in numbers[first : first + _BATCHES]
        ]
        record_entries(fleet.engine, entries, [])


def _entry(number: int, integration_id: str, at_ms: int) -> tuple[str, list[Outcome]]:
    dead, *traces = [
        EventTrace(event_id(number * _BATCH + place), "policy.deny", at_ms - 20, at_ms - 20, 1)
        for place in range(_BATCH)
    ]
    outcomes = [
        Outcome(integration_id, Status.DEAD, at_ms, _REFUSED, None, [dead], 400),
        Outcome(integration_id, Status.DELIVERED, at_ms, None, None, traces, 200),
    ]
    return f"{at_ms}-{number}", outcomes


def event_id(number: int) -> str:
    """Return the id of one of the events."""
    return f"evt_{number * 2_654_435_761 % (1 << 32):016x}"


def _insert(fleet: Fleet, statement: str, rows: int, shared: dict[str, Any]) -> None:
    for first in range(0, rows, _STEP):
        with fleet.engine.begin() as connection:
            bounds = {"first": first, "last": min(first + _STEP, rows) - 1}
            wanted = {**shared, **bounds}
            connection.execute(
                text(statement), {name: wanted[name] for name in wanted if f":{name}" in statement}
            )


def _ask(url: str, key: str, rounds: int) -> dict[str, dict[str, float]]:
    with httpx.Client(base_url=url, trust_env=False, timeout=120) as browser:
        browser.post("/sign-in", data={"key": key})
        api = {"Authorization": f"Bearer {key}"}
        asked: dict[str, tuple[str, dict[str, str]]] = {
            "list": (HOME, {}),
            "list, filtered": (HOME + "?q=siem+09", {}),
            "one integration": (HOME + "/int_7", {}),
            "form": (HOME + "/int_7/edit", {}),
            "dead letters": (HOME + "/dead-letters", {}),
            "event by id": (HOME + f"/events?id={event_id(1001)}", {}),
            "API: integrations": ("/api/v1/integrations/siem?limit=100", api),
            "API: deliveries of one": ("/api/v1/integrations/siem/int_7/deliveries?status=dead", api),
            "API: health of one": ("/api/v1/integrations/siem/int_7/health", api),
            "metrics": ("/metrics", {}),
        }
        return {name: _timed(browser, *one, rounds) for name, one in asked.items()}


def _timed(browser: httpx.Client, path: str, headers: dict[str, str], rounds: int) -> dict[str, float]:
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        answer = browser.get(path, headers=headers)
        times.append((time.perf_counter() - began) * 1000)
        if answer.status_code != httpx.codes.OK:
            return {"status": answer.status_code}
    return {"median": round(statistics.median(times), 1), "slowest": round(max(times), 1)}


if __name__ == "__main__":
    main()
