"""An integration is deleted beside the release before this one: nothing of it stays, nothing is lost."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker.sending import append
from tests.fleet import Fleet, wait_until
from tests.procfile import WORKER
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.system.conftest import denial
from tests.system.test_deleted import naming, wait_until_dead, wait_until_gone
from tests.upgrades.mixed import KNOBS, LONG, MixedFleet
from tests.upgrades.releases import THIS, Release
from worker.broker.backlog import Backlog, Timing
from worker.ledger.migrations.runner import downgrade_tables, upgrade_tables
from worker.model.deliveries import Cause

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture
def mixed(tmp_path: Path) -> Iterator[MixedFleet]:
    """Give a fleet without processes."""
    with Fleet(tmp_path / "fleet", **KNOBS) as fleet:
        yield MixedFleet(fleet)


def test_what_earlier_processes_bring_back_goes_too(mixed: MixedFleet, previous: Release) -> None:
    """Its recorder writes the tombstone again and again, its router and worker know no other way."""
    fleet = mixed.fleet
    with HecReceiver(scripts.throttled(600)) as splunk:
        fleet.integrate(splunk.url, "gone")
        # Then the tables of that release: this one changes integrations only where it finds its own.
        downgrade_tables(fleet.engine, previous.revision)
        for role in ("router", "recorder", WORKER):
            mixed.join(previous, role)
        upgrade_tables(fleet.engine)
        mixed.join(THIS, "recorder")
        ids = fleet.publish_at_once(denial(f"e{number}") for number in range(50))
        wait_until(lambda: fleet.rows("int_gone"), "the retry waits", LONG)
        fleet.store.delete("int_gone")
        fleet.announce()
        wait_until_dead(fleet, "int_gone", 50)
        # A router that slept through the deletion hands over, and wakes.
        append(fleet.client, "int_gone", [["late1", "late2"]])
        Backlog(fleet.client, Timing.of(fleet.settings)).wake(["int_gone"])
        wait_until_dead(fleet, "int_gone", 52)
        mixed.leave(previous, "recorder")
        wait_until_gone(fleet, "int_gone")

        letters = fleet.dead("int_gone")
        assert {letter.event_id for letter in letters} == {*ids, "late1", "late2"}
        assert {letter.cause for letter in letters} == {Cause.DELETED}
        assert naming(fleet, "int_gone") == []
        assert splunk.accepted_ids == []
