"""The release before this one beside this one, in both orders, under traffic.

Nothing is lost, and some API always says that the fleet is ready. Processes of one release join one by one,
those of the other are killed one by one, so that each takes over what the other left in Redis: what waits to
be routed, backlogs, batches that were claimed, retries, outcomes, replays, parked events. Each
release sets up integrations and keys of a tenant whose events processes of both carry.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest
from sqlalchemy import Engine, text

from tests.chaos.leftovers import leftovers, sweep_chunks
from tests.fleet import Fleet, wait_until
from tests.ledger.tables import is_current
from tests.upgrades.mixed import KNOBS, LONG, ROLES, MixedFleet, Tenant
from tests.upgrades.releases import THIS, Release
from tests.upgrades.traffic import Readiness
from worker.broker import keys
from worker.broker.shared_chunks import ChunkFindings
from worker.ledger.migrations.runner import downgrade_tables, tables_of
from worker.ledger.redis_losses import LossStore
from worker.ledger.schema import metadata, schema_revisions

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture
def mixed(tmp_path: Path, database_url: str) -> Iterator[MixedFleet]:
    """Give a fleet without processes, on a server and a ledger of its own, with its tables."""
    with Fleet(tmp_path / "fleet", database_url=database_url, **KNOBS) as fleet:
        yield MixedFleet(fleet)


class Change:
    """A change from one release to another, with the traffic of a tenant of each."""

    def __init__(self, mixed: MixedFleet, first: Release, second: Release, folder: Path) -> None:
        """Prepare; `with` begins with every process of the first one."""
        self.mixed = mixed
        self.first = first
        self.second = second
        self.tenants: list[Tenant] = []
        self.readiness = Readiness(mixed.apis)
        self.wrong_counts = ChunkFindings()
        self._folder = folder
        self._ends = ExitStack()

    def __enter__(self) -> Self:
        """Start them, and watch readiness from then on."""
        for role in ROLES:
            self.mixed.join(self.first, role)
        self._ends.enter_context(self.readiness)
        return self

    def __exit__(self, *_: object) -> None:
        """End what still runs."""
        self._ends.close()

    def add_tenant(self, release: Release) -> None:
        """Have this release set up a tenant, whose events are published from now on."""
        folder = self._folder / release.name
        folder.mkdir()
        tenant = Tenant(self.mixed, release, f"of-{release.name}", folder)
        self._ends.callback(tenant.end)
        self._ends.enter_context(tenant.set_up())
        self.tenants.append(tenant)

    def replace_each(self) -> None:
        """Replace the processes one by one; what one release pauses meanwhile, the other one resumes."""
        for tenant in self.tenants:
            tenant.pause(self.first)
        for role in ROLES:
            self.mixed.join(self.second, role)
            self.mixed.leave(self.first, role)
        for tenant in self.tenants:
            tenant.resume(self.second)

    def settle(self) -> None:
        """Heal the destinations, publish no more, and wait until everything is delivered or dead."""
        for tenant in self.tenants:
            tenant.heal()
        for tenant in self.tenants:
            tenant.publishers.stop()
        for tenant in self.tenants:
            tenant.settle()
        self.readiness.stop()
        wait_until(lambda: not leftovers(self.mixed.fleet.client), "nothing is left in Redis", LONG)
        self.wrong_counts = sweep_chunks(self.mixed.fleet.client)

    def check(self) -> None:
        """Every event is where it should be, none is reported missing, and readiness was never all red."""
        accounts = [account for tenant in self.tenants for account in tenant.accounts().values()]
        faults = [account.report() for account in accounts if account.fault_counts]

        assert not faults, json.dumps(faults, indent=2)
        assert not self.wrong_counts
        assert all(account.received > 0 for account in accounts)
        assert LossStore(self.mixed.fleet.engine).list() == []
        assert self.readiness.red == []
        assert self.readiness.looks > 0
        assert [tenant.publishers.refusals for tenant in self.tenants] == [[], []]


def _add_a_column_everywhere(engine: Engine) -> None:
    """Do what later releases may: each table has a column that nobody here knows."""
    for table in metadata.tables.values():
        if table is not schema_revisions:
            with engine.begin() as connection:
                connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN of_a_later_release TEXT"))


def _only_loses_data(done: "subprocess.CompletedProcess[str]") -> bool:
    """Say whether that is all that is said against it, if anything is."""
    return not done.returncode or "this would lose data" in done.stderr


def test_an_upgrade_under_traffic(mixed: MixedFleet, previous: Release, tmp_path: Path) -> None:
    """The old fleet runs; the tables are upgraded beside it; new processes join, old ones go."""
    fleet = mixed.fleet
    downgrade_tables(fleet.engine, previous.revision)
    with Change(mixed, previous, THIS, tmp_path) as change:
        change.add_tenant(previous)
        upgraded = THIS.siem(fleet.environment, "db", "upgrade")
        status = THIS.siem_json(fleet.environment, "db", "status")
        change.add_tenant(THIS)
        _add_a_column_everywhere(fleet.engine)
        change.replace_each()
        wait_until(lambda: fleet.client.hlen(keys.CHUNKS), "integrations share what they want", LONG)
        change.settle()

    assert upgraded.returncode == 0, upgraded.stderr
    assert {(one["release"], one["can_work"]) for one in status["processes"]} == {(previous.version, True)}
    assert is_current(fleet.engine)
    change.check()


def test_a_rollback_under_traffic(mixed: MixedFleet, previous: Release, tmp_path: Path) -> None:
    """The new fleet holds its new forms; old processes join, new ones go; then the tables follow."""
    fleet = mixed.fleet
    back = ("db", "downgrade", *previous.way_back)
    differ = previous.revision != THIS.revision
    with Change(mixed, THIS, previous, tmp_path) as change:
        change.add_tenant(THIS)
        _add_a_column_everywhere(fleet.engine)
        wait_until(lambda: fleet.client.hlen(keys.CHUNKS), "integrations share what they want", LONG)
        refused = THIS.siem(fleet.environment, *back)
        hold = ("redis", "formats", "--hold")
        wait_until(
            lambda: THIS.siem(fleet.environment, *hold).returncode == 0, "earlier forms alone are left", 90
        )
        change.add_tenant(previous)
        change.replace_each()
        wait_until(
            lambda: _only_loses_data(THIS.siem(fleet.environment, *back)),
            "only what earlier tables cannot hold stands in the way",
        )
        undone = THIS.siem(fleet.environment, *back, "--confirm")
        tables = tables_of(fleet.engine)
        change.settle()

    assert refused.returncode == differ
    assert undone.returncode == 0, undone.stderr
    assert ("these processes could not work with the changed tables" in refused.stderr) == differ
    assert tables is not None
    assert tables.revision == previous.revision
    change.check()
