"""What a mark says beside the one that is known, and what is missing then."""

import pytest

from worker.model.redis_marks import (
    Epoch,
    Figures,
    Loss,
    LossKind,
    Mark,
    MarkVerdict,
    compare,
    loss_kind,
    loss_text,
    losses_part,
    missing,
    vanished_streams,
)

KNOWN = Mark("b", 10, 1000)
#: 2026-11-22T22:15:00Z.
NOON = 1_795_385_700_000


#: The mark that is known, what is found, and what that means.
MARKS: list[tuple[Mark | None, Epoch | None, MarkVerdict]] = [
    (None, None, MarkVerdict.FIRST),
    (None, Epoch(Mark("a", 3)), MarkVerdict.FIRST),
    (KNOWN, Epoch(Mark("b", 10)), MarkVerdict.SAME),
    (KNOWN, Epoch(Mark("b", 12)), MarkVerdict.SAME),
    (KNOWN, Epoch(Mark("b", 9)), MarkVerdict.LOST),
    (KNOWN, Epoch(Mark("b", 10), truncated="cut off"), MarkVerdict.LOST),
    (KNOWN, None, MarkVerdict.LOST),
    (KNOWN, Epoch(Mark("a", 99)), MarkVerdict.LOST),
    (KNOWN, Epoch(Mark("c", 1), before=("a", "b")), MarkVerdict.LEDGER_IS_OLDER),
    (Mark("b"), None, MarkVerdict.UNKNOWN_EPOCH),
    (Mark("b"), Epoch(Mark("a", 99)), MarkVerdict.UNKNOWN_EPOCH),
    (Mark("b"), Epoch(Mark("b")), MarkVerdict.SAME),
]


def test_a_mark_beside_the_known_one() -> None:
    """Only what is known and not there any more is lost; a restored ledger is no loss of Redis."""
    assert [(known, found, compare(known, found)) for known, found, _ in MARKS] == MARKS


#: What is found, whether the ledger knows its epoch, and the kind of the loss.
LOSSES: list[tuple[Epoch | None, bool, LossKind]] = [
    (None, False, LossKind.EMPTIED),
    (Epoch(Mark("x", 3)), False, LossKind.REPLACED),
    (Epoch(Mark("a", 3)), True, LossKind.ROLLED_BACK),
    (Epoch(Mark("b", 9)), True, LossKind.ROLLED_BACK),
    (Epoch(Mark("b", 10), truncated="cut off"), True, LossKind.TRUNCATED),
    (Epoch(Mark("b", 9), truncated="cut off"), True, LossKind.ROLLED_BACK),
]


def test_what_became_of_the_data() -> None:
    """It follows from the epoch that is there, and whether the ledger knows it."""
    assert [
        (found, was_ours, loss_kind(KNOWN, found, was_ours=was_ours)) for found, was_ours, _ in LOSSES
    ] == LOSSES


@pytest.mark.parametrize(
    ("at_mark", "settled", "returned", "settled_again", "lost"),
    [
        (297, 0, 0, 0, 297),
        (297, 97, 0, 0, 200),
        (297, 297, 0, 0, 0),
        # An old snapshot with 100 that all waited on: 200 came after it.
        (300, 0, 100, 0, 200),
        # One with 100 that were delivered meanwhile: all that waited came after it.
        (100, 0, 100, 100, 100),
        (0, 0, 100, 0, 0),
        # More was counted as settled than stood there: never less than nothing.
        (5, 9, 0, 0, 0),
        (5, 0, 3, 9, 5),
    ],
)
def test_how_many_are_missing(
    at_mark: int, settled: int, returned: int, settled_again: int, lost: int
) -> None:
    """What waited at the mark, less what was settled since, less what is there again and was not settled."""
    found = missing({"int_a": at_mark}, {"int_a": settled}, {"int_a": returned}, {"int_a": settled_again})

    assert found == ({"int_a": lost} if lost else {})


def test_a_stream_that_began_again() -> None:
    """Its last id went back, or it counts fewer entries; one that only grew is no news."""
    known = Figures(
        waiting={"events": 3, "outcomes": 0},
        last_ids={"events": "9-2", "outcomes": "8-0", "parked": "0-0"},
        added={"events": 50, "outcomes": 7},
    )
    grown = Figures(last_ids={"events": "10-0", "outcomes": "8-0"}, added={"events": 51, "outcomes": 7})
    back = Figures(last_ids={"events": "9-1", "outcomes": "8-0"}, added={"events": 50, "outcomes": 7})
    fewer = Figures(last_ids={"events": "10-0", "outcomes": "8-0"}, added={"events": 1, "outcomes": 7})

    assert [vanished_streams(known, found) for found in (grown, back, fewer)] == [
        {},
        {"events": 3},
        {"events": 3},
    ]


def test_a_loss_is_described_with_its_numbers_and_its_moments() -> None:
    """Integration by integration, and what cannot be known is said."""
    loss = Loss(
        LossKind.EMPTIED, NOON, NOON + 2000, {"int_b": 97, "int_a": 200}, {"events": 12, "outcomes": 0}
    )

    assert loss.events == 309
    assert loss_text(loss) == (
        "Redis was emptied between 2026-11-22 22:15:00Z and 2026-11-22 22:15:02Z; missing: at least 297 "
        "deliveries of routed events (int_a 200, int_b 97); up to 12 events that no router had read; what "
        "was accepted in between is not counted"
    )
    assert "nothing is known to be missing" in loss_text(Loss(LossKind.ROLLED_BACK, NOON, NOON, {}, {}))


def test_readiness_reports_losses_until_they_are_acknowledged() -> None:
    """The latest in words, the others by their number."""
    loss = Loss(LossKind.EMPTIED, NOON, NOON, {"int_a": 2}, {})

    assert losses_part([]).ok
    assert not losses_part([loss]).ok
    assert "(and 1 more)" in losses_part([loss, loss]).words
    assert "siem redis acknowledge" in losses_part([loss]).words
