"""A ledger that was restored from a backup lifts no pause, and what it does not know exports nothing."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet import Fleet, wait_until
from tests.receivers.hec import HecReceiver
from tests.system.conftest import denial
from worker.model.deliveries import Cause

pytestmark = [pytest.mark.slow, pytest.mark.timeout(700)]

HELD = "integration.unknown_to_ledger"
YIELDED = "integration.older_in_ledger"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet that the test may hurt; nothing runs yet."""
    with Fleet(tmp_path) as fleet:
        yield fleet


def _files(fleet: Fleet) -> list[Path]:
    return sorted(fleet.directory.glob("ledger.sqlite3*"))


def back_up(fleet: Fleet) -> None:
    """Copy the ledger's files, while nobody writes."""
    fleet.engine.dispose()
    (fleet.directory / "backup").mkdir()
    for path in _files(fleet):
        shutil.copy2(path, fleet.directory / "backup")


def restore(fleet: Fleet) -> None:
    """Put the copy in the ledger's place, while nobody reads or writes."""
    fleet.engine.dispose()
    for path in _files(fleet):
        path.unlink()
    for path in (fleet.directory / "backup").iterdir():
        shutil.copy2(path, fleet.directory)


def test_a_restore_sets_nothing_going_that_was_stopped(own: Fleet) -> None:
    """The pause stands, what was deleted stays silent; the unknown is paused, until a command says more."""
    with HecReceiver() as well, HecReceiver() as halted, HecReceiver() as late, HecReceiver() as later:
        own.integrate(well.url, "well")
        own.integrate(halted.url, "halted")
        own.integrate(halted.url, "removed")
        own.start()
        own.publish_at_once([denial("e0")])
        wait_until(lambda: len(own.rows("int_halted")) == 1, "the recorder records")
        own.terminate("recorder")
        back_up(own)
        for command, name in (("pause", "halted"), ("delete", "removed")):
            yes = ["--yes"] if command == "delete" else []
            assert own.siem("integrations", command, name, *yes).returncode == 0
        # Nothing of the deleted one stands in Redis any more when the restore begins.
        own.start("recorder")
        wait_until(lambda: not own.client.hexists("siem:integrations", "int_removed"), "it is gone")
        own.terminate("recorder")
        own.integrate(late.url, "late")
        own.integrate(later.url, "later")
        restore(own)
        own.start("recorder")
        wait_until(
            lambda: own.log("recorder").count(HELD) == 2, "both that the ledger does not know are told"
        )
        wait_until(lambda: own.log("recorder").count(YIELDED) == 2, "the pause and the deletion are told")

        ids = own.publish_at_once(denial(f"e{number}") for number in range(1, 101))
        well.wait_for_events(101, 30)
        health = own.siem("health")
        exported = [len(one.accepted_ids) for one in (late, later)]
        paused = {one["name"]: one["paused"] for one in own.siem_json("integrations", "list")["items"]}
        assert exported == [0, 0]
        assert set(halted.accepted_ids) == {"e0"}
        assert paused == {"well": False, "halted": True, "removed": True}
        assert health.returncode == 1
        assert b"2 of the integrations in Redis are not known to the ledger and are paused" in health.stdout
        assert (
            b"2 of the integrations are paused or disabled because the ledger was set back" in health.stdout
        )

        assert own.siem("integrations", "orphans", "adopt", "late").returncode == 0
        assert own.siem("integrations", "orphans", "delete", "later", "--yes").returncode == 0
        assert own.siem("integrations", "delete", "removed", "--yes").returncode == 0
        for name in ("late", "halted"):
            assert own.siem("integrations", "resume", name).returncode == 0
        own.settled(100, "int_late")
        own.settled(101, "int_halted")
        wait_until(
            lambda: len(own.dead("int_later")) == 100, "what waited for the deleted one is accounted for"
        )

        assert set(late.accepted_ids) == set(ids)
        assert {letter.cause for letter in own.dead("int_later")} == {Cause.DELETED}
        assert later.accepted_ids == []
        wait_until(
            lambda: own.siem_json("integrations", "orphans", "list")["items"] == [],
            "all conflicts are settled",
        )
