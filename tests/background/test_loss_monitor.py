"""What Redis held and holds no longer is reported, with its number, once; and nothing else is."""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.background.loss_rig import HOME, LossRig
from tests.broker.sending import claim, delivered
from tests.conftest import SERVERS
from tests.ledger.entries import outcome
from worker.broker import keys
from worker.broker.clocks import received_ms
from worker.broker.redis_server import note_truncation
from worker.ledger.recording import record_entries
from worker.ledger.redis_losses import LossStore
from worker.model.errors import InvalidInput, LedgerUnavailable, NotFoundError
from worker.model.redis_marks import LossKind, loss_text


@pytest.fixture(params=SERVERS)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LossRig]:
    """Give a Redis of each kind and a ledger, marked once."""
    with LossRig(SERVERS[request.param], tmp_path) as made:
        made.watch.step()
        yield made


def names(count: int, prefix: str = "e") -> list[str]:
    """Name events."""
    return [f"{prefix}{number}" for number in range(count)]


def test_a_first_start_and_a_quiet_life_are_no_loss(rig: LossRig) -> None:
    """Marks go on while events come and go; an integration that is deleted is nothing either."""
    rig.append(*names(3))
    rig.watch.step()
    rig.deliver()
    rig.watch.step()
    rig.client.hset(
        keys.INTEGRATIONS, HOME, b'{"id":"int_a","destination":{"type":"webhook"},"deleted":true}'
    )
    rig.watch.step()
    known = rig.store.latest()

    assert rig.losses() == []
    assert known is not None
    assert known.epoch.encode() == rig.client.hget(keys.EPOCH, "id")
    assert known.number == int(rig.client.hget(keys.EPOCH, "number") or 0) >= 3


def test_nothing_is_written_while_nothing_changes(rig: LossRig) -> None:
    """An idle fleet costs neither the append-only file nor the ledger anything."""
    rig.watch.step()
    before = rig.store.latest()
    for _ in range(5):
        rig.watch.step()

    assert rig.store.latest() == before


def test_an_emptied_redis_is_told_with_what_it_held(rig: LossRig, caplog: pytest.LogCaptureFixture) -> None:
    """Less what was delivered after the mark; in the log once, and in the ledger."""
    rig.append(*names(5, "early"))
    rig.append(*names(7, "late"))
    for _ in range(3):
        rig.client.xadd(keys.EVENTS, {"event": b"{}"})
    rig.watch.step()
    rig.deliver()  # takes all of it: one batch
    rig.append(*names(4, "behind"))
    rig.watch.step()
    rig.client.flushall()
    for _ in range(3):
        rig.watch.step()
    [loss] = rig.losses()

    assert (loss.kind, loss.deliveries, loss.waiting) == (LossKind.EMPTIED, {HOME: 4}, {"events": 3})
    assert loss.since_ms <= loss.found_ms
    assert [one.levelno for one in caplog.records if "Redis was emptied" in one.getMessage()] == [
        logging.ERROR
    ]


def test_what_was_settled_between_the_mark_and_the_loss_is_not_missing(rig: LossRig) -> None:
    """The ledger has it."""
    rig.append(*names(6))
    rig.watch.step()
    rig.deliver()
    rig.client.flushall()
    rig.watch.step()
    [loss] = rig.losses()

    assert (loss.deliveries, loss.waiting) == ({}, {})
    assert "nothing is known to be missing" in loss_text(loss)


def test_of_entries_of_many_events_each_event_is_missing(rig: LossRig) -> None:
    """Less those of which a delivery was settled after the mark."""
    added: list[Any] = [rig.client.xadd(keys.EVENTS, {"events": "\n".join(["{}"] * 4)}) for _ in range(3)]
    rig.watch.step()
    published_ms = received_ms(rig.client, added[:1])[0]
    settled = outcome(["a", "b", "c", "d", "e"], settled_ms=published_ms + 10)
    record_entries(rig.engine, [(f"{published_ms + 10}-0", [settled])], [])
    rig.client.flushall()
    rig.watch.step()
    [loss] = rig.losses()

    assert loss.waiting == {"events": 12 - 5}
    assert "up to 7 events that no router had read" in loss_text(loss)


def test_a_restart_with_its_log_is_no_loss(rig: LossRig) -> None:
    """However it ended."""
    rig.append(*names(3))
    rig.watch.step()
    rig.server.restart()
    rig.watch.step()
    rig.server.kill()
    rig.server.restart()
    rig.watch.step()

    assert rig.losses() == []


def test_an_emptied_redis_that_restarts_is_told_once(rig: LossRig) -> None:
    """FLUSHALL, and a restart with what came after it."""
    rig.append(*names(3))
    rig.watch.step()
    rig.client.flushall()
    rig.watch.step()
    rig.server.restart()
    rig.watch.step()

    assert [loss.deliveries for loss in rig.losses()] == [{HOME: 3}]


def test_an_old_snapshot_is_told_with_what_came_after_it(rig: LossRig) -> None:
    """What it holds again is not missing; what was delivered since may come twice, which is said."""
    rig.append(*names(100, "old"))
    rig.watch.step()
    rig.keep_snapshot()
    rig.deliver()
    rig.append(*names(40, "new"))
    rig.watch.step()
    rig.restore_snapshot()
    for _ in range(3):
        rig.watch.step()
    [loss] = rig.losses()

    assert (loss.kind, loss.deliveries) == (LossKind.ROLLED_BACK, {HOME: 40})
    assert "may be delivered again" in loss_text(loss)


def test_an_old_snapshot_of_before_another_loss_is_told_too(rig: LossRig) -> None:
    """Its epoch is an older one of ours."""
    rig.append(*names(2))
    rig.watch.step()
    rig.keep_snapshot()
    rig.client.flushall()
    rig.watch.step()
    rig.restore_snapshot()
    rig.watch.step()
    rig.watch.step()

    assert [loss.kind for loss in rig.losses()] == [LossKind.ROLLED_BACK, LossKind.EMPTIED]


def test_a_log_that_was_cut_off_is_told(rig: LossRig) -> None:
    """Redis drops the end, loads the rest, and says nothing to its clients."""
    rig.append(*names(3, "kept"))
    rig.watch.step()
    rig.append(*names(9, "cut"))
    rig.watch.step()
    rig.cut_log(5)
    rig.watch.step()
    rig.watch.step()
    [loss] = rig.losses()

    assert loss.kind is LossKind.ROLLED_BACK
    assert loss.found_ms >= loss.since_ms


def test_what_the_embedded_server_said_of_its_log_is_told(rig: LossRig) -> None:
    """Even if no mark was in the part that it dropped."""
    note_truncation(rig.client, "the embedded server said: Truncating the AOF")
    rig.watch.step()
    rig.watch.step()
    [loss] = rig.losses()

    assert (loss.kind, loss.deliveries) == (LossKind.TRUNCATED, {})
    assert "Truncating the AOF" in loss_text(loss)


def test_a_restored_ledger_is_no_loss_of_redis(rig: LossRig) -> None:
    """It knows an epoch that has ended since, or an older mark of this one."""
    rig.append(*names(3))
    rig.watch.step()
    rig.engine.dispose()
    dump = rig.file.with_suffix(".dump")
    shutil.copy(rig.file, dump)
    rig.client.flushall()
    rig.watch.step()
    reported = len(rig.losses())
    rig.engine.dispose()
    for wal in rig.file.parent.glob("ledger.sqlite3-*"):
        wal.unlink()
    shutil.copy(dump, rig.file)
    rig.another().step()
    rig.another().step()

    assert reported == 1
    assert rig.losses() == []


def test_another_redis_is_told(rig: LossRig) -> None:
    """One whose epoch the ledger never had: what it holds is not taken for ours."""
    rig.append(*names(3))
    rig.watch.step()
    rig.client.hset(keys.EPOCH, mapping={"id": "somebody-elses", "number": 99})
    rig.watch.step()
    [loss] = rig.losses()

    assert (loss.kind, loss.deliveries) == (LossKind.REPLACED, {HOME: 3})


def test_a_backlog_that_vanished_is_told_and_counted_anew(rig: LossRig) -> None:
    """Evicted, or deleted by hand: only the count is left. What a worker holds is not given up early."""
    rig.append(*names(3))
    rig.watch.step()
    held = claim(rig.backlog, HOME).batch
    rig.append(*names(5, "waiting"))
    rig.client.delete(keys.urgent(HOME))
    rig.watch.step()
    while_held = rig.losses()
    rig.backlog.settle(held, delivered(held))
    for _ in range(3):
        rig.watch.step()
    [loss] = rig.losses()

    assert while_held == []
    assert (loss.kind, loss.deliveries) == (LossKind.VANISHED, {HOME: 5})
    assert rig.backlog.depth(HOME) == 0


def test_a_stream_that_vanished_is_told(rig: LossRig) -> None:
    """With the events that no router had read."""
    for _ in range(3):
        rig.client.xadd(keys.EVENTS, {"event": b"{}"})
    rig.watch.step()
    rig.client.delete(keys.EVENTS)
    for _ in range(3):
        rig.watch.step()
    [loss] = rig.losses()

    assert (loss.kind, loss.waiting) == (LossKind.VANISHED, {"events": 3})


def test_two_that_work_at_once_tell_once(rig: LossRig) -> None:
    """The lock went with the rest."""
    rig.append(*names(3))
    other = rig.another()
    rig.watch.step()
    rig.client.flushall()
    other.step()
    rig.client.delete(keys.MARKER_LOCK)
    rig.watch.step()

    assert len(rig.losses()) == 1


def test_marks_go_on_while_the_database_is_away(rig: LossRig) -> None:
    """A loss in that time is measured by what stood in Redis just before, not by what the ledger knew."""
    rig.watch.step()
    rig.store.away = True
    rig.append(*names(8))
    with pytest.raises(LedgerUnavailable):
        rig.watch.step()
    rig.client.flushall()
    with pytest.raises(LedgerUnavailable):
        rig.watch.step()
    rig.store.away = False
    rig.watch.step()
    [loss] = rig.losses()

    assert loss.deliveries == {HOME: 8}


def test_damage_of_the_keys_keeps_no_mark_from_being_made(rig: LossRig) -> None:
    """Keys that are not what they should be say nothing, and the others are marked."""
    rig.append(*names(3))
    rig.watch.step()
    before = rig.store.latest()
    rig.client.delete(keys.state_key(HOME), keys.LEASES, keys.urgent(HOME))
    rig.client.set(keys.state_key(HOME), "damage")
    rig.client.set(keys.urgent(HOME), "damage")
    rig.client.set(keys.LEASES, "damage")
    rig.client.hset(keys.COUNTERS, "published", "damage")
    rig.watch.step()
    after = rig.store.latest()

    assert before is not None
    assert after is not None
    assert after.number > before.number
    assert rig.losses() == []


def test_counts_that_damage_has_touched_are_no_loss(rig: LossRig) -> None:
    """They are right again once nothing is left to count."""
    rig.append(*names(3))
    rig.client.delete(keys.urgent(HOME))
    rig.client.hset(keys.state_key(HOME), "recount", 1)
    rig.watch.step()

    assert rig.losses() == []


def test_a_full_redis_is_marked(rig: LossRig) -> None:
    """Nothing new is taken, and what stands there is still worth a mark."""
    rig.append(*names(3))
    before = rig.store.latest()
    rig.client.config_set("maxmemory", 1)
    rig.watch.step()
    after = rig.store.latest()
    rig.client.flushall()
    rig.watch.step()

    assert before is not None
    assert after is not None
    assert (after.number > before.number, after.figures.backlogs) == (True, {HOME: 3})
    assert [loss.deliveries for loss in rig.losses()] == [{HOME: 3}]


def test_a_loss_is_acknowledged_once_and_stays(rig: LossRig) -> None:
    """Who, when and why are kept with it."""
    rig.client.flushall()
    rig.watch.step()
    losses = LossStore(rig.engine)
    [found] = losses.list(unacknowledged=True)
    done = losses.acknowledge(found.id, "ops", "published again\x00")
    with pytest.raises(InvalidInput, match="was acknowledged by ops already"):
        losses.acknowledge(found.id, "other", "")
    with pytest.raises(NotFoundError, match="there is no loss nothing"):
        losses.acknowledge("nothing", "ops", "")

    assert losses.list(unacknowledged=True) == []
    assert losses.list() == [done]
    assert (done.acknowledged_by, done.loss) == ("ops", found.loss)
    assert done.acknowledged_ms is not None
