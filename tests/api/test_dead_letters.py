"""What became of events: filters, pages, single dead letters; and nothing of another tenant's."""

import itertools
from typing import Any

import pytest

from tests.api.conftest import PUBLISH_ONLY, READ_ONLY, THEIRS, Api
from tests.api.settled import bury, pages, settle
from tests.ledger.entries import NOON
from worker.cli.output import when
from worker.ledger.recording import record_entries
from worker.model.deliveries import Cause, DeadLetter, EventTrace, Failure, Outcome, Status
from worker.model.events import QueuedEvent
from worker.model.failures import FailureCode
from worker.model.outcomes import content_of

_AT = "2026-11-22T22:15:00"
_TIMEOUT = Failure(FailureCode.TIMED_OUT, "no answer", "see that it is well")


def _events(page: Any) -> list[str]:
    return [one["event_id"] for one in page["items"]]


@pytest.fixture
def settled(api: Api) -> str:
    """Give an integration with four settled events, a second apart."""
    home: str = api.create()["id"]
    settle(api, home, Status.DELIVERED, f"{home}-a", at_ms=NOON)
    settle(api, home, Status.RETRYING, f"{home}-b", at_ms=NOON + 1000)
    settle(api, home, Status.DEAD, f"{home}-c", at_ms=NOON + 2000)
    settle(api, home, Status.DELIVERED, f"{home}-d", at_ms=NOON + 3000)
    return home


def test_deliveries_show_what_became_of_events(api: Api, settled: str) -> None:
    """The latest first, each with when, why and what would mend it."""
    page = api.get(f"/integrations/siem/{settled}/deliveries", role=READ_ONLY)

    assert _events(page) == [f"{settled}-{letter}" for letter in "dcba"]
    assert page["next"] is None
    assert page["items"][2] == {
        "integration_id": settled,
        "event_id": f"{settled}-b",
        "event_type": "policy.deny",
        "status": "retrying",
        "attempts": 1,
        "http_status": 503,
        "error_code": "destination_busy",
        "error": "the server is busy",
        "hint": "wait until it is well",
        "event_at": "2026-11-22T22:15:00.970Z",
        "published_at": "2026-11-22T22:15:00.990Z",
        "settled_at": "2026-11-22T22:15:01.000Z",
        "latency_ms": None,
        "next_try_at": "2026-11-22T22:15:03.000Z",
        "assurance": None,
        "content": None,
        "reused_id": False,
    }


def test_deliveries_are_filtered(api: Api, settled: str) -> None:
    """By status, type, event and time, both ends inclusive."""
    cases: list[tuple[dict[str, str], str]] = [
        ({"status": "delivered"}, "da"),
        ({"status": "dead"}, "c"),
        ({"type": "policy.deny"}, "dcba"),
        ({"type": "hold.denied"}, ""),
        ({"event_id": f"{settled}-b"}, "b"),
        ({"since": f"{_AT[:-2]}01Z"}, "dcb"),
        ({"until": f"{_AT[:-2]}01Z"}, "ba"),
        ({"since": "2026-11-23T00:15:01+02:00", "until": f"{_AT[:-2]}02Z"}, "cb"),
    ]
    for query, found in cases:
        page = api.get(f"/integrations/siem/{settled}/deliveries", params=query)

        assert _events(page) == [f"{settled}-{letter}" for letter in found], query


@pytest.mark.parametrize(("lists", "own"), [("deliveries", "status"), ("dead-letters", "cause")])
def test_a_wrong_filter_is_named(api: Api, settled: str, lists: str, own: str) -> None:
    """A filter that is not understood is never ignored."""
    for field, value in (
        ("since", "2026-11-22T10:00:00"),
        ("until", "yesterday"),
        (own, "bad luck"),
        ("type", "policy"),
        ("limit", "0"),
        ("cursor", "x"),
        ("colour", "red"),
    ):
        answer = api.ask("GET", f"/integrations/siem/{settled}/{lists}", params={field: value})

        assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_a_time_beyond_every_calendar_keeps_no_list_from_being_shown(api: Api) -> None:
    """By its offset an event may lie in the year 10000: what its neighbours became is shown all the same."""
    home = api.create()["id"]
    late = QueuedEvent("evt_late", "policy.deny", 253_402_387_139_000, NOON, b"{}")
    dead = DeadLetter(home, Cause.REFUSED, Failure(FailureCode.REFUSED, "no", "mend it"), NOON, [late], [1])
    trace = EventTrace(late.id, late.type, late.time_ms, NOON, 1)
    ended = Outcome(home, Status.DEAD, NOON, dead.failure, None, [trace], 400, None)
    record_entries(api.resources.engine, [(f"{NOON}-70001", [ended])], [(f"{NOON}-70001", dead)])
    settle(api, home, Status.DELIVERED, "evt_early")

    found = api.get(f"/integrations/siem/{home}/deliveries")["items"]
    [letter] = api.get(f"/integrations/siem/{home}/dead-letters")["items"]
    assert {one["event_id"] for one in found} == {"evt_late", "evt_early"}
    assert letter["event_at"] == "9999-12-31T23:59:59.999Z"
    assert when(late.time_ms) == "9999-12-31 23:59:59.999Z"


def test_deliveries_are_paged(api: Api) -> None:
    """Each is on one page, also those that were settled in the same millisecond."""
    home = api.create()["id"]
    names = [f"{home}-{number}" for number in range(7)]
    settle(api, home, Status.DELIVERED, *names)
    found = list(pages(api, f"/integrations/siem/{home}/deliveries", limit=3))

    assert [len(page["items"]) for page in found] == [3, 3, 1]
    assert sorted(itertools.chain.from_iterable(map(_events, found))) == names


def test_an_event_is_found_at_every_integration_of_the_tenant(api: Api) -> None:
    """Also where it was deleted since; not at another tenant's."""
    homes = [api.create()["id"] for _ in range(2)]
    theirs = api.create(tenant=THEIRS)["id"]
    for number, home in enumerate([*homes, theirs]):
        settle(api, home, Status.DELIVERED, "evt_everywhere", at_ms=NOON + number)
    api.ask("DELETE", f"/integrations/siem/{homes[0]}")
    found = [
        [one["integration_id"] for one in page["items"]]
        for page in pages(api, "/deliveries", limit=1, event_id="evt_everywhere")
    ]

    assert found == [[homes[1]], [homes[0]]]
    assert _events(api.get("/deliveries", params={"event_id": "evt_nowhere"})) == []
    assert api.ask("GET", "/deliveries").json()["field"] == "event_id"


def test_dead_letters_are_listed_without_payload(api: Api) -> None:
    """The latest first, with why and what to do; those that wait, unless asked for others."""
    home = api.create()["id"]
    first, second = bury(api, home, {"evt_1": b'{"secret": 1}', "evt_2": b"{}"})
    [third] = bury(api, home, {"evt_3": b"{}"}, NOON + 1000, cause=Cause.REFUSED, failure=_TIMEOUT)
    path = f"/integrations/siem/{home}/dead-letters"

    def ids(**query: str) -> list[str]:
        return [one["id"] for one in api.get(path, params=query)["items"]]

    listed = api.ask("GET", path, READ_ONLY)
    assert "secret" not in listed.text
    assert "payload" not in listed.text
    assert listed.json()["items"][0] == {
        "id": third,
        "integration_id": home,
        "tenant_id": None,
        "event_id": "evt_3",
        "event_type": "policy.deny",
        "cause": "refused",
        "error_code": "timed_out",
        "error": "no answer",
        "hint": "see that it is well",
        "http_status": None,
        "attempts": 4,
        "event_at": "2026-11-22T22:15:00.970Z",
        "published_at": "2026-11-22T22:15:00.990Z",
        "dead_at": "2026-11-22T22:15:01.000Z",
        "state": "waiting",
        "state_at": None,
        "replay_id": None,
        "content": content_of(b"{}"),
    }
    assert ids() == [third, second, first]
    assert ids(cause="exhausted") == [second, first]
    assert ids(code="timed_out") == [third]
    assert ids(event_id="evt_2") == [second]
    assert ids(since=f"{_AT}.500Z") == [third]
    assert ids(until=f"{_AT}.500Z", type="policy.deny") == [second, first]
    assert ids(state="replayed") == []


def test_dead_letters_are_paged(api: Api) -> None:
    """Each is on one page."""
    home = api.create()["id"]
    ids = bury(api, home, {f"evt_{number}": b"{}" for number in range(5)})
    found = list(pages(api, f"/integrations/siem/{home}/dead-letters", limit=2))

    assert [[one["id"] for one in page["items"]] for page in found] == [
        [ids[4], ids[3]],
        [ids[2], ids[1]],
        [ids[0]],
    ]


def test_one_dead_letter_is_shown_with_its_event(api: Api) -> None:
    """As text, byte by byte; in base64 what is no text."""
    home = api.create()["id"]
    text, odd = bury(api, home, {"evt_1": b'{"id": "\xc3\xa9"}', "evt_2": b"\xff"})
    path = f"/integrations/siem/{home}/dead-letters"
    whole = api.get(f"{path}/{text}")

    assert (whole["payload"], whole["payload_base64"]) == ('{"id": "é"}', None)
    assert whole["history"] == []
    assert whole["error_code"] == "destination_busy"
    other = api.get(f"{path}/{odd}")
    assert (other["payload"], other["payload_base64"]) == (None, "/w==")


def test_a_dead_letter_is_discarded(api: Api) -> None:
    """It waits no longer, can still be shown, and to do it again changes nothing."""
    home = api.create()["id"]
    [one] = bury(api, home, {"evt_1": b"{}"})
    path = f"/integrations/siem/{home}/dead-letters"
    reader = api.ask("DELETE", f"{path}/{one}", READ_ONLY)
    done = [api.ask("DELETE", f"{path}/{one}").status_code for _ in range(2)]

    assert reader.status_code == 403
    assert done == [204, 204]
    assert api.get(path)["items"] == []
    assert [found["id"] for found in api.get(path, params={"state": "any"})["items"]] == [one]
    assert api.get(f"{path}/{one}")["state"] == "discarded"


def test_nothing_of_another_tenant_is_shown(api: Api) -> None:
    """Its integrations, letters and events are as unknown as those that never were."""
    ours, theirs = api.create()["id"], api.create(tenant=THEIRS)["id"]
    [letter_id] = bury(api, theirs, {"evt_1": b"{}"})
    settle(api, theirs, Status.DEAD, "evt_of_theirs")
    for method, path in (
        ("GET", "/integrations/siem/{}/deliveries"),
        ("GET", "/integrations/siem/{}/dead-letters"),
        ("GET", f"/integrations/siem/{{}}/dead-letters/{letter_id}"),
        ("DELETE", f"/integrations/siem/{{}}/dead-letters/{letter_id}"),
    ):
        known, unknown = (api.ask(method, path.format(home)) for home in (theirs, "int_0"))
        assert (known.status_code, known.content) == (404, unknown.content)
    through_ours = [
        api.ask(method, f"/integrations/siem/{ours}/dead-letters/{one}")
        for method in ("GET", "DELETE")
        for one in (letter_id, "1-2-3")
    ]

    assert {answer.status_code for answer in through_ours} == {404}
    assert len({answer.content for answer in through_ours}) == 1
    assert _events(api.get("/deliveries", params={"event_id": "evt_of_theirs"})) == []
    publisher = api.ask("GET", f"/integrations/siem/{ours}/deliveries", PUBLISH_ONLY)
    assert publisher.status_code == 403


def test_every_attempt_is_listed(api: Api) -> None:
    """Of one event at each integration, and beside a dead letter; lists of many have none."""
    home: str = api.create()["id"]
    event = f"{home}-tried"
    settle(api, home, Status.RETRYING, event, at_ms=NOON)
    settle(api, home, Status.DEAD, event, at_ms=NOON + 2000)
    [letter_id] = bury(api, home, {event: b"{}"}, at_ms=NOON + 2000)
    [reported] = api.get("/deliveries", params={"event_id": event})["items"]
    letter = api.get(f"/integrations/siem/{home}/dead-letters/{letter_id}")
    [listed] = api.get(f"/integrations/siem/{home}/deliveries")["items"]

    assert reported["history"] == letter["history"]
    assert reported["history"] == [
        {
            "number": 1,
            "at": f"2026-11-22T22:15:0{second}.000Z",
            "status": status,
            "http_status": 503,
            "error_code": "destination_busy",
            "error": "the server is busy",
        }
        for second, status in ((0, "retrying"), (2, "dead"))
    ]
    assert "history" not in listed
