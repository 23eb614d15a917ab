"""Routing is pure: arrivals and subscriptions in, consignments, dead letters and counts out."""

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.broker.ingress import IngressEntry, RoutingResult
from worker.broker.snapshot import Limits, Subscription
from worker.model.event_decoder import AcceptedEvent, accept_event
from worker.model.events import DEFAULT_EVENT_TYPES, EventType
from worker.pipeline import judging, routing
from worker.pipeline.routing import route_entries

BULK = {"policy.allow", "agent.connected", "agent.disconnected"}


def arrival(number: int, raw: bytes | None, fields: Iterable[bytes] = ()) -> IngressEntry:
    """Make an entry of the ingress stream, published at the millisecond of its number."""
    return IngressEntry(b"%d-0" % number, number, raw, list(fields))


def arrivals(*kinds: str, **fields: Any) -> list[IngressEntry]:
    """Make events e0, e1 and so on of these types."""
    return [
        arrival(
            at,
            json.dumps({"id": f"e{at}", "type": kind, "timestamp": "2026-11-22T10:11:12Z"} | fields).encode(),
        )
        for at, kind in enumerate(kinds)
    ]


def subscribers(*ids: str, limits: Limits | None = None, **changes: Any) -> dict[str, Subscription]:
    """Make enabled subscriptions to every type, with these changes."""
    wish: dict[str, Any] = {"enabled": True, "event_types": frozenset(map(str, EventType))} | changes
    return {one: Subscription(one, limits or Limits("splunk_hec"), **wish) for one in ids}


def sorted_out(routing_result: RoutingResult) -> list[tuple[tuple[str, ...], bool, list[str]]]:
    """Show the consignments: for whom, whether urgent, which events."""
    return [
        (tuple(one.integration_ids), one.urgent, [event.id for event in one.events])
        for one in routing_result.routed_chunks
    ]


def test_an_event_travels_with_its_own_bytes() -> None:
    """What is appended is the id, type, both times, and the bytes as they came, blanks included."""
    raw = b' {"type":"policy.deny","id":"e1","timestamp":"2026-11-22T10:11:12.5+01:00","x":1e0}\n'
    [routed_chunk] = route_entries([arrival(77, raw)], subscribers("a")).routed_chunks

    [event] = routed_chunk.events
    assert event.id == "e1"
    assert event.type == "policy.deny"
    assert event.time_ms == 1_795_338_672_500
    assert event.published_ms == 77
    assert event.raw == raw


def test_masses_go_into_the_bulk_lane() -> None:
    """Permissions and connections may wait; nothing else does."""
    chunks = {kind: route_entries(arrivals(kind), subscribers("a")).routed_chunks for kind in EventType}
    urgent = {kind: [chunk.urgent for chunk in routed] for kind, routed in chunks.items()}

    assert urgent == {kind: [kind.value not in BULK] for kind in EventType}


def test_order_is_kept_among_events_for_the_same_audience() -> None:
    """Types that the same integrations want stay in the order of their arrival, lane by lane."""
    mixed = arrivals("policy.deny", "policy.allow", "drift.warning", "agent.connected", "hold.denied")

    assert sorted_out(route_entries(mixed, subscribers("a"))) == [
        (("a",), True, ["e0", "e2", "e4"]),
        (("a",), False, ["e1", "e3"]),
    ]


def test_events_are_bundled_by_who_wants_them() -> None:
    """Integrations that want the same events share their chunks; each gets what it asked for, once."""
    denials = subscribers("a", event_types=frozenset({"policy.deny"}))
    routing_result = route_entries(
        arrivals("policy.deny", "policy.alert", "policy.deny"), denials | subscribers("b")
    )

    assert sorted_out(routing_result) == [(("a", "b"), True, ["e0", "e2"]), (("b",), True, ["e1"])]
    assert routing_result.unwanted == 0


def test_tenants_never_meet() -> None:
    """An event reaches its own tenant's integrations only; without a tenant it is `default`'s."""
    everybody = subscribers("a", tenant_id="acme") | subscribers("d") | subscribers("g", tenant_id="globex")

    assert sorted_out(route_entries(arrivals("policy.deny", tenant_id="acme"), everybody)) == [
        (("a",), True, ["e0"])
    ]
    assert sorted_out(route_entries(arrivals("policy.deny"), everybody)) == [(("d",), True, ["e0"])]
    assert route_entries(arrivals("policy.deny", tenant_id="ACME"), everybody).unwanted == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"enabled": False},
        {"deleted": True},
        {"event_types": frozenset({"policy.alert"})},
        {"event_types": frozenset()},
        {"tenant_id": "acme"},
    ],
)
def test_what_no_integration_wants_is_counted_and_gone(changes: dict[str, Any]) -> None:
    """Disabled, deleted, another type, another tenant: the event is done, and nowhere to be found."""
    routing_result = route_entries(arrivals("policy.deny", "policy.deny"), subscribers("a", **changes))

    assert routing_result.routed_chunks == []
    assert routing_result.dead == []
    assert routing_result.unwanted == 2
    assert routing_result.done == [b"0-0", b"1-0"]


def test_by_default_permissions_are_not_wanted() -> None:
    """What an integration gets that names no types is all but policy.allow."""
    default = subscribers("a", event_types=frozenset(map(str, DEFAULT_EVENT_TYPES)))
    routing_result = route_entries(arrivals(*EventType), default)

    assert routing_result.unwanted == 1
    assert sum(len(one.events) for one in routing_result.routed_chunks) == 10


def test_what_is_no_event_is_buried_with_its_bytes() -> None:
    """One letter for each, with the field and the remedy; the valid ones around it travel on."""
    good = arrivals("policy.deny", "policy.deny")
    bad = [arrival(7, b'{"id":7}'), arrival(8, None, [b"something", b"else"]), arrival(9, b"")]
    routing_result = route_entries([good[0], *bad, good[1]], subscribers("a"))

    assert sorted_out(routing_result) == [(("a",), True, ["e0", "e1"])]
    assert routing_result.done == [b"0-0", b"7-0", b"8-0", b"9-0", b"1-0"]
    assert [letter.events[0].raw for letter in routing_result.dead] == [b'{"id":7}', b"something else", b""]
    assert [letter.failure.message.partition(":")[0] for letter in routing_result.dead] == [
        "id",
        "event",
        "event",
    ]
    assert {(one.integration_id, one.cause, one.failure.code) for one in routing_result.dead} == {
        (None, "invalid", "invalid_event")
    }
    published = [(letter.events[0].published_ms, letter.attempts) for letter in routing_result.dead]
    assert published == [(7, [0]), (8, [0]), (9, [0])]
    assert all(letter.failure.hint for letter in routing_result.dead)
    assert routing_result.unwanted == 0


def test_chunks_fit_into_one_request_of_every_recipient() -> None:
    """The smallest limit among those who share a chunk decides, by count and by bytes."""
    few = subscribers("a", limits=Limits("splunk_hec", batch_events=2))
    light = subscribers("b", limits=Limits("splunk_hec", batch_bytes=1_000))
    many = arrivals(*["policy.deny"] * 5)
    heavy = arrivals(*["policy.deny"] * 5, padding="x" * 230)

    assert [ids for *_, ids in sorted_out(route_entries(many, few | light))] == [
        ["e0", "e1"],
        ["e2", "e3"],
        ["e4"],
    ]
    assert [len(ids) for *_, ids in sorted_out(route_entries(heavy, light | subscribers("c")))] == [3, 2]


def test_an_event_larger_than_a_limit_is_a_chunk_of_its_own() -> None:
    """It is not lost, and takes no other event with it over the limit."""
    tiny = subscribers("a", limits=Limits("splunk_hec", batch_bytes=10))

    assert [ids for *_, ids in sorted_out(route_entries(arrivals(*["policy.deny"] * 3), tiny))] == [
        ["e0"],
        ["e1"],
        ["e2"],
    ]


def test_what_is_written_once_is_weighed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what many integrations want would need several transactions; small chunks are copies anyway."""
    monkeypatch.setattr(routing, "HEAVIEST", 30_000)
    wanted = subscribers(*(f"a{number}" for number in range(10)))
    large = arrivals(*["policy.deny"] * 8, padding="x" * 1000)
    small = arrivals(*["policy.deny"] * 8, padding="x" * 400)

    def parts(received: list[IngressEntry], *, shares: bool) -> list[int]:
        return [len(one.done) for one in routing.routing_results(received, wanted, shares=lambda: shares)]

    assert parts(large, shares=True) == [8]
    assert parts(large, shares=False) == [2, 2, 2, 2]
    assert parts(small[:7], shares=True) == [3, 4] == parts(small[:7], shares=False)


def test_nothing_in_nothing_out() -> None:
    """No arrivals, or no integrations at all, are no reason to fail."""
    assert route_entries([], subscribers("a")) == RoutingResult()
    assert route_entries(arrivals("policy.deny"), {}).unwanted == 1


kinds = st.lists(st.sampled_from(list(map(str, EventType))), max_size=40)
subscriptions = st.lists(
    st.builds(
        Subscription,
        st.sampled_from(["a", "b", "c"]),
        st.builds(Limits, st.just("splunk_hec"), st.integers(1, 9), st.integers(1, 500)),
        tenant_id=st.sampled_from(["default", "acme"]),
        enabled=st.booleans(),
        event_types=st.frozensets(st.sampled_from(list(map(str, EventType)))),
    ),
    unique_by=lambda one: one.id,
)


@settings(max_examples=150)
@given(kinds, subscriptions)
def test_every_subscriber_gets_exactly_what_it_wants(kinds: list[str], wanting: list[Subscription]) -> None:
    """Each event reaches each integration that wants it once, in the right lane, within its limits."""
    arrived = arrivals(*kinds)
    routing_result = route_entries(arrived, {one.id: one for one in wanting})

    for one in wanting:
        mine = [
            routed_chunk
            for routed_chunk in routing_result.routed_chunks
            if one.id in routed_chunk.integration_ids
        ]
        wanted = [f"e{at}" for at, kind in enumerate(kinds) if one.wants(kind, "default")]
        assert sorted(event.id for each in mine for event in each.events) == sorted(wanted)
        assert all((event.type not in BULK) is each.urgent for each in mine for event in each.events)
        assert all(0 < len(each.events) <= one.destination.batch_events for each in mine)
        sizes = [sum(len(event.raw) for event in each.events) for each in mine if len(each.events) > 1]
        assert all(size <= one.destination.batch_bytes for size in sizes)
    assert routing_result.unwanted == sum(
        not any(one.wants(kind, "default") for one in wanting) for kind in kinds
    )
    assert routing_result.done == [one.entry_id for one in arrived]


def test_a_fault_of_ours_costs_one_event_its_way_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unforeseen error buries one event alone; it cannot be caused for real."""

    def faulty(raw: bytes) -> AcceptedEvent:
        if b'"e1"' in raw:
            raise ZeroDivisionError
        return accept_event(raw)

    monkeypatch.setattr(judging, "accept_event", faulty)
    routing_result = route_entries(arrivals("policy.deny", "policy.deny", "policy.deny"), subscribers("a"))

    assert sorted_out(routing_result) == [(("a",), True, ["e0", "e2"])]
    assert [b'"e1"' in dead.events[0].raw for dead in routing_result.dead] == [True]
    assert len(routing_result.done) == 3
