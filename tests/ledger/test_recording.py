"""Recording: every entry once, however often, in whatever order, and by however many recorders."""

import msgspec
import pytest
from sqlalchemy import Engine

from tests.ledger.content import MinuteCounts, minute_counts, recorded_rows
from tests.ledger.entries import NOON, REFUSAL, letter, outcome
from tests.ledger.letters import all_dead_letters
from worker.ledger.deliveries import find_deliveries, tallies
from worker.ledger.recording import record_entries
from worker.ledger.results import DeliveryRow
from worker.model.deliveries import Assurance, Cause, EventTrace, Failure, Outcome, Status
from worker.model.failures import FailureCode
from worker.model.untrusted_text import plain

_MINUTE = 60_000


def test_settlement_becomes_a_row(engine: Engine) -> None:
    """Everything that an outcome says of an event stands in its row."""
    recorded = record_entries(
        engine, [("1795385700000-0", [outcome(["evt_1"], Status.RETRYING, attempts=2)])], []
    ).count

    assert recorded == 1
    assert find_deliveries(engine) == [
        DeliveryRow(
            integration_id="int_a",
            event_id="evt_1",
            event_type="policy.deny",
            status=Status.RETRYING,
            attempts=2,
            http_status=503,
            error_code="destination_busy",
            error="the server is busy",
            hint="wait until it is well",
            event_ms=NOON - 30,
            published_ms=NOON - 10,
            settled_ms=NOON,
            latency_ms=None,
            retry_at_ms=NOON + 2000,
        )
    ]


def test_what_was_not_sent_counts_as_no_attempt(engine: Engine) -> None:
    """Its row says why it waits; its minute counts only what failed."""
    held = msgspec.structs.replace(outcome(["evt_1"], Status.RETRYING), sent=False)
    record_entries(engine, [("5-0", [held, outcome(["evt_2"], Status.RETRYING)])], [])

    assert {row.event_id: row.status for row in find_deliveries(engine)} == {
        "evt_1": Status.RETRYING,
        "evt_2": Status.RETRYING,
    }
    assert [row.retried for row in minute_counts(engine)] == [1]


def test_delivery_says_how_far_it_came(engine: Engine) -> None:
    """What a delivery can claim stands in its row, as the word that it is."""
    outcomes = [outcome([assurance.value], assurance=assurance) for assurance in Assurance]
    record_entries(engine, [("5-0", outcomes)], [])

    found = {row.event_id: row.assurance for row in find_deliveries(engine)}
    assert found == {assurance.value: assurance for assurance in Assurance}


def test_only_deliveries_claim_to_have_come_far(engine: Engine) -> None:
    """A retry undoes what an earlier settlement claimed; what no destination confirmed claims nothing."""
    record_entries(engine, [("5-0", [outcome(["evt_1"], assurance=Assurance.INDEXED)])], [])
    record_entries(engine, [("6-0", [outcome(["evt_1"], Status.RETRYING, assurance=Assurance.SENT)])], [])
    record_entries(engine, [("7-0", [outcome(["evt_2"])])], [])

    assert {row.event_id: row.assurance for row in find_deliveries(engine)} == {"evt_1": None, "evt_2": None}


def test_deliveries_of_several_claims_in_one_transaction(engine: Engine) -> None:
    """With and without a claim, rows are written in one statement."""
    claims = {"evt_1": Assurance.SENT, "evt_2": None, "evt_3": Assurance.RECEIVED}
    entries = [outcome([event], assurance=assurance) for event, assurance in claims.items()]
    record_entries(engine, [("5-0", [*entries, outcome(["evt_4"], Status.DEAD)])], [])

    assert {row.event_id: row.assurance for row in find_deliveries(engine)} == {**claims, "evt_4": None}


def test_delivery_has_a_latency(engine: Engine) -> None:
    """The latency runs from the publication to the reply, and is never negative."""
    late = Outcome("int_a", "delivered", NOON, None, None, [EventTrace("evt_2", "x", 1, NOON + 5, 1)])
    record_entries(engine, [("5-0", [outcome(["evt_1"]), late])], [])

    assert {row.event_id: (row.latency_ms, row.http_status) for row in find_deliveries(engine)} == {
        "evt_1": (10, 200),
        "evt_2": (0, None),
    }


def test_same_entries_again_change_nothing(engine: Engine) -> None:
    """Rows, counts and dead letters are the same after the second time, which says that nothing was new."""
    outcomes = [("5-0", [outcome(["evt_1", "evt_2"])]), ("5-1", [outcome(["evt_3"], Status.DEAD)])]
    dead = [("5-0", letter({"evt_3": b"{}"}))]
    first = record_entries(engine, outcomes, dead).count
    before = recorded_rows(engine)
    second = record_entries(engine, outcomes, dead).count

    assert (first, second) == (4, 0)
    assert recorded_rows(engine) == before


def test_overlap_is_recorded_once(engine: Engine) -> None:
    """Of entries of which half were recorded before, the other half counts."""
    entries = [(f"5-{place}", [outcome([f"evt_{place}"])]) for place in range(4)]
    record_entries(engine, entries[:2], [])
    recorded = record_entries(engine, entries, []).count

    assert recorded == 2
    assert minute_counts(engine) == [MinuteCounts("int_a", NOON, delivered=4, latency_sum=40, latency_max=10)]


def test_entry_given_twice_counts_once(engine: Engine) -> None:
    """One entry twice within one call is one entry."""
    recorded = record_entries(
        engine, [("5-0", [outcome(["evt_1"])])] * 2, [("5-0", letter({"evt_2": b"{}"}))] * 2
    ).count

    assert recorded == 2
    assert minute_counts(engine) == [MinuteCounts("int_a", NOON, delivered=1, latency_sum=10, latency_max=10)]


def test_outcomes_and_dead_letters_have_ids_of_their_own(engine: Engine) -> None:
    """Entries of the two streams that have the same id are two entries."""
    record_entries(engine, [("5-0", [outcome(["evt_1"], Status.DEAD)])], [])
    recorded = record_entries(engine, [], [("5-0", letter({"evt_1": b"{}"}))]).count

    assert recorded == 1
    assert len(all_dead_letters(engine)) == 1


def test_nothing_is_recorded_of_nothing(engine: Engine) -> None:
    """A call without entries is allowed, as is an entry without events."""
    assert record_entries(engine, [], []).count == 0
    assert record_entries(engine, [("5-0", []), ("5-1", [outcome([])])], []).count == 0


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_later_settlement_wins_in_any_order(engine: Engine, order: tuple[int, int]) -> None:
    """A retry that is recorded after the delivery that followed it does not undo that."""
    entries = [
        ("9-0", [outcome(["evt_1"], Status.RETRYING)]),
        ("10-0", [outcome(["evt_1"], settled_ms=NOON + 2000, attempts=2)]),
    ]
    for place in order:
        record_entries(engine, [entries[place]], [])
    [row] = find_deliveries(engine)

    assert row.status is Status.DELIVERED
    assert row.attempts == 2
    assert row.error is None
    assert row.retry_at_ms is None


@pytest.mark.parametrize("reverse", [False, True])
def test_event_may_come_twice_within_a_call(engine: Engine, *, reverse: bool) -> None:
    """Of settlements of one event in one call the latest is kept, and each is counted."""
    entries = [
        ("9-9", [outcome(["evt_1", "evt_2"], Status.RETRYING)]),
        ("9-10", [outcome(["evt_2", "evt_1"], attempts=2)]),
    ]
    record_entries(engine, entries[::-1] if reverse else entries, [])

    assert [row.status for row in find_deliveries(engine)] == [Status.DELIVERED] * 2
    assert minute_counts(engine) == [
        MinuteCounts("int_a", NOON, delivered=2, retried=2, latency_sum=20, latency_max=10)
    ]


def test_event_may_come_twice_within_an_entry(engine: Engine) -> None:
    """Of settlements of one event in one entry the first is kept, in both databases."""
    record_entries(
        engine, [("9-0", [outcome(["evt_1"], attempts=3), outcome(["evt_1"], Status.RETRYING)])], []
    )

    assert [(row.status, row.attempts) for row in find_deliveries(engine)] == [(Status.DELIVERED, 3)]


def test_sequence_beyond_the_version_does_not_spill(engine: Engine) -> None:
    """An entry of the next millisecond is later than any of this one."""
    record_entries(engine, [("9-99999999", [outcome(["evt_1"], Status.RETRYING)])], [])
    record_entries(engine, [("10-0", [outcome(["evt_1"])])], [])

    assert [row.status for row in find_deliveries(engine)] == [Status.DELIVERED]


def test_event_stands_once_per_integration(engine: Engine) -> None:
    """What becomes of an event at one integration does not touch its row at another."""
    record_entries(
        engine, [("5-0", [outcome(["evt_1"]), outcome(["evt_1"], Status.DEAD, integration_id="int_b")])], []
    )

    assert {row.integration_id: row.status for row in find_deliveries(engine)} == {
        "int_a": Status.DELIVERED,
        "int_b": Status.DEAD,
    }


def test_counts_are_by_minute_and_integration(engine: Engine) -> None:
    """Each settlement counts in the minute of its reply, and latencies only where something arrived."""
    record_entries(engine, [("5-0", [outcome(["e1", "e2"]), outcome(["e3"], Status.RETRYING)])], [])
    record_entries(
        engine,
        [
            ("6-0", [outcome(["e3"], settled_ms=NOON + _MINUTE - 1, attempts=2)]),
            ("6-1", [outcome(["e4"], Status.DEAD, settled_ms=NOON + _MINUTE)]),
            ("6-2", [outcome(["e1"], integration_id="int_b")]),
        ],
        [],
    )

    assert minute_counts(engine) == [
        MinuteCounts("int_a", NOON, delivered=3, retried=1, latency_sum=30, latency_max=10),
        MinuteCounts("int_a", NOON + _MINUTE, dead=1),
        MinuteCounts("int_b", NOON, delivered=1, latency_sum=10, latency_max=10),
    ]


def test_longest_latency_of_a_minute_stays(engine: Engine) -> None:
    """A quicker delivery does not shorten the longest latency; a slower one lengthens it."""

    def delivered(event_id: str, latency_ms: int) -> list[Outcome]:
        trace = EventTrace(event_id, "policy.deny", NOON, NOON, 1)
        return [Outcome("int_a", "delivered", NOON + latency_ms, None, None, [trace])]

    longest = []
    for number, latencies in enumerate([(20,), (5,), (30,), (40, 6)]):
        entries = [(f"{number}-{ms}", delivered(f"evt_{ms}", ms)) for ms in latencies]
        record_entries(engine, entries, [])
        longest.append(minute_counts(engine)[0].latency_max)

    assert longest == [20, 20, 30, 40]


def test_dead_letter_keeps_its_bytes(engine: Engine) -> None:
    """The payload comes back byte by byte, whatever it is, with the reason and an id of its own."""
    every_byte = bytes(range(256)) * 3
    payloads = {"evt_1": every_byte, "evt_2": b'{"id":"evt_2"}', "evt_3": b""}
    recorded = record_entries(engine, [], [("1795385700000-7", letter(payloads))]).count
    rows = all_dead_letters(engine)

    assert recorded == 3
    assert {row.event_id: row.payload for row in rows} == payloads
    assert [row.id for row in rows] == [f"1795385700000-7-{place}" for place in (2, 1, 0)]
    assert {(row.cause, row.error_code, row.http_status, row.attempts, row.state) for row in rows} == {
        (Cause.EXHAUSTED, "destination_busy", 503, 4, "waiting")
    }


def test_what_was_never_an_event_is_kept(engine: Engine) -> None:
    """Bytes that no integration was to get are a dead letter without ids and without a type."""
    record_entries(
        engine, [], [("5-0", letter({"": b"\xff\x00nonsense"}, integration_id=None, cause=Cause.INVALID))]
    )
    [row] = all_dead_letters(engine)

    assert row.integration_id is None
    assert row.event_id is None
    assert row.event_type is None
    assert (row.payload, row.cause) == (b"\xff\x00nonsense", Cause.INVALID)


NASTY = ("nu\0l", "back\\slash", 'quo"te', "{curly},", "żółć 🙂", "new\nline", "NULL")


def test_any_text_is_recorded(engine: Engine, subtests: pytest.Subtests) -> None:
    """Ids come back as they were, but for NUL, which PostgreSQL cannot hold; prose shows codes instead."""
    for place, nasty in enumerate(NASTY):
        with subtests.test(text=nasty):
            failure = Failure(FailureCode.read(nasty), nasty, nasty, 400)
            entry = outcome([nasty], Status.DEAD, integration_id=nasty, failure=failure)
            dead = letter({nasty: b"{}"}, integration_id=nasty, failure=failure)
            record_entries(engine, [(f"5-{place}", [entry])], [(f"5-{place}", dead)])

            kept = nasty.replace("\0", "\N{REPLACEMENT CHARACTER}")
            [row] = find_deliveries(engine, event_id=nasty)
            [found] = all_dead_letters(engine, integration_id=nasty)
            assert {row.integration_id, row.event_id, found.integration_id, found.event_id} == {kept}
            assert {row.error_code, found.error_code} == {kept}
            assert {row.error, row.hint, found.error, found.hint} == {plain(" ".join(nasty.split()))}


def test_long_reasons_are_cut(engine: Engine) -> None:
    """A SIEM that answers with a novel does not fill the ledger, nor does half a character stop it."""
    failure = Failure(FailureCode.DESTINATION_BUSY, "\ud800" + "x" * 10_000, "y" * 10_000)
    record_entries(engine, [("5-0", [outcome(["evt_1"], Status.DEAD, failure=failure)])], [])
    [row] = find_deliveries(engine)

    assert (row.error, row.hint) == ("\\ud800" + "x" * 493 + "…", "y" * 499 + "…")


def test_more_entries_than_a_statement_takes(engine: Engine) -> None:
    """A call may bring any number of entries."""
    entries = [(f"5-{place}", [outcome([f"evt_{place}"])]) for place in range(2000)]
    first = record_entries(engine, entries, []).count
    second = record_entries(engine, entries, []).count

    assert (first, second) == (2000, 0)
    assert tallies(engine)["int_a"].delivered == 2000


def test_version_conflict_leaves_the_reason(engine: Engine) -> None:
    """A death that is recorded before the retry that led to it keeps its own reason."""
    final = Failure(FailureCode.EVENT_REFUSED, "the event was refused", "look at its fields", 400)
    record_entries(engine, [("10-0", [outcome(["evt_1"], Status.DEAD, failure=final)])], [])
    record_entries(engine, [("9-0", [outcome(["evt_1"], Status.RETRYING, failure=REFUSAL)])], [])

    assert [(row.status, row.error) for row in find_deliveries(engine)] == [(Status.DEAD, final.message)]
