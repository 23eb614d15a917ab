"""Every process of the API tells the same of every counter, and no restart sets one back."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.fleet import Fleet, wait_until
from tests.ledger.entries import outcome
from tests.ports import free_port
from tests.procfile import commands
from tests.warm_start import start as start_warm
from worker.broker import keys
from worker.broker.order_queues import REFUSED_MESSAGES
from worker.ledger.recording import record_entries
from worker.model.deliveries import Status
from worker.model.orders import MessageFault

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

#: More than the wrong keys of one address that are answered 401.
_WRONG_KEYS = 60
#: How the names of what never falls end.
_COUNTED = ("_total", "_count", "_sum", "_bucket")


@contextmanager
def api_of(fleet: Fleet) -> Iterator[str]:
    """Run one more process of the API, and give its address."""
    port = free_port()
    with (fleet.directory / f"api-{port}.log").open("ab") as log, Path(os.devnull).open("rb") as nothing:
        environment = {**fleet.environment, "SIEM_API_PORT": str(port)}
        process = start_warm(commands()["api"], environment, (nothing, log, log))
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: _answers(url), "the API answers", seconds=100)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=90)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def totals(url: str) -> dict[str, float]:
    """Scrape; return the counters by name and labels, but for those of one process."""
    lines = httpx.get(f"{url}/metrics", trust_env=False, timeout=90).text.splitlines()
    pairs = (line.rpartition(" ")[::2] for line in lines if not line.startswith("#"))
    return {
        name: float(value)
        for name, value in pairs
        if name.partition("{")[0].endswith(_COUNTED) and not name.startswith("siem_api_request")
    }


def equal_totals(first: str, second: str) -> dict[str, float]:
    """Return the counters once both processes tell the same: each remembers an answer for a second."""

    def same() -> dict[str, float]:
        found = totals(first)
        return found if found == totals(second) else {}

    agreed: dict[str, float] = wait_until(same, "both tell the same")
    return agreed


def settle(fleet: Fleet, number: int) -> None:
    """Record what became of four events, as a recorder does."""
    now_ms = time.time_ns() // 1_000_000
    settled = [
        outcome([f"a{number}", f"b{number}"], integration_id="int_splunk", settled_ms=now_ms),
        outcome([f"c{number}"], Status.RETRYING, integration_id="int_splunk", settled_ms=now_ms),
        outcome([f"d{number}"], Status.DEAD, integration_id="int_splunk", settled_ms=now_ms),
    ]
    record_entries(fleet.engine, [(f"{now_ms}-{number}", settled)], [])


def test_counters_agree_whichever_process_is_scraped(tmp_path: Path) -> None:
    """One began before, one after what is counted, and one was restarted; each refused some itself."""
    with Fleet(tmp_path) as fleet:
        fleet.integrate("https://splunk.example.com/services/collector/event")
        mark = '{integration="int_splunk",tenant="default",type="splunk_hec"}'
        with api_of(fleet) as first:
            totals(first)
            settle(fleet, 1)
            fleet.client.hset(keys.COUNTERS, "published", 7)
            REFUSED_MESSAGES.add(MessageFault.MALFORMED.value)
            REFUSED_MESSAGES.flush(fleet.client)
            with api_of(fleet) as second:
                for url in (first, second):
                    for _ in range(_WRONG_KEYS):
                        headers = {"Authorization": "Bearer siem_wrong"}
                        httpx.get(f"{url}/api/v1/integrations/siem", headers=headers, trust_env=False)
                refused = 'siem_api_refused_total{reason="wrong_keys"}'
                wait_until(lambda: totals(first)[refused] >= 2, "both have counted")
                settle(fleet, 2)
                wait_until(
                    lambda: totals(first)[f"siem_integration_delivered_total{mark}"] == 4, "it is told"
                )
                before = equal_totals(first, second)
            with api_of(fleet) as third:
                after = equal_totals(first, third)

    assert before[f"siem_integration_delivered_total{mark}"] == 4
    assert before[f"siem_integration_retried_total{mark}"] == 2
    assert before[f"siem_integration_dead_total{mark}"] == 2
    assert before["siem_events_published_total"] == 7
    assert before['siem_messages_refused_total{reason="malformed"}'] == 1
    assert before[refused] > 0
    assert after.keys() == before.keys()
    assert [name for name, value in after.items() if value < before[name]] == []
