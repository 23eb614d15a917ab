"""Replays in the ledger: which letters are meant, page by page, and that a page counts once."""

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, Engine, update

from tests.ledger.entries import NOON
from tests.ledger.letters import bury, delete, deliver, live, states
from tests.ledger.plans import plan_of, reads_all
from worker.ledger import replay_pages
from worker.ledger.dead_letters import DeadLetterCount, count_dead_letters, dead_letter_history, find_letter
from worker.ledger.engine import writing
from worker.ledger.letter_changes import discard_dead_letters
from worker.ledger.pruning import PrunableKind, prune_rows
from worker.ledger.redriving import redrivable
from worker.ledger.replay_pages import contents_of_letters, mark_page, next_page
from worker.ledger.replays import (
    create_replay,
    end_replay,
    find_replays,
    get_replay,
    replay_counts,
    replay_result,
    running_replays,
)
from worker.ledger.schema import dead_letters
from worker.model.deliveries import Cause, Failure
from worker.model.errors import InvalidReplay, NotFoundError
from worker.model.failures import FailureCode
from worker.model.replays import DeadLetterFilter, Page, Replay, ReplayResult, ReplayState


def replay_of(
    engine: Engine, selection: DeadLetterFilter | None = None, target_id: str | None = None
) -> Replay:
    """Make a replay of all that waits, or of less."""
    return create_replay(
        engine, selection or DeadLetterFilter(), target_id=target_id, rate=200, made_by="a test"
    )


def events(engine: Engine, replay: Replay, most: int = 100) -> list[str]:
    """Name the events of the next page."""
    return [letter.event.id for letter in next_page(engine, replay, most)[0]]


def hand_over(engine: Engine, replay: Replay, most: int = 100, *, at_ms: int = NOON + 120_000) -> list[str]:
    """Take the next page and note that it was handed over; name its events."""
    letters, superseded = next_page(engine, replay, most)
    number = get_replay(engine, replay.id).pages + 1
    mark_page(engine, Page(replay.id, number, [letter.id for letter in letters], superseded, at_ms))
    return [letter.event.id for letter in letters]


@pytest.fixture
def filled(engine: Engine) -> Engine:
    """Give a ledger with letters of two integrations, of a deleted one, and of no event."""
    live(engine, "int_a", "int_b", "int_gone")
    live(engine, "int_other", tenant="other")
    bury(engine, "a1", "a2")
    bury(engine, "b1", integration_id="int_b", dead_ms=NOON + 10_000)
    refused = Failure(FailureCode.EVENT_REFUSED, "no such index", "create it", 400)
    bury(engine, "b2", integration_id="int_b", cause=Cause.REFUSED, failure=refused, dead_ms=NOON + 20_000)
    bury(engine, "o1", integration_id="int_other", dead_ms=NOON + 30_000)
    bury(engine, "g1", integration_id="int_gone", cause=Cause.DELETED, dead_ms=NOON + 40_000)
    bury(engine, "", integration_id=None, cause=Cause.INVALID, dead_ms=NOON + 50_000)
    delete(engine, "int_gone")
    return engine


def test_a_filter_rests_as_the_release_before_reads_it() -> None:
    """A new field that is left out is not stored; those that 0.1.0 knows keep their names."""
    asked = DeadLetterFilter(ids=("1-0-0",), integration_id="int_a", tenant_id="a", since_ms=1, most_deaths=3)

    assert msgspec.json.encode(asked) == (
        b'{"ids":["1-0-0"],"integration_id":"int_a","tenant_id":"a","since_ms":1,"most_deaths":3}'
    )
    assert msgspec.json.encode(DeadLetterFilter()) == b"{}"


#: Filters, and the events whose letters they select.
SELECTIONS: list[tuple[DeadLetterFilter, list[str]]] = [
    (DeadLetterFilter(), ["a1", "a2", "b1", "b2", "o1"]),
    (DeadLetterFilter(integration_id="int_a"), ["a1", "a2"]),
    (DeadLetterFilter(tenant_id="other"), ["o1"]),
    (DeadLetterFilter(tenant_id="default"), ["a1", "a2", "b1", "b2"]),
    (DeadLetterFilter(since_ms=NOON + 1, until_ms=NOON + 10_000), ["a2", "b1"]),
    (DeadLetterFilter(event_types=("policy.deny",)), ["a1", "a2", "b1", "b2", "o1"]),
    (DeadLetterFilter(event_types=("policy.allow",)), []),
    (DeadLetterFilter(causes=("refused",)), ["b2"]),
    (DeadLetterFilter(codes=("event_refused", "nonsense")), ["b2"]),
    (DeadLetterFilter(most_deaths=1), ["a1", "a2", "b1", "b2", "o1"]),
    (DeadLetterFilter(most_deaths=0), []),
]


def test_a_selection_means_what_it_says(filled: Engine, subtests: pytest.Subtests) -> None:
    """By integration, tenant, time, type, cause, code and number of deaths; the oldest first."""
    for selection, meant in SELECTIONS:
        with subtests.test(selection=selection):
            replay = replay_of(filled, selection)

            assert events(filled, replay) == meant
            assert replay.total == len(meant)


def test_letters_are_chosen_by_id(filled: Engine) -> None:
    """Ids may be mixed with what is not there."""
    [first, *_], _ = next_page(filled, replay_of(filled), 10)

    assert events(filled, replay_of(filled, DeadLetterFilter(ids=(first.id, "1-1-1")))) == [first.event.id]


def test_the_count_says_what_cannot_be_replayed(filled: Engine) -> None:
    """What was no event has nowhere to go; what had a deleted integration has not either, unless named."""
    at_home = count_dead_letters(filled, DeadLetterFilter())
    elsewhere = count_dead_letters(filled, DeadLetterFilter(), elsewhere=True)

    assert at_home == DeadLetterCount(
        5,
        1,
        0,
        1,
        {
            ("int_a", "destination_busy"): 2,
            ("int_b", "event_refused"): 1,
            ("int_b", "destination_busy"): 1,
            ("int_gone", "destination_busy"): 1,
            ("int_other", "destination_busy"): 1,
            (None, "destination_busy"): 1,
        },
        NOON + 50_000,
    )
    assert elsewhere.replayable == 6
    assert elsewhere.invalid == 1
    assert elsewhere.homeless == 0
    assert at_home.total == elsewhere.total == 7


def test_a_replay_into_another_integration(filled: Engine) -> None:
    """It gets all of it, even of an integration that is gone; each event once."""
    bury(filled, "a1", integration_id="int_b", dead_ms=NOON + 15_000)
    letters, superseded = next_page(filled, replay_of(filled, target_id="int_a"), 100)

    assert [letter.event.id for letter in letters] == ["a1", "a2", "b1", "b2", "o1", "g1"]
    assert {letter.target_id for letter in letters} == {"int_a"}
    assert len(superseded) == 1


def test_pages_go_through_everything_once(filled: Engine) -> None:
    """Page after page, in order, until nothing is left; the replay counts them."""
    replay = replay_of(filled)
    pages = [hand_over(filled, replay, 2) for _ in range(4)]
    ended = get_replay(filled, replay.id)

    assert pages == [["a1", "a2"], ["b1", "b2"], ["o1"], []]
    assert ended.replayed == 5
    assert ended.skipped == 0
    assert ended.pages == 4
    assert states(filled)["a1"] == "replayed"
    assert states(filled)["g1"] == "waiting"


def test_a_page_counts_once(filled: Engine) -> None:
    """To report a page again changes nothing."""
    replay = replay_of(filled)
    letters, _ = next_page(filled, replay, 2)
    page = Page(replay.id, 1, [letter.id for letter in letters], [], NOON)

    assert [mark_page(filled, page), mark_page(filled, page)] == [True, False]
    assert get_replay(filled, replay.id).replayed == 2
    assert events(filled, replay) == ["b1", "b2", "o1"]
    assert replay_counts(filled) == ({"running": 1}, 2)


def test_replayed_events_are_counted_beyond_their_replays(filled: Engine) -> None:
    """Replays are pruned, and a total that falls would be taken for a restart."""
    before = replay_counts(filled)
    replay = replay_of(filled)
    hand_over(filled, replay, 2)
    hand_over(filled, replay, 1)
    end_replay(filled, replay.id, ReplayState.DONE)
    ended = replay_counts(filled)
    prune_rows(filled, PrunableKind.REPLAYS, replay.created_ms + 1, 10)

    assert before == ({}, 0)
    assert ended == ({"done": 1}, 3)
    assert replay_counts(filled) == ({}, 3)


def test_what_was_delivered_meanwhile_is_not_replayed(filled: Engine) -> None:
    """Its letter waits no longer all the same; delivered elsewhere does not count."""
    deliver(filled, ["a1"])
    deliver(filled, ["a2"], integration_id="int_b")
    replay = replay_of(filled, DeadLetterFilter(integration_id="int_a"))
    handed = hand_over(filled, replay)

    assert handed == ["a2"]
    assert states(filled, "int_a") == {"a1": "superseded", "a2": "replayed"}
    assert (get_replay(filled, replay.id).replayed, get_replay(filled, replay.id).skipped) == (1, 1)


@pytest.mark.parametrize("most", [1, 100], ids=["one a page", "all on one page"])
def test_several_letters_of_an_event_send_it_once(engine: Engine, most: int) -> None:
    """On one page or on several, the oldest letter stands for all."""
    live(engine, "int_a")
    for dead_ms in (NOON, NOON + 10, NOON + 20):
        bury(engine, "e1", dead_ms=dead_ms)
    replay = replay_of(engine)
    handed = [hand_over(engine, replay, most) for _ in range(4)]
    ended = get_replay(engine, replay.id)

    assert [event for page in handed for event in page] == ["e1"]
    assert ended.total == 3
    assert ended.replayed == 1
    assert ended.skipped == 2


def test_what_dies_of_a_replay_is_not_in_it(engine: Engine) -> None:
    """Nor is anything else that died after the replay was made: it comes to an end."""
    live(engine, "int_a")
    bury(engine, "e1")
    replay = replay_of(engine)
    hand_over(engine, replay)
    bury(engine, "e1", "e2", dead_ms=NOON + 130_000)

    assert next_page(engine, replay, 10) == ([], [])
    assert events(engine, replay_of(engine)) == ["e1", "e2"]


def test_closed_integrations_are_left_for_later(filled: Engine) -> None:
    """Their letters are passed over, and come when asked for without."""
    replay = replay_of(filled)
    letters, _ = next_page(filled, replay, 100, {"int_a", "int_other"})

    assert [letter.event.id for letter in letters] == ["b1", "b2"]
    assert events(filled, replay) == ["a1", "a2", "b1", "b2", "o1"]


def test_a_page_is_not_too_heavy(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are cut by bytes; a letter that is too heavy by itself has one of its own."""
    live(engine, "int_a")
    bury(engine, "e1", "e2", "e3")
    monkeypatch.setattr(replay_pages, "HEAVIEST_PAGE", 25)
    replay = replay_of(engine)
    two_fit = hand_over(engine, replay)
    monkeypatch.setattr(replay_pages, "HEAVIEST_PAGE", 1)

    assert two_fit == ["e1", "e2"]
    assert events(engine, replay) == ["e3"]


@pytest.mark.parametrize("url", ["postgres"], indirect=True)
def test_a_letter_that_is_pruned_meanwhile_ends_no_page(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of an earlier release, whose digest its payload would tell: it is gone, and the others are sent."""
    live(engine, "int_a")
    bury(engine, "e1", "e2")
    with writing(engine) as connection:
        connection.execute(update(dead_letters).values(content=None))
    replay = replay_of(engine)

    def pruning_first(connection: Connection, rows: list[Any]) -> dict[str, str]:
        prune_rows(engine, PrunableKind.DEAD_LETTERS, NOON + 1, 1)
        return contents_of_letters(connection, rows)

    monkeypatch.setattr(replay_pages, "contents_of_letters", pruning_first)
    letters, gone = next_page(engine, replay, 10)

    assert [letter.event.id for letter in letters] == ["e2"]
    assert len(gone) == 1


def test_the_events_are_as_they_were_published(engine: Engine) -> None:
    """The very bytes, and the times that a delivery has."""
    live(engine, "int_a")
    bury(engine, "e1")
    [letter], _ = next_page(engine, replay_of(engine), 1)

    assert letter.event.raw == b'{"id": "e1"}'
    assert (letter.event.time_ms, letter.event.published_ms) == (NOON - 30, NOON - 10)
    assert (letter.event.type, letter.target_id) == ("policy.deny", "int_a")


def test_fates_tell_what_became_of_a_replay(engine: Engine) -> None:
    """Delivered, dead once more, or neither yet: by settlements after the hand-over alone."""
    live(engine, "int_a", "int_b")
    bury(engine, "e1", "e2", "e3")
    replay = replay_of(engine, target_id="int_b")
    hand_over(engine, replay)
    at_first = replay_result(engine, replay)
    deliver(engine, ["e1"], integration_id="int_b", settled_ms=NOON + 121_000)
    deliver(engine, ["e3"], integration_id="int_a", settled_ms=NOON + 121_000)
    bury(engine, "e2", integration_id="int_b", dead_ms=NOON + 122_000)

    assert at_first == ReplayResult(under_way=3)
    assert replay_result(engine, replay) == ReplayResult(delivered=1, dead=1, under_way=1)


def test_replays_are_listed_and_end(filled: Engine) -> None:
    """The newest comes first; what has ended runs no more, and does not end twice."""
    first, second = replay_of(filled), replay_of(filled, DeadLetterFilter(integration_id="int_b"))

    assert {one.id for one in find_replays(filled)} == {first.id, second.id}
    assert [one.selection for one in running_replays(filled) if one.id == second.id] == [second.selection]
    assert end_replay(filled, first.id, ReplayState.CANCELLED, "why")
    assert not end_replay(filled, first.id, ReplayState.DONE)
    assert [one.id for one in running_replays(filled)] == [second.id]
    assert get_replay(filled, first.id).note == "why"
    with pytest.raises(NotFoundError, match="no replay rpl_1"):
        get_replay(filled, "rpl_1")


@pytest.mark.parametrize("rate", [0, -1, 10_001])
def test_a_rate_that_is_none_is_refused(engine: Engine, rate: int) -> None:
    """The error says what would be right."""
    with pytest.raises(InvalidReplay, match=r"rate: is .*; give 1 to 10000"):
        create_replay(engine, DeadLetterFilter(), target_id=None, rate=rate, made_by="a test")


def test_too_many_ids_are_refused() -> None:
    """The error says how many would do."""
    with pytest.raises(InvalidReplay, match="id: 501 are too many; name at most 500"):
        DeadLetterFilter(ids=tuple(map(str, range(501))))


def test_discarded_letters_wait_no_longer(filled: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """In small transactions; the letter keeps its payload, and no replay takes it."""
    monkeypatch.setattr("worker.ledger.letter_changes.STEP", 1)
    discarded = discard_dead_letters(filled, DeadLetterFilter(integration_id="int_a"), NOON)
    [waiting], _ = next_page(filled, replay_of(filled, DeadLetterFilter(integration_id="int_a")), 10)
    everything = discard_dead_letters(filled, DeadLetterFilter(), NOON + 60_000)

    assert (discarded, everything) == (1, 6)
    assert waiting.event.id == "a2"
    assert set(states(filled).values()) == {"discarded"}
    assert find_letter(filled, waiting.id).payload == b'{"id": "a2"}'


QUESTIONS: dict[str, Callable[..., object]] = {
    "a page of all": lambda engine, of_all, of_one: next_page(engine, of_all, 10),  # noqa: ARG005 - as all are called
    "a page of one": lambda engine, of_all, of_one: next_page(engine, of_one, 10),  # noqa: ARG005 - the same
    "what runs": lambda engine, **_: running_replays(engine),
    "the latest": lambda engine, **_: find_replays(engine),
    "replay_result": lambda engine, of_all, of_one: replay_result(engine, of_all),  # noqa: ARG005 - the same
    "deaths of an event": lambda engine, **_: dead_letter_history(engine, "a1", "int_a", None),
    "what can be redriven": lambda engine, **_: redrivable(engine),
}


def test_questions_about_replays_are_answered_by_an_index(filled: Engine) -> None:
    """Nothing that is asked every second, or for every page, reads a table from end to end."""
    first, second = replay_of(filled), replay_of(filled, DeadLetterFilter(integration_id="int_b"))
    hand_over(filled, first, 1)
    whole = {}
    for name, question in QUESTIONS.items():
        plan = plan_of(filled, partial(question, of_all=first, of_one=second))
        whole[name] = [line for line in plan if reads_all(line) and "integrations" not in line]

    assert {name: lines for name, lines in whole.items() if lines} == {}


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("target_id", [None, "int_b"])
def test_replays_look_events_up_by_their_ids(filled: Engine, target_id: str | None) -> None:
    """Never, for each letter or page, among all of an integration, or all that a replay handed over."""
    replay = replay_of(filled, target_id=target_id)
    hand_over(filled, replay, 1)
    looked = plan_of(filled, lambda engine: replay_result(engine, replay))
    page = plan_of(filled, lambda engine: next_page(engine, replay, 10))

    assert [line for line in looked if "SEARCH deliveries USING INDEX sqlite_autoindex_deliveries_1" in line]
    assert [line for line in page if "SEARCH deliveries USING INDEX sqlite_autoindex_deliveries_1" in line]
    assert [line for line in page if "SEARCH dead_letters USING INDEX dead_letters_of_event" in line]
    assert not [line for line in page if "dead_letters_replayed" in line]
