"""The log of the API says that Redis or the database is back only when requests can use it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import Api, running
from tests.fleet import Fleet, wait_until
from tests.ledger.migrations.later_steps import CONTRACTS, EXPANDS, later_steps
from worker.api import outage_log
from worker.broker import keys
from worker.ledger.engine import ledger_id
from worker.ledger.migrations.revisions import own_steps
from worker.ledger.migrations.runner import downgrade_tables, upgrade_tables

EVENT = {"id": "evt_1", "type": "policy.deny", "timestamp": "2026-11-22T10:11:12.345Z"}


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """Give an API with a fleet of its own, of which nothing runs, that looks often at what is lost."""
    monkeypatch.setattr(outage_log, "LOOK_EVERY", 0.05)
    with Fleet(tmp_path / "fleet") as fleet, running(fleet) as served:
        yield served


@contextmanager
def another_ledgers_redis(api: Api, _folder: Path) -> Iterator[None]:
    """Let Redis belong to another ledger: it takes writes all the same."""
    api.fleet.client.set(keys.LEDGER, "another")
    yield
    api.fleet.client.set(keys.LEDGER, ledger_id(api.fleet.engine))


@contextmanager
def later_tables(api: Api, folder: Path) -> Iterator[None]:
    """Let the ledger have tables that this release cannot work with: they take writes all the same."""
    # Given, and not made those of this process: its API looks at the steps meanwhile, and would keep them.
    steps = later_steps(folder / "later", EXPANDS, CONTRACTS)
    upgrade_tables(api.fleet.engine, steps)
    yield
    downgrade_tables(api.fleet.engine, own_steps().head, steps)


def publishes(api: Api) -> Any:
    """Send an event."""
    return api.ask("POST", "/events", json=EVENT)


def lists(api: Api) -> Any:
    """List the integrations."""
    return api.ask("GET", "/integrations/siem")


@pytest.mark.parametrize(
    ("trouble", "ask", "name"),
    [(another_ledgers_redis, publishes, "Redis"), (later_tables, lists, "the database")],
    ids=["redis", "database"],
)
def test_what_takes_writes_and_is_of_no_use_is_lost(
    alone: Api,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    trouble: Callable[[Api, Path], Any],
    ask: Callable[[Api], Any],
    name: str,
) -> None:
    """Each request fails; the log does not say "lost" and "back" by turns."""
    before = ask(alone).status_code
    with trouble(alone, tmp_path):
        wait_until(lambda: ask(alone).status_code == 503, "it is noticed")
        looks = count_looks(alone)
        wait_until(lambda: looks() >= 3 or f"{name} is back" in caplog.text, "it has looked")
        during = ask(alone).status_code
        reported = caplog.text
    wait_until(lambda: f"{name} is back" in caplog.text, "it is back")

    assert (before < 300, during) == (True, 503)
    assert reported.count(f"lost {name}") == caplog.text.count(f"lost {name}") == 1
    assert f"{name} is back" not in reported
    wait_until(lambda: ask(alone).status_code < 300, "requests are answered again")


def count_looks(api: Api) -> Callable[[], int]:
    """Return what counts the looks at what is lost from now on."""
    log, counted = api.resources.outages, [0]

    def counting(look: Callable[[], object]) -> Callable[[], object]:
        def counted_look() -> object:
            counted[0] += 1
            return look()

        return counted_look

    log._looks = {which: counting(look) for which, look in log._looks.items()}  # noqa: SLF001 - nothing else tells of a look
    return lambda: counted[0]
