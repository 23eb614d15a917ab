"""A look of a recorder beside a change: the change stands, in the ledger as in Redis."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet import Fleet
from worker.background.reconciler import Reconciliation
from worker.broker.api_keys import KeyCopy
from worker.broker.conflicts import conflicts
from worker.ledger.results import IntegrationRecord
from worker.vault.vault import open_vault


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Give a server and a ledger with an integration that both know; no process runs."""
    with Fleet(tmp_path) as fleet:
        fleet.integrate("http://127.0.0.1:9/services/collector/event")
        reconciliation(fleet).look()
        yield fleet


def reconciliation(fleet: Fleet) -> Reconciliation:
    """Return what a recorder looks with."""
    copy = KeyCopy(fleet.client, open_vault(fleet.settings).proofs)
    return Reconciliation(fleet.client, fleet.store, copy, fleet.settings.slots)


def look_beside(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, *, paused: bool) -> IntegrationRecord:
    """Look while it is paused or resumed: behind the look at the ledger, before that at Redis."""
    read = fleet.store.records
    before: list[list[IntegrationRecord]] = [read()]
    fleet.store.set_paused("int_splunk", paused=paused)
    fleet.announce()
    [changed] = read()
    monkeypatch.setattr(fleet.store, "records", lambda ids=None: before.pop() if before else read(ids))
    reconciliation(fleet).whole()
    assert not before
    return changed


@pytest.mark.parametrize("paused", [True, False])
def test_a_change_beside_a_look_stands(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, *, paused: bool
) -> None:
    """It is no conflict, and neither the ledger nor Redis goes back to what was before."""
    if not paused:
        fleet.store.set_paused("int_splunk", paused=True)
        fleet.announce()
    changed = look_beside(fleet, monkeypatch, paused=paused)

    assert conflicts(fleet.client) == {}
    assert fleet.store.records(["int_splunk"]) == [changed]
    state = fleet.client.hmget("siem:state:int_splunk", "revision", "held")
    assert state == [b"%d" % changed.revision, b"%d" % paused]
