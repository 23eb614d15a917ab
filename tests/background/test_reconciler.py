"""A ledger that was set back takes over what Redis knows; one that is read beside a change does not."""

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


def test_a_pause_beside_a_look_is_no_conflict(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger was read before the pause, and Redis behind it: both know the pause by now."""
    read = fleet.store.records
    before: list[list[IntegrationRecord]] = [read()]
    fleet.store.set_paused("int_splunk", paused=True)
    fleet.announce()
    [paused] = read()
    monkeypatch.setattr(fleet.store, "records", lambda ids=None: before.pop() if before else read(ids))
    reconciliation(fleet).whole()

    assert not before
    assert conflicts(fleet.client) == {}
    assert read() == [paused]
    assert fleet.client.hget("siem:state:int_splunk", "revision") == b"%d" % paused.revision
