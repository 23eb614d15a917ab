"""Every attempt of what did not succeed at once is kept, once, in its order, as long as deliveries."""

import msgspec
from sqlalchemy import Engine

from tests.ledger.entries import NOON, outcome
from tests.ledger.plans import plan_of, reads_all
from worker.broker.chunks import StoredChunk, dead_chunk
from worker.ledger.attempts import MOST, AttemptRow, attempt_rows, attempts_of
from worker.ledger.pruning import PrunableKind, prune_rows
from worker.ledger.recording import record_entries
from worker.model.deliveries import Failure, Outcome, Status
from worker.model.failures import FailureCode

LATER = NOON + 86_400_000
_BUSY = Failure(FailureCode.DESTINATION_BUSY, "HTTP 503: try later", "wait", 503)
_LATE = Failure(FailureCode.TIMED_OUT, "no answer within 10 s", "see that it is well")


def _story(engine: Engine, *attempts: Outcome) -> None:
    record_entries(engine, [(f"{place}-0", [one]) for place, one in enumerate(attempts, 1)], [])


def _tried(engine: Engine, event: str = "evt_1") -> list[AttemptRow]:
    return attempts_of(engine, event, [("int_a", None)]).get(("int_a", None), [])


def test_each_attempt_is_kept(engine: Engine) -> None:
    """When it ended, which one it was, and what was answered; the last one, which succeeded, as well."""
    _story(
        engine,
        outcome(["evt_1"], Status.RETRYING, failure=_BUSY, attempts=1, settled_ms=NOON),
        outcome(["evt_1"], Status.RETRYING, failure=_LATE, attempts=2, settled_ms=NOON + 2000),
        outcome(["evt_1"], attempts=3, settled_ms=NOON + 6000),
    )

    assert _tried(engine) == [
        AttemptRow(1, NOON, Status.RETRYING, 503, "destination_busy", "HTTP 503: try later"),
        AttemptRow(2, NOON + 2000, Status.RETRYING, None, "timed_out", "no answer within 10 s"),
        AttemptRow(3, NOON + 6000, Status.DELIVERED, 200, None, None),
    ]


def test_what_succeeds_at_once_has_none(engine: Engine) -> None:
    """The usual way of an event costs no row; nor does what no request carried."""
    held = msgspec.structs.replace(outcome(["evt_2"], Status.RETRYING), sent=False)
    _story(engine, outcome(["evt_1"]), held, outcome(["evt_3"], Status.DEAD, attempts=0))

    assert [_tried(engine, event) for event in ("evt_1", "evt_2", "evt_3")] == [[], [], []]


def test_what_was_damaged_in_redis_was_no_attempt() -> None:
    """An earlier request had carried it; no other was made when its chunk could not be read."""
    fields = [b"n", b"1", b"bytes", b"2", b"events", b"no chunk", b"crc", b"00000000"]
    found = dead_chunk("int_a", StoredChunk("urgent", b"1-0", fields), "its checksum is wrong", NOON, [1])

    assert found.outcome is not None
    assert [one.attempts for one in found.outcome.events] == [1]
    assert attempt_rows({"2-0": [found.outcome]}) == []


def test_what_does_not_count_is_told_as_well(engine: Engine) -> None:
    """A wrong token costs an event no attempt, and of its answers the latest is shown."""
    wrong = Failure(FailureCode.TOKEN_INVALID, "HTTP 403: Invalid token", "give another one", 403)
    answers = [
        outcome(["evt_1"], Status.RETRYING, failure=wrong, attempts=0, settled_ms=NOON + n)
        for n in range(120)
    ]
    _story(engine, *answers)

    assert len(_tried(engine)) == MOST
    assert _tried(engine)[-1] == AttemptRow(
        0, NOON + 119, Status.RETRYING, 403, "token_invalid", "HTTP 403: Invalid token"
    )


def test_a_word_of_a_release_to_come_stops_no_recorder(engine: Engine) -> None:
    """A worker of a later release may know a further state: the others of its entry are recorded."""
    unheard = msgspec.structs.replace(outcome(["evt_1"], Status.RETRYING), status="postponed")
    recorded = record_entries(engine, [("1-0", [unheard, outcome(["evt_2"], Status.DEAD)])], [])

    assert recorded.count == 2
    assert [one.number for one in _tried(engine, "evt_2")] == [1]


def test_a_replay_goes_on_counting(engine: Engine) -> None:
    """What died and was sent again has the attempts of both lives, in the order of time."""
    _story(
        engine,
        outcome(["evt_1"], Status.DEAD, failure=_BUSY, attempts=4, settled_ms=NOON),
        outcome(["evt_1"], Status.DEAD, failure=_LATE, attempts=1, settled_ms=NOON + 90_000),
    )

    assert [(one.number, one.status, one.error_code) for one in _tried(engine)] == [
        (4, Status.DEAD, "destination_busy"),
        (1, Status.DEAD, "timed_out"),
    ]


def test_recorded_twice_is_kept_once(engine: Engine) -> None:
    """And one that comes late finds its place."""
    second = ("2-0", [outcome(["evt_1"], Status.DEAD, attempts=2, settled_ms=NOON + 2000)])
    first = ("1-0", [outcome(["evt_1"], Status.RETRYING, attempts=1)])
    for entries in ([second], [first, second], [first]):
        record_entries(engine, entries, [])

    assert [one.number for one in _tried(engine)] == [1, 2]


def test_both_fates_of_one_settlement_are_kept(engine: Engine) -> None:
    """What was withdrawn and is delivered with the same settlement has a row of each."""
    record_entries(
        engine,
        [("1-0", [outcome(["evt_1"], Status.DEAD), outcome(["evt_1"], attempts=2, settled_ms=NOON + 1)])],
        [],
    )

    assert [one.status for one in _tried(engine)] == [Status.DEAD, Status.DELIVERED]


def test_they_go_by_age(engine: Engine) -> None:
    """The oldest first, as many as were asked for."""
    _story(engine, *(outcome([f"evt_{n}"], Status.DEAD, settled_ms=NOON + n) for n in range(3)))

    assert [prune_rows(engine, PrunableKind.ATTEMPTS, NOON + 2, 1).count for _ in range(3)] == [1, 1, 0]
    assert [bool(_tried(engine, f"evt_{n}")) for n in range(3)] == [False, False, True]


def test_no_question_reads_the_whole_table(engine: Engine) -> None:
    """Neither for one event, nor for the oldest."""
    for question in (
        lambda given: attempts_of(given, "evt_1", [("int_a", None), ("int_b", "digest")]),
        lambda given: prune_rows(given, PrunableKind.ATTEMPTS, LATER, 10),
    ):
        record_entries(engine, [("1-0", [outcome(["evt_1"], Status.DEAD)])], [])
        assert not [line for line in plan_of(engine, question) if reads_all(line)]
