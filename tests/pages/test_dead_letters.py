"""Dead letters on their pages: found, counted before they are replayed, followed, discarded."""

import itertools
from typing import Any

import pytest
from msgspec import structs

from tests.ledger.entries import NOON, letter, outcome
from tests.pages.conftest import HOME, OURS, THEIRS, Site
from tests.pages.reading import Page
from worker.broker.chunks import StoredChunk, dead_chunk
from worker.broker.packing import pack_chunk
from worker.ledger.dead_letters import find_letter
from worker.ledger.recording import record_entries
from worker.ledger.replay_pages import mark_page
from worker.ledger.replays import create_replay, end_replay, find_replays, get_replay
from worker.model.deliveries import Cause, Failure, Status
from worker.model.events import QueuedEvent
from worker.model.failures import FailureCode
from worker.model.replays import DeadLetterFilter, LetterState, ReplayState
from worker.model.replays import Page as ReplayPage

LETTERS, REPLAYS = HOME + "/dead-letters", HOME + "/replays"
_REFUSED = Failure(FailureCode.EVENT_REFUSED, "HTTP 400: no such index", "correct the index", 400)
_entries = itertools.count(1)


def bury(site: Site, home: str, *events: str, **more: Any) -> list[str]:
    """Record dead letters; return their ids."""
    entry = f"{more.get('dead_ms', NOON)}-{9000 + next(_entries)}"
    payloads = {event: b'{"reason": "of %b"}' % event.encode() for event in events}
    record_entries(site.fleet.engine, [], [(entry, letter(payloads, integration_id=home, **more))])
    return [f"{entry}-{place}" for place in range(len(events))]


@pytest.fixture
def home(site: Site) -> str:
    """Give an integration with three dead letters, of two causes, a day apart."""
    made = site.integrate(f"buried-{next(_entries)}")
    bury(site, made, f"{made}-1", f"{made}-2")
    bury(site, made, f"{made}-3", cause=Cause.REFUSED, failure=_REFUSED, dead_ms=NOON + 86_400_000)
    return made


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, {"1", "2", "3"}),
        ({"cause": "refused"}, {"3"}),
        ({"code": "destination_busy"}, {"1", "2"}),
        ({"type": "policy.alert"}, set()),
        ({"type": "policy.deny", "since": "2026-11-23T00:00"}, {"3"}),
        ({"until": "2026-11-23T00:00+00:00"}, {"1", "2"}),
    ],
)
def test_a_filter_finds_what_it_says(site: Site, home: str, query: dict[str, str], found: set[str]) -> None:
    """And what it found is what the form below it counts, and would replay."""
    visitor = site.visitor()
    page = visitor.get(LETTERS, params={"integration": home, **query})
    counted = Page(visitor.post(LETTERS + "/count", status=200, integration=home, **query).text)

    assert {number for number in "123" if f"{home}-{number}" in page.text} == found
    assert ("No dead letter matches" in page.text) == (not found)
    assert f"{len(found)} dead letter" in counted.text


@pytest.mark.parametrize(("field", "value"), [("cause", "boredom"), ("type", "policy"), ("since", "then")])
def test_a_filter_that_means_nothing_is_named(site: Site, field: str, value: str) -> None:
    """Instead of a list of everything, which someone might replay."""
    visitor = site.visitor()

    assert field in visitor.get(LETTERS, 422, params={field: value}).text
    visitor.post(LETTERS + "/count", status=422, **{field: value})
    visitor.post(REPLAYS, status=422, **{field: value})


def test_many_are_shown_a_page_at_a_time(site: Site) -> None:
    """The latest first, none twice and none left out."""
    home = site.integrate(f"many-{next(_entries)}")
    bury(site, home, *(f"{home}-{number:03}" for number in range(120)))
    visitor, path, seen = site.visitor(), f"{LETTERS}?integration={home}", []
    while path:
        page = visitor.get(path)
        seen.append({word for word in page.words if word.startswith(home + "-")})
        path = next((one.attributes["href"] for one in page.all("a", rel="next")), "")

    assert [len(one) for one in seen] == [50, 50, 20]
    assert len(set().union(*seen)) == 120


def test_counting_sends_nothing(site: Site, home: str) -> None:
    """It names integration and reason, and asks how fast."""
    counted = Page(site.visitor().post(LETTERS + "/count", status=200, integration=home).text)

    assert counted.filled["integration"] == [home]
    assert {"destination_busy", "event_refused"} <= set(counted.words)
    assert not any(one.integration_id == home for one in replays(site))


def test_what_was_counted_is_replayed_and_followed(site: Site, home: str) -> None:
    """The form of the count makes the replay; its page shows it, and can end it."""
    visitor = site.visitor()
    counted = Page(visitor.post(LETTERS + "/count", status=200, integration=home, cause="refused").text)
    place = visitor.http.post(REPLAYS, data=counted.filled | {"rate": "7"}).headers["location"]
    page = visitor.get(place)
    made = get_replay(site.fleet.engine, place.rpartition("/")[2])

    assert made.total == 1
    assert made.rate == 7
    assert made.selection.causes == (Cause.REFUSED.value,)
    assert "Replay of 1 dead letter" in page.text
    assert "at most 7 events a second" in page.text
    assert page.all("progress", max="1")

    visitor.post(place + "/cancel")
    assert "Cancelled" in visitor.get(place).text
    assert get_replay(site.fleet.engine, made.id).state is ReplayState.CANCELLED


def test_what_died_since_the_count_is_not_replayed(site: Site, home: str) -> None:
    """The button says how many; should that not hold any more, it is asked once more."""
    visitor = site.visitor()
    counted = Page(visitor.post(LETTERS + "/count", status=200, integration=home).text)
    bury(site, home, f"{home}-late", dead_ms=NOON + 2 * 86_400_000)
    place = visitor.http.post(REPLAYS, data=counted.filled).headers["location"]
    twice = visitor.http.post(REPLAYS, data=counted.filled)
    made = get_replay(site.fleet.engine, place.rpartition("/")[2])

    assert made.total == int(counted.filled["counted"][0])
    assert made.selection.until_ms == int(counted.filled["upto"][0])
    assert twice.headers["location"] == place

    recount = visitor.http.post(REPLAYS, data=counted.filled | {"counted": ["77"], "form": [""]})
    assert recount.status_code == 409
    assert "The number has changed" in Page(recount.text).text


@pytest.mark.parametrize(
    ("became", "state", "words"),
    [
        (Status.DEAD, "failing", "all failed again"),
        (Status.DELIVERED, "healthy", "all were delivered"),
    ],
)
def test_a_replay_ends_in_the_colour_of_what_became_of_it(
    site: Site, home: str, became: Status, state: str, words: str
) -> None:
    """That everything died once more is no success."""
    engine = site.fleet.engine
    event = f"{home}-again"
    [letter_id] = bury(site, home, event)
    replay = create_replay(
        engine, DeadLetterFilter(ids=(letter_id,), tenant_id=OURS), target_id=None, rate=5, made_by="a test"
    )
    assert mark_page(engine, ReplayPage(replay.id, 1, [letter_id], [], NOON + 1000))
    record_entries(
        engine,
        [
            (
                f"{NOON + 2000}-{next(_entries)}",
                [outcome([event], became, integration_id=home, settled_ms=NOON + 2000)],
            )
        ],
        [],
    )
    end_replay(engine, replay.id, ReplayState.DONE)
    page = site.visitor().get(f"{REPLAYS}/{replay.id}")

    assert words in page.text
    assert page.all("progress")[0].attributes["class"] == state


def test_one_letter_is_read_and_replayed_into_another_integration(site: Site, home: str) -> None:
    """Its page shows the event as it was published, why it died, and what mends it."""
    other = site.integrate(f"other-{next(_entries)}")
    [letter_id] = bury(site, home, f"{home}-4", cause=Cause.REFUSED, failure=_REFUSED)
    visitor = site.visitor()
    page = visitor.get(f"{LETTERS}/{letter_id}")
    answer = visitor.post(REPLAYS, id=letter_id, into=other)
    made = get_replay(site.fleet.engine, answer.headers["location"].rpartition("/")[2])

    assert '"reason": "of' in page.text
    assert "HTTP 400: no such index" in page.text
    assert "Hint: correct the index" in page.text
    assert (made.total, made.target_id) == (1, other)


@pytest.mark.parametrize("rate", ["0", "fast", "1000000000"])
def test_a_rate_that_cannot_be_is_named(site: Site, home: str, rate: str) -> None:
    """No replay is made."""
    answer = site.visitor().post(REPLAYS, status=422, integration=home, rate=rate)

    assert "rate" in answer.text
    assert not any(one.integration_id == home for one in replays(site))


def test_a_discarded_letter_waits_no_more(site: Site, home: str) -> None:
    """It can still be read, but is neither listed nor replayed."""
    [letter_id] = bury(site, home, f"{home}-5")
    visitor = site.visitor()
    asked = visitor.get(visitor.post(f"{LETTERS}/{letter_id}/discard").headers["location"])
    assert "will not be delivered" in asked.text
    assert find_letter(site.fleet.engine, letter_id).state is LetterState.WAITING
    visitor.http.post(f"{LETTERS}/{letter_id}/discard", data=asked.filled)

    assert find_letter(site.fleet.engine, letter_id).state is LetterState.DISCARDED
    assert f"{home}-5" not in visitor.get(LETTERS, params={"integration": home}).text
    assert "discarded" in visitor.get(f"{LETTERS}/{letter_id}").text


@pytest.mark.parametrize(
    ("event", "called"), [("evt_invalid", "event evt_invalid"), ("", "an event without")]
)
def test_an_invalid_event_is_called_what_it_is(site: Site, event: str, called: str) -> None:
    """It is counted beside what can be replayed, with how to deal with it; a discard loses its correction."""
    entry = f"{NOON}-{9000 + next(_entries)}"
    dead = letter({event: b"{}"}, integration_id=None, cause=Cause.INVALID, failure=_REFUSED)
    record_entries(site.fleet.engine, [], [(entry, structs.replace(dead, tenant_id=OURS))])
    visitor = site.visitor()
    counted = Page(visitor.post(LETTERS + "/count", status=200, id=f"{entry}-0").text)
    asked = visitor.get(f"{LETTERS}/{entry}-0/discard")

    assert "0 dead letters would be sent again. 1 cannot: it is not a valid event." in counted.text
    assert counted.all("a", href=f"{LETTERS}?cause=invalid")
    assert "none (invalid event) event_refused 1" in counted.text
    assert f"Discard {called}" in asked.text
    assert "cannot be corrected and published any more" in asked.text
    assert "delivered to" not in asked.text


def test_another_tenants_letters_are_neither_found_nor_touched(site: Site) -> None:
    """Whatever a form says of integration, letter or target."""
    theirs, ours = site.integrate(f"far-{next(_entries)}", THEIRS), site.integrate(f"near-{next(_entries)}")
    [letter_id] = bury(site, theirs, "evt_theirs")
    visitor = site.visitor()

    assert "evt_theirs" not in visitor.get(LETTERS, params={"integration": theirs}).text
    visitor.get(f"{LETTERS}/{letter_id}", 404)
    visitor.post(f"{LETTERS}/{letter_id}/discard", status=404)
    visitor.post(REPLAYS, status=404, integration=ours, into=theirs)
    answer = visitor.http.post(REPLAYS, data={"csrf": visitor.csrf(), "id": letter_id})
    if answer.status_code == 303:
        assert get_replay(site.fleet.engine, answer.headers["location"].rpartition("/")[2]).total == 0
    assert find_letter(site.fleet.engine, letter_id).state is LetterState.WAITING


def replays(site: Site) -> list[Any]:
    """Return the selections of all replays."""
    return [one.selection for one in find_replays(site.fleet.engine, 1000)]


def test_what_was_damaged_in_redis_is_shown_and_not_replayed(site: Site) -> None:
    """Whether or not its type is known: what is left of it, no button to replay it, and why not."""
    made = site.integrate(f"damaged-{next(_entries)}")
    known = pack_chunk([QueuedEvent(f"{made}-1", "policy.deny", 5, 6, b"{\xff")])
    fields = [b"n", b"2", b"bytes", b"2", b"events", known, b"crc", b"00000000"]
    found = dead_chunk(made, StoredChunk("urgent", b"1795600000000-0", fields), "its checksum is wrong", NOON)
    assert found.dead is not None
    assert found.outcome is not None
    entry = f"{NOON}-{9000 + next(_entries)}"
    record_entries(site.fleet.engine, [(entry, [found.outcome])], [(entry, found.dead)])
    visitor = site.visitor()

    listed = visitor.get(LETTERS, params={"integration": made, "cause": "unreadable"}).text
    assert f"{made}-1" in listed
    assert "unreadable:urgent:1795600000000-0:1" in listed
    for place in (0, 1):
        shown = visitor.get(f"{LETTERS}/{entry}-{place}").text
        assert "What is left of it in Redis" in shown
        assert ">Replay<" not in shown
    counted = visitor.post(LETTERS + "/count", status=200, integration=made).text
    assert "2 cannot: they were damaged in Redis" in counted
    assert "not known" in visitor.get(f"{HOME}/{made}").text
