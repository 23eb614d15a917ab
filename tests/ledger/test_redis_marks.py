"""Marks and losses of Redis in the ledger, in both databases; and what it knows of those events."""

import pytest
from sqlalchemy import Engine

from tests.ledger.entries import NOON, letter, outcome
from worker.ledger.engine import ledger_id
from worker.ledger.recording import record_entries
from worker.ledger.redis_losses import LossStore
from worker.ledger.redis_marks import MarkStore
from worker.model.deliveries import Status
from worker.model.errors import NotFoundError
from worker.model.parking import ParkedChunk
from worker.model.redis_marks import Figures, Loss, LossKind, Mark

#: A mark at noon: what was settled before it has lower ids, what came after it higher ones.
FIGURES = Figures(
    backlogs={"int_a": 9, "int_b": 4},
    waiting={"events": 5, "outcomes": 2, "dead_letters": 1, "parked": 0},
    first_ids={"events": f"{NOON - 40}-0", "outcomes": f"{NOON - 5}-0", "dead_letters": f"{NOON - 5}-0"},
    last_ids={"events": f"{NOON - 1}-0", "outcomes": f"{NOON - 1}-0", "dead_letters": f"{NOON - 1}-0"},
)
MARK = Mark("epoch-1", 7, NOON, FIGURES)


@pytest.fixture
def store(engine: Engine) -> MarkStore:
    """Give the store, with the mark."""
    made = MarkStore(engine)
    made.adopt(MARK)
    return made


def test_a_ledger_has_an_id_of_its_own(engine: Engine) -> None:
    """It stays."""
    assert ledger_id(engine) == ledger_id(engine) != ""


def test_the_latest_mark_is_kept(store: MarkStore) -> None:
    """An older one that comes late changes nothing, nor one of another epoch."""
    before = store.latest()
    store.note(Mark("epoch-1", 6, NOON))
    store.note(Mark("epoch-2", 99, NOON))
    late = store.latest()
    store.note(Mark("epoch-1", 8, NOON + 2))
    after = store.latest()

    assert before == late == MARK
    assert after == Mark("epoch-1", 8, NOON + 2)
    assert (store.knows("epoch-1"), store.knows("epoch-2")) == (True, False)


def test_one_epoch_lasts(store: MarkStore) -> None:
    """Also when one comes back that had ended."""
    store.adopt(Mark("epoch-2", 3))
    second = store.latest()
    store.adopt(Mark("epoch-1", 1))
    first = store.latest()

    assert second == Mark("epoch-2", 3)
    assert first == Mark("epoch-1", 1)


def test_what_was_settled_after_the_mark_is_known(engine: Engine, store: MarkStore) -> None:
    """By integration; neither what was settled before it, nor what waits for a retry, nor what came later."""
    record_entries(
        engine,
        [
            (f"{NOON - 9}-0", [outcome(["before"], settled_ms=NOON - 9)]),
            (f"{NOON + 5}-0", [outcome(["e1", "e2"], settled_ms=NOON + 5)]),
            (f"{NOON + 6}-0", [outcome(["e3"], Status.RETRYING, settled_ms=NOON + 6)]),
            (f"{NOON + 7}-0", [outcome(["e4"], Status.DEAD, settled_ms=NOON + 7)]),
            (f"{NOON + 900}-0", [outcome(["came later"], settled_ms=NOON + 900)]),
        ],
        [],
    )

    assert store.settled(MARK) == {"int_a": 3, "int_b": 0}
    assert store.settled_again(MARK) == {"int_a": 3, "int_b": 0}


def test_what_was_parked_after_the_mark_is_not_missing(engine: Engine, store: MarkStore) -> None:
    """It shows in the ids of its entries."""
    mark = Mark("any", 1, 0, Figures(backlogs={"int_b": 9}, last_ids={"parked": "5-0"}))
    chunk = ParkedChunk("int_b", urgent=True, position=1, events=3, size=6, packed=b"\x90")
    record_entries(engine, [], [], [("4-0", chunk), ("6-0", chunk)])

    assert store.settled(mark) == {"int_b": 3}


def test_what_waited_in_a_stream_and_was_recorded_is_known(engine: Engine, store: MarkStore) -> None:
    """Entries that waited at the mark, by their ids; and events that were settled before a router's end."""
    record_entries(
        engine,
        [
            (f"{NOON - 9}-0", [outcome(["before"], settled_ms=NOON - 9)]),
            (f"{NOON - 3}-0", [outcome(["waited"], settled_ms=NOON)]),
            (f"{NOON + 3}-0", [outcome(["after"], settled_ms=NOON + 500)]),
        ],
        [(f"{NOON - 2}-0", letter({"dead": b"{}"}))],
    )

    assert store.done(MARK) == {"events": 2, "outcomes": 1, "dead_letters": 1, "parked": 0}


def test_a_loss_ends_its_epoch_once(engine: Engine, store: MarkStore) -> None:
    """Of two that find it, one reports it."""
    losses = LossStore(engine)
    loss = Loss(LossKind.EMPTIED, NOON, NOON + 2000, {"int_a": 9}, {"events": 5})
    first = losses.report(loss, "epoch-1", "epoch-2")
    second = losses.report(loss, "epoch-1", "epoch-3")
    [kept] = losses.list(unacknowledged=True)

    assert (kept.id, kept.loss, second) == (first, loss, None)
    assert store.latest() == Mark("epoch-2")


def test_a_loss_is_acknowledged(engine: Engine) -> None:
    """It is not open any more, and stays; an unknown one cannot be acknowledged."""
    losses = LossStore(engine)
    made = losses.report(Loss(LossKind.VANISHED, NOON, NOON, {}, {"events": 1}), "epoch-1", None)
    done = losses.acknowledge(made or "", "ops", "seen")
    with pytest.raises(NotFoundError, match="there is no loss"):
        losses.acknowledge("loss_never", "ops", "")

    assert losses.list(unacknowledged=True) == []
    assert losses.list() == [done]
    assert (done.acknowledged_by, done.acknowledgement) == ("ops", "seen")


def test_what_is_removed_later_is_added_to_an_open_loss(engine: Engine) -> None:
    """Of its kind alone: streams that vanished are another matter."""
    losses = LossStore(engine)
    losses.report(Loss(LossKind.VANISHED, NOON, NOON + 5000, {}, {"events": 3}), "epoch-1", None)
    first = losses.report_removed(Loss(LossKind.VANISHED, NOON, NOON + 1, {}, {"events": 1}, removed=True))
    second = losses.report_removed(
        Loss(LossKind.VANISHED, NOON + 1, NOON + 9, {}, {"events": 4}, removed=True)
    )
    both = Loss(LossKind.VANISHED, NOON, NOON + 9, {}, {"events": 5}, removed=True)
    losses.acknowledge(first.id, "ops", "seen")
    third = losses.report_removed(
        Loss(LossKind.VANISHED, NOON + 9, NOON + 9, {}, {"events": 2}, removed=True)
    )

    assert (second.id, second.loss) == (first.id, both)
    assert [one.loss for one in losses.list() if one.id == first.id] == [both]
    assert third.id != first.id
    assert sorted(one.loss.events for one in losses.list()) == [2, 3, 5]
