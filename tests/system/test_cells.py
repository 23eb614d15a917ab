"""Two cells side by side, each a whole fleet: a tenant moves from one to the other under traffic, and back.

The cells share nothing: neither Redis nor ledger nor the keys that seal secrets.
"""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fleet import Fleet, wait_until
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.receivers.scripts import event_ids
from worker.cells import CellPublisher
from worker.vault.vault import new_key

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

MOVING, STAYING = "moving", "staying"


class Cells:
    """Two fleets, their directory, and a publisher of two tenants."""

    def __init__(self, east: Fleet, west: Fleet, directory: Path) -> None:
        """Begin with both tenants in the east."""
        self.fleets = {"east": east, "west": west}
        self.published: dict[str, list[str]] = {MOVING: [], STAYING: []}
        self._directory = directory
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._publish)
        self.move_to("east")

    def move_to(self, cell: str) -> None:
        """Have the directory say where the tenant lives that moves."""
        cells = {name: {"redis_url": fleet.server.url} for name, fleet in self.fleets.items()}
        draft = self._directory.with_suffix(".draft")
        draft.write_text(json.dumps({"cells": cells, "tenants": {MOVING: cell}, "default": "east"}))
        draft.replace(self._directory)

    def _publish(self) -> None:
        with CellPublisher(self._directory) as publisher:
            while not self._over.wait(0.05):
                for tenant, ids in self.published.items():
                    ids.append(f"{tenant}-{len(ids)}")
                    publisher.publish(_event(ids[-1], tenant))

    def start(self) -> None:
        """Publish, a few events of each tenant a second."""
        self._thread.start()

    def stop(self) -> None:
        """Publish no more."""
        self._over.set()
        if self._thread.ident:
            self._thread.join()


def _received(receiver: HecReceiver) -> set[str]:
    return {one for request in receiver.requests for one in event_ids(request.events)}


def _event(event_id: str, tenant_id: str) -> dict[str, Any]:
    known = {"type": "policy.deny", "timestamp": "2026-11-26T10:11:12Z"}
    return {"id": event_id, "tenant_id": tenant_id} | known


@pytest.fixture
def cells(tmp_path: Path) -> Iterator[Cells]:
    """Give two running cells."""
    with (
        Fleet(tmp_path / "east", SIEM_SECRET_KEYS=new_key()) as east,
        Fleet(tmp_path / "west", SIEM_SECRET_KEYS=new_key()) as west,
    ):
        made = Cells(east.start(), west.start(), tmp_path / "cells.json")
        try:
            yield made
        finally:
            made.stop()


def _take(source: Fleet, target: Fleet, tenant: str, folder: Path) -> Any:
    """Export in one cell and import in the other, as an operator does."""
    exported = source.siem("tenants", "export", tenant)
    assert exported.returncode == 0, exported.stderr.decode()
    file = folder / "tenant.json"
    file.write_bytes(exported.stdout)
    both = f"{target.environment['SIEM_SECRET_KEYS']},{source.environment['SIEM_SECRET_KEYS']}"
    target.environment["SIEM_SECRET_KEYS"], own = both, target.environment["SIEM_SECRET_KEYS"]
    try:
        return target.siem_json("tenants", "import", str(file))
    finally:
        target.environment["SIEM_SECRET_KEYS"] = own


def test_a_tenant_moves_to_another_cell_and_back_without_loss(cells: Cells, tmp_path: Path) -> None:
    """Every event of both tenants arrives, and each cell has its own part of the history."""
    east, west = cells.fleets["east"], cells.fleets["west"]
    with HecReceiver(scripts.ok()) as receiver:
        east.integrate(receiver.url, "moving", tenant_id=MOVING, token="token-of-moving")
        east.integrate(receiver.url, "staying", tenant_id=STAYING, token="token-of-staying")
        cells.start()
        wait_until(lambda: east.rows("int_moving"), "the first cell delivers")

        there = _take(east, west, MOVING, tmp_path)
        cells.move_to("west")
        wait_until(lambda: west.rows("int_moving"), "the second cell delivers")
        east.siem_json("tenants", "status", MOVING, "--wait")
        too_soon = east.siem("tenants", "retire", MOVING)
        retired = east.siem_json("tenants", "retire", MOVING, "--quiet", "0")

        before = len(east.rows("int_moving"))
        back = _take(west, east, MOVING, tmp_path)
        cells.move_to("east")
        wait_until(lambda: len(east.rows("int_moving")) > before, "the first cell delivers again")
        west.siem_json("tenants", "status", MOVING, "--wait")
        cells.stop()
        everything = {one for ids in cells.published.values() for one in ids}
        wait_until(
            lambda: everything <= {one for request in receiver.requests for one in event_ids(request.events)},
            "all events have arrived",
        )

    assert there == {"tenant_id": MOVING, "added": 1, "renewed": 0, "api_keys": 0}
    assert back == {"tenant_id": MOVING, "added": 0, "renewed": 1, "api_keys": 0}
    assert retired == {"tenant_id": MOVING, "integrations": 1, "api_keys": 0}
    assert too_soon.returncode == 1
    assert b"see that every publisher has the new directory" in too_soon.stderr
    assert not west.rows("int_staying")
