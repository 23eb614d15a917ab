"""What the API, pages, metrics, health and retention ask of a ledger, by name.

Input: a ledger that `ledger_filling` has filled. Output: functions, each of which asks one thing. Whoever
times them knows what no reader waits longer for.
"""

import time
from collections.abc import Callable
from functools import partial

from sqlalchemy import Engine

from tests.benchmarks.ledger_filling import INTEGRATIONS, MONTH_MS, event_of
from worker.ledger.counts import failures_of, latencies_by_type, totals_of
from worker.ledger.dead_letters import waiting_by_integration
from worker.ledger.deliveries import find_deliveries, tallies
from worker.ledger.health import latencies, records
from worker.ledger.parked import ParkedStore
from worker.ledger.pruning import PrunableKind, oldest_due, oldest_rows, prunable_shares
from worker.ledger.replays import replay_counts
from worker.ledger.tenants import last_event_ms
from worker.model.deliveries import Status
from worker.model.health import LATENCY_OF

_HOUR_MS = 3_600_000


def questions(engine: Engine) -> dict[str, Callable[[], object]]:
    """Return them by name."""
    now_ms = time.time_ns() // 1_000_000
    since, middle_ms = dict.fromkeys(INTEGRATIONS, now_ms - _HOUR_MS), now_ms - MONTH_MS // 2
    found = partial(find_deliveries, engine)
    found_page = found(integration_id=INTEGRATIONS[0], until_ms=middle_ms)
    return {
        "event": partial(found, event_id=event_of(3)),
        "event_unknown": partial(found, event_id="evt_unknown"),
        "latest": found,
        "latest_of_one": partial(found, integration_id=INTEGRATIONS[0]),
        "failed": partial(found, failed=True),
        "dead_of_one": partial(found, integration_id=INTEGRATIONS[0], status=Status.DEAD),
        "page_of_old": partial(found, integration_id=INTEGRATIONS[0], before=found_page[-1].place),
        "of_type": partial(found, event_type="policy.deny"),
        "of_unknown_type": partial(found, event_type="policy.none", since_ms=now_ms - _HOUR_MS),
        "tally_of_hour": partial(tallies, engine, since_ms=now_ms - _HOUR_MS),
        "health": partial(records, engine, since, recent_ms=now_ms - 60_000, sample=LATENCY_OF),
        "latencies": partial(latencies, engine, INTEGRATIONS, sample=LATENCY_OF),
        "totals": lambda: (failures_of(engine, INTEGRATIONS), totals_of(engine, INTEGRATIONS)),
        "metrics": lambda: (
            *(oldest_rows(engine), waiting_by_integration(engine), replay_counts(engine)),
            *(latencies_by_type(engine), ParkedStore(engine).counts()),
        ),
        "due": partial(oldest_due, engine, PrunableKind.DELIVERIES, middle_ms),
        "shares_due": partial(prunable_shares, engine, PrunableKind.DELIVERIES, middle_ms),
        "last_of_tenant": partial(last_event_ms, engine, INTEGRATIONS),
    }
