"""What became of events, recorded as a recorder does: short to write."""

import itertools
from collections.abc import Iterator
from typing import Any

from tests.api.conftest import Api
from tests.ledger.entries import NOON, letter, outcome
from worker.ledger.recording import record_entries
from worker.model.deliveries import Status

#: Those of `tests.ledger.letters` begin with 1, and may stand in the same ledger.
_entries = itertools.count(10_000)


def settle(api: Api, home: str, status: Status, *events: str, at_ms: int = NOON) -> None:
    """Record what became of events."""
    entry = f"{at_ms}-{next(_entries)}"
    settled = outcome(events, status, integration_id=home, settled_ms=at_ms)
    record_entries(api.resources.engine, [(entry, [settled])], [])


def bury(api: Api, home: str, payloads: dict[str, bytes], at_ms: int = NOON, **more: Any) -> list[str]:
    """Record dead letters; return their ids, in the order of time."""
    entry = f"{at_ms}-{next(_entries)}"
    dead = letter(payloads, integration_id=home, dead_ms=at_ms, **more)
    record_entries(api.resources.engine, [], [(entry, dead)])
    return [f"{entry}-{place}" for place in range(len(payloads))]


def pages(api: Api, path: str, **query: Any) -> Iterator[Any]:
    """Yield each page of a list."""
    cursor: dict[str, str] = {}
    while True:
        page = api.get(path, params={**query, **cursor})
        yield page
        if page["next"] is None:
            return
        cursor = {"cursor": page["next"]}
