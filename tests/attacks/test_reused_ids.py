"""An event id that is used again for another event must not overwrite what became of the first one."""

from collections.abc import Sequence
from itertools import permutations

import msgspec
import pytest
from sqlalchemy import Engine, update

from tests.api.conftest import Api, api, bare_fleet
from tests.cli.running import call
from tests.ledger.conftest import empty, engine, sqlite_url, url
from tests.ledger.entries import NOON, REFUSAL, letter, outcome
from tests.ledger.letters import live
from tests.pages.conftest import HOME, THEIRS, Site, site, standing_site
from worker.broker.packing import pack_outcomes, unpack_outcomes
from worker.ledger.attempts import attempts_of
from worker.ledger.deliveries import find_deliveries, tallies
from worker.ledger.engine import writing
from worker.ledger.pruning import PrunableKind, prune_rows
from worker.ledger.recording import record_entries
from worker.ledger.replay_pages import mark_page, next_page
from worker.ledger.replays import create_replay, replay_result
from worker.ledger.results import DeliveryRow
from worker.ledger.schema import dead_letters
from worker.model.deliveries import EventTrace, Outcome, Status, Withdrawn
from worker.model.events import QueuedEvent
from worker.model.outcomes import content_of
from worker.model.replays import DeadLetterFilter, Page, Replay
from worker.model.settlement import withdrawal

__all__ = ["api", "bare_fleet", "empty", "engine", "site", "sqlite_url", "standing_site", "url"]

DENY, ALERT = b'{"id":"evt","type":"policy.deny"}', b'{"id":"evt","type":"policy.alert"}'


def settled(
    raw: bytes | None, status: Status = Status.DELIVERED, event: str = "evt", attempts: int = 1
) -> Outcome:
    """Say what became of an event with these bytes; without any, as an earlier release does."""
    made = outcome([event], status)
    content = "" if raw is None else content_of(raw)
    return msgspec.structs.replace(
        made,
        events=[msgspec.structs.replace(one, content=content, attempts=attempts) for one in made.events],
    )


def known(engine: Engine) -> list[tuple[str, str | None, Status, bool]]:
    """Return what stands in the ledger, in the order in which it came."""
    rows = sorted(find_deliveries(engine), key=lambda row: (row.reused_id, row.content or ""))
    return [(row.event_id, row.content, row.status, row.reused_id) for row in rows]


def test_both_are_kept_apart(engine: Engine) -> None:
    """What was denied and died is still denied and dead, whatever came under its id later."""
    record_entries(engine, [("5-0", [settled(DENY, Status.DEAD)])], [])
    record_entries(engine, [("6-0", [settled(ALERT)])], [])
    record_entries(engine, [("7-0", [settled(b"third", Status.RETRYING)])], [])
    record_entries(engine, [("8-0", [settled(b"third")])], [])

    assert known(engine) == [
        ("evt", content_of(DENY), Status.DEAD, False),
        *sorted(
            [
                ("evt", content_of(ALERT), Status.DELIVERED, True),
                ("evt", content_of(b"third"), Status.DELIVERED, True),
            ],
            key=lambda row: row[1],
        ),
    ]
    assert [row.event_id for row in find_deliveries(engine, event_id="evt")] == ["evt"] * 3
    assert find_deliveries(engine, event_id="ev") == find_deliveries(engine, event_id="evt_") == []
    assert (tallies(engine)["int_a"].delivered, tallies(engine)["int_a"].dead) == (2, 1)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_in_one_transaction_and_in_any_order(engine: Engine, order: Sequence[int]) -> None:
    """Recorders take many entries at once; of each content the last settlement stands."""
    entries = [
        ("5-0", [settled(DENY, Status.RETRYING), settled(b"x", event="other")]),
        ("5-1", [settled(ALERT)]),
        ("5-2", [settled(DENY, Status.DEAD)]),
    ]
    record_entries(engine, [entries[place] for place in order], [])
    found = {(row.event_id, row.content): row.status for row in find_deliveries(engine)}

    assert found == {
        ("evt", content_of(DENY)): Status.DEAD,
        ("evt", content_of(ALERT)): Status.DELIVERED,
        ("other", content_of(b"x")): Status.DELIVERED,
    }


def test_the_same_bytes_again_are_the_same_delivery(engine: Engine) -> None:
    """A publisher that missed the answer sends them again."""
    for version in range(3):
        record_entries(engine, [(f"{5 + version}-0", [settled(DENY)])], [])
    record_entries(engine, [("9-0", [settled(DENY)]), ("9-1", [settled(DENY)])], [])

    assert known(engine) == [("evt", content_of(DENY), Status.DELIVERED, False)]


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("order", [(DENY, None, None), (None, DENY, None), (None, None, DENY)])
def test_a_worker_of_an_earlier_release_is_understood(
    engine: Engine, order: Sequence[bytes | None], *, at_once: bool
) -> None:
    """It gives no content: that is the content that is known, and the latest settlement stands."""
    statuses = (Status.RETRYING, Status.RETRYING, Status.DELIVERED)
    entries = [
        (f"5-{place}", [settled(raw, status, attempts=place + 1)])
        for place, (raw, status) in enumerate(zip(order, statuses, strict=True))
    ]
    for some in [entries] if at_once else [[one] for one in entries]:
        record_entries(engine, some, [])

    assert known(engine) == [("evt", content_of(DENY), Status.DELIVERED, False)]


def test_an_earlier_release_reads_what_this_one_packs() -> None:
    """What it does not know stands at the end, and is skipped."""

    class OldTrace(msgspec.Struct, frozen=True, array_like=True, gc=False):
        id: str
        type: str
        time_ms: int
        published_ms: int
        attempts: int

    trace = EventTrace("evt", "policy.deny", 1, 2, 3, content_of(DENY))
    old = msgspec.msgpack.encode(OldTrace("evt", "policy.deny", 1, 2, 3))

    assert msgspec.msgpack.decode(msgspec.msgpack.encode(trace), type=OldTrace).attempts == 3
    assert msgspec.msgpack.decode(old, type=EventTrace).content == ""
    assert unpack_outcomes(pack_outcomes([settled(DENY)])) == [settled(DENY)]


def test_pages_of_a_list_pass_them_all(engine: Engine) -> None:
    """A page may end between two events of one id."""
    for version in range(5):
        record_entries(engine, [(f"{5 + version}-0", [settled(b"%d" % version)])], [])
    seen: list[DeliveryRow] = []
    place = None
    while page := find_deliveries(engine, limit=2, before=place):
        seen += page
        place = page[-1].place

    assert {row.content for row in seen} == {content_of(b"%d" % version) for version in range(5)}
    assert len(seen) == 5


def replay_of(engine: Engine) -> Replay:
    """Replay all that waits."""
    return create_replay(engine, DeadLetterFilter(), target_id=None, rate=100, made_by="test", quotas=None)


@pytest.mark.parametrize(("delivered", "is_replayed"), [(ALERT, True), (DENY, False), (None, False)])
def test_a_letter_is_not_superseded_by_another_event_of_its_id(
    engine: Engine, delivered: bytes | None, *, is_replayed: bool
) -> None:
    """Only the delivery of the very same event spares its replay (of an earlier release's it is unknown)."""
    live(engine, "int_a")
    dead = letter({"evt": DENY})
    record_entries(engine, [("5-0", [settled(DENY, Status.DEAD)])] if delivered else [], [("5-0", dead)])
    record_entries(engine, [("6-0", [settled(delivered)])], [])
    letters, superseded = next_page(engine, replay_of(engine), 10)

    assert [one.event.raw for one in letters] == ([DENY] if is_replayed else [])
    assert len(superseded) == (not is_replayed)


def test_what_is_withdrawn_is_told_apart(engine: Engine) -> None:
    """A receiver that hangs up behind the second event takes back that one, which then goes again."""
    live(engine, "int_a")
    record_entries(engine, [("5-0", [settled(DENY)]), ("5-1", [settled(ALERT)])], [])
    again = QueuedEvent("evt", "policy.alert", NOON, NOON, ALERT)
    outcome, dead = withdrawal("int_a", Withdrawn([again], [1], REFUSAL), NOON)
    record_entries(engine, [("6-0", [outcome])], [("6-0", dead)])
    letters, superseded = next_page(engine, replay_of(engine), 10)

    assert known(engine) == [
        ("evt", content_of(DENY), Status.DELIVERED, False),
        ("evt", content_of(ALERT), Status.DEAD, True),
    ]
    assert ([one.event.raw for one in letters], superseded) == ([ALERT], [])


def test_letters_of_two_events_of_one_id_are_both_replayed(engine: Engine) -> None:
    """And what became of each is shown of each."""
    live(engine, "int_a")
    for place, raw in enumerate((DENY, ALERT)):
        record_entries(
            engine, [(f"5-{place}", [settled(raw, Status.DEAD)])], [(f"5-{place}", letter({"evt": raw}))]
        )
    replay = replay_of(engine)
    letters, superseded = next_page(engine, replay, 10)
    mark_page(engine, Page(replay.id, 1, [one.id for one in letters], [], NOON - 1))
    record_entries(engine, [("9-0", [settled(DENY), settled(ALERT, Status.DEAD)])], [])
    told = replay_result(engine, replay)

    assert {one.event.raw for one in letters} == {DENY, ALERT}
    assert superseded == []
    assert told.delivered == 1
    assert told.dead == 1
    assert told.under_way == 0


@pytest.mark.parametrize("first", [DENY, ALERT])
def test_each_event_of_an_id_is_known_to_be_delivered(engine: Engine, first: bytes) -> None:
    """Whichever died first: what was delivered meanwhile is not sent again, and the other one is."""
    live(engine, "int_a")
    second = ALERT if first is DENY else DENY
    record_entries(engine, [("5-0", [settled(DENY, Status.RETRYING)])], [])
    for place, raw in enumerate((first, second)):
        record_entries(
            engine, [(f"6-{place}", [settled(raw, Status.DEAD)])], [(f"6-{place}", letter({"evt": raw}))]
        )
    record_entries(engine, [("7-0", [settled(ALERT)])], [])
    letters, superseded = next_page(engine, replay_of(engine), 10)

    assert [one.event.raw for one in letters] == [DENY]
    assert len(superseded) == 1


@pytest.mark.parametrize("again", [DENY, ALERT])
def test_what_an_earlier_release_buried_is_known_by_its_bytes(engine: Engine, again: bytes) -> None:
    """It noted no content: that a page before sent it spares the very same event alone."""
    live(engine, "int_a")
    for place, raw in enumerate((DENY, again)):
        record_entries(engine, [], [(f"5-{place}", letter({"evt": raw}, dead_ms=NOON + place))])
    with writing(engine) as connection:
        connection.execute(update(dead_letters).where(dead_letters.c.id == "5-0-0").values(content=None))
    replay = replay_of(engine)
    [first], _ = next_page(engine, replay, 1)
    mark_page(engine, Page(replay.id, 1, [first.id], [], NOON))
    letters, superseded = next_page(engine, replay, 1)

    assert [one.event.raw for one in letters] == ([] if again is DENY else [ALERT])
    assert len(superseded) == (again is DENY)


@pytest.mark.parametrize(
    ("delivered", "buried", "stays"),
    [(ALERT, ALERT, True), (DENY, DENY, True), (ALERT, b"third", False), (ALERT, None, True)],
)
def test_what_spares_a_replay_outlives_its_letter(
    engine: Engine, delivered: bytes, buried: bytes | None, *, stays: bool
) -> None:
    """Deliveries are pruned long before dead letters: the one of a letter that waits is kept beside it."""
    record_entries(engine, [("5-0", [settled(DENY, Status.RETRYING)])], [])
    record_entries(engine, [], [("6-0", letter({"evt": buried or ALERT}))])
    if buried is None:
        with writing(engine) as connection:
            connection.execute(update(dead_letters).values(content=None))
    record_entries(engine, [("7-0", [settled(delivered)])], [])
    prune_rows(engine, PrunableKind.DELIVERIES, NOON + 1, 10)

    assert [row.content for row in find_deliveries(engine)] == ([content_of(delivered)] if stays else [])


def test_the_api_shows_both(api: Api) -> None:
    """Each with its content, and the second with a mark."""
    home = api.create()["id"]
    for version, raw in enumerate((DENY, ALERT)):
        one = msgspec.structs.replace(settled(raw, event="evt_twice"), integration_id=home)
        record_entries(api.fleet.engine, [(f"{NOON}-{version}", [one])], [])
    found = api.get("/deliveries?event_id=evt_twice")["items"]

    assert {(one["content"], one["reused_id"]) for one in found} == {
        (content_of(DENY), False),
        (content_of(ALERT), True),
    }
    assert {one["event_id"] for one in found} == {"evt_twice"}


def bury_both(engine: Engine, home: str = "int_a") -> list[str]:
    """Let two events of one id die at once, as a batch does; return the ids of their letters."""
    told = [msgspec.structs.replace(settled(raw, Status.DEAD), integration_id=home) for raw in (DENY, ALERT)]
    events = [told[0].events[0], msgspec.structs.replace(told[1].events[0], attempts=4)]
    dead = letter({"evt": DENY}, integration_id=home)
    both = msgspec.structs.replace(
        dead, attempts=[1, 4], events=[dead.events[0], msgspec.structs.replace(dead.events[0], raw=ALERT)]
    )
    record_entries(engine, [("5-0", [msgspec.structs.replace(told[0], events=events)])], [("5-0", both)])
    return ["5-0-0", "5-0-1"]


def test_attempts_of_each_are_kept_apart(engine: Engine) -> None:
    """Those of one batch as well; and of one by a worker of an earlier release, each event may be."""
    bury_both(engine)
    record_entries(
        engine, [("4-0", [msgspec.structs.replace(settled(None, Status.RETRYING), settled_ms=1)])], []
    )
    of_deny, of_alert, of_either = (
        [one.number for one in tried]
        for tried in attempts_of(
            engine, "evt", [("int_a", content_of(DENY)), ("int_a", content_of(ALERT)), ("int_a", None)]
        ).values()
    )

    assert (of_deny, of_alert, of_either) == ([1, 1], [1, 4], [1, 1, 4])


def test_every_door_tells_the_attempts_of_each(api: Api) -> None:
    """Beside an event's deliveries, and beside its letter, those of the other are not."""
    home = api.create()["id"]
    letters = bury_both(api.fleet.engine, home)
    found = api.get("/deliveries?event_id=evt")["items"]
    whole = [api.get(f"/integrations/siem/{home}/dead-letters/{one}") for one in letters]
    command = [
        call(api.fleet.environment, "dead-letters", "show", one, "--json").json["history"] for one in letters
    ]
    listed = call(api.fleet.environment, "deliveries", "--event-id", "evt", "--json").json["items"]
    shown = call(api.fleet.environment, "deliveries", "--event-id", "evt").out.splitlines()

    assert {one["content"]: [tried["number"] for tried in one["history"]] for one in found} == {
        content_of(DENY): [1],
        content_of(ALERT): [4],
    }
    for told in (whole, sorted(listed, key=lambda one: one["reused_id"])):
        assert [[tried["number"] for tried in one["history"]] for one in told] == [[1], [4]]
    assert [[tried["number"] for tried in one] for one in command] == [[1], [4]]
    assert [line.endswith("(reused id):") for line in shown if line.startswith("Attempts at")].count(
        True
    ) == 1


def test_a_tenant_does_not_hide_the_event_of_another(site: Site) -> None:
    """By using its id for more events than a page shows, and later ones."""
    ours, theirs = site.integrate("hidden"), site.integrate("hiding", THEIRS)
    record_entries(site.fleet.engine, [(f"{NOON}-7001", [outcome(["evt_hidden"], integration_id=ours)])], [])
    later = outcome(["evt_hidden"] * 1000, integration_id=theirs, settled_ms=NOON + 1)
    traces = [
        msgspec.structs.replace(one, content=content_of(b"%d" % number))
        for number, one in enumerate(later.events)
    ]
    record_entries(site.fleet.engine, [(f"{NOON}-7002", [msgspec.structs.replace(later, events=traces)])], [])
    found = site.visitor().get(f"{HOME}/events", params={"id": "evt_hidden"})

    assert len(find_deliveries(site.fleet.engine, event_id="evt_hidden", limit=2000)) == 1001
    assert found.all("a", href=f"{HOME}/{ours}")
    assert "hiding" not in found.text
