"""Entries of many events, by lines or packed: the rules of single events hold for each of them."""

import json
import struct
from typing import Any

import msgspec
import pytest

from tests.broker.test_frames import frame_of, judged
from tests.pipeline.test_router import arrival, sorted_out, subscribers
from worker.broker.frames import NOT_YET, pack_frame
from worker.broker.ingress import EVENTS_FIELD, FRAME_FIELD, IngressEntry, RoutingResult
from worker.broker.packing import pack_chunk
from worker.broker.volumes import Volume
from worker.model.event_lines import MOST_LINES, MOST_LINES_BYTES
from worker.model.trace_context import TraceContext
from worker.pipeline.routing import route_entries
from worker.pipeline.traces import TracedEvents

BOTH = subscribers("a", tenant_id="acme") | subscribers("b", tenant_id="globex")


def line(name: str, kind: str = "policy.deny", tenant: str = "acme") -> bytes:
    """Make an event as one line."""
    return json.dumps(
        {"id": name, "type": kind, "timestamp": "2026-11-22T10:11:12Z", "tenant_id": tenant}
    ).encode()


def lines_entry(number: int, *lines: bytes) -> IngressEntry:
    """Make an entry of these lines."""
    text = b"\n".join(lines)
    return IngressEntry(b"%d-0" % number, number, text, [EVENTS_FIELD, text], EVENTS_FIELD)


def frame_entry(number: int, frame: bytes, *more: bytes) -> IngressEntry:
    """Make an entry of this frame."""
    return IngressEntry(b"%d-0" % number, number, frame, [FRAME_FIELD, frame, *more], FRAME_FIELD)


def framed(number: int, *names: str, kind: str = "policy.deny") -> IngressEntry:
    """Make an entry of a frame of these events."""
    frame = pack_frame("acme", [judged(name, kind).event for name in names], is_urgent=True)
    return frame_entry(number, frame)


def reasons(routing_result: RoutingResult) -> list[str]:
    """Show why each dead letter is one."""
    return [one.failure.message for one in routing_result.dead]


def test_all_forms_are_routed_alike_and_in_their_order() -> None:
    """One chunk of all, each event published when its entry was; counted as events, ended as entries."""
    single = arrival(1, line("e1"))
    entries = [
        single,
        lines_entry(2, line("e2"), b"", line("e3")),
        framed(3, "e4", "e5"),
        arrival(4, line("e6")),
    ]
    routing_result = route_entries(entries, BOTH)

    assert sorted_out(routing_result) == [(("a",), True, ["e1", "e2", "e3", "e4", "e5", "e6"])]
    [chunk] = routing_result.routed_chunks
    assert [one.published_ms for one in chunk.events] == [1, 2, 2, 3, 3, 4]
    assert (len(routing_result.done), routing_result.joined, routing_result.events) == (4, 2, 6)
    raws = [len(one.raw) for one in chunk.events]
    assert routing_result.volumes == {("policy.deny", "acme"): Volume(6, sum(raws))}


def test_a_frame_of_several_types_goes_to_who_wants_them() -> None:
    """Volumes and lanes are those of each event; what no one wants is counted."""
    events = [judged("e1", "policy.deny"), judged("e2", "policy.allow"), judged("e3", "hold.denied")]
    entry = frame_entry(1, pack_frame("acme", [one.event for one in events], is_urgent=True))
    wanting = subscribers("a", tenant_id="acme", event_types=frozenset({"policy.deny", "policy.allow"}))
    routing_result = route_entries([entry], wanting)

    assert sorted_out(routing_result) == [(("a",), True, ["e1"]), (("a",), False, ["e2"])]
    assert (routing_result.unwanted, routing_result.joined) == (1, 2)
    assert {kind: volume.events for kind, volume in routing_result.volumes.items()} == {
        ("policy.deny", "acme"): 1,
        ("policy.allow", "acme"): 1,
        ("hold.denied", "acme"): 1,
    }
    assert route_entries([framed(1, "e1", "e2")], {}).unwanted == 2


def test_a_bad_line_dies_alone() -> None:
    """With its number, its bytes and its own tenant; lines may be of several tenants."""
    bad = b'{"id":"e2","tenant_id":"globex"}'
    routing_result = route_entries([lines_entry(5, line("e1"), bad, b"{", line("e3", tenant="globex"))], BOTH)

    assert sorted_out(routing_result) == [(("a",), True, ["e1"]), (("b",), True, ["e3"])]
    assert [one.events[0].raw for one in routing_result.dead] == [bad, b"{"]
    assert [one.tenant_id for one in routing_result.dead] == ["globex", None]
    assert [one.events[0].published_ms for one in routing_result.dead] == [5, 5]
    assert "line 2" in reasons(routing_result)[0]
    assert routing_result.events == 4


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "holds no event"),
        (b"\n \n", "holds no event"),
        (b"\n".join([b"{}"] * (MOST_LINES + 1)), f"has {MOST_LINES + 1} lines"),
        (line("e1") + b"\n" + line("x" * MOST_LINES_BYTES), "bytes long"),
    ],
)
def test_beyond_the_limits_there_is_one_letter_which_is_no_tenants(text: bytes, reason: str) -> None:
    """It says what the limit is. Its lines may be of several tenants: none is shown another's."""
    routing_result = route_entries([lines_entry(1, text), arrival(2, line("e2"))], BOTH)

    assert sorted_out(routing_result) == [(("a",), True, ["e2"])]
    [letter] = routing_result.dead
    assert letter.failure.message.startswith("events: ")
    assert reason in letter.failure.message
    assert f"at most {MOST_LINES} in 1 MiB" in (letter.failure.hint or "")
    assert letter.tenant_id is None
    assert routing_result.joined == 0


def test_a_damaged_frame_dies_event_by_event() -> None:
    """One wrong bit in the bytes of one event: none is sent, since any may be the one; all can be read."""
    frame = bytearray(framed(1, "e1", "e2", "e3").raw or b"")
    place = frame.index(b"2026", frame.index(b"e2"))
    frame[place] ^= 1
    routing_result = route_entries([frame_entry(1, bytes(frame)), arrival(2, line("e9"))], BOTH)

    assert sorted_out(routing_result) == [(("a",), True, ["e9"])]
    assert [one.events[0].id for one in routing_result.dead] == ["e1", "e2", "e3"]
    assert [one.tenant_id for one in routing_result.dead] == ["acme"] * 3
    assert json.loads(routing_result.dead[2].events[0].raw)["id"] == "e3"
    assert all("checksum" in one for one in reasons(routing_result))
    assert (routing_result.joined, routing_result.events) == (2, 4)


def test_no_damage_loses_bytes_or_shows_them_to_another_tenant() -> None:
    """Whatever is left of a frame is in a letter; its tenant is that of the bytes, not of the head."""
    whole = framed(1, "e1", "e2").raw or b""
    for cut in range(len(whole)):
        routing_result = route_entries([frame_entry(1, whole[:cut])], BOTH)
        assert routing_result.routed_chunks == []
        assert routing_result.dead
    renamed = bytearray(whole)
    at = renamed.index(b"acme")
    renamed[at : at + 4] = b"evil"
    dead = route_entries([frame_entry(1, bytes(renamed))], BOTH).dead
    assert [one.tenant_id for one in dead] == ["acme", "acme"]


def test_a_frame_that_lies_reaches_the_tenant_that_it_names_and_no_other() -> None:
    """Its publisher could have published to that tenant as well; what the bytes say changes nothing."""
    lying = judged("e1", tenant="globex").event
    assert lying.published_ms == NOT_YET
    routing_result = route_entries([frame_entry(1, frame_of([lying], "acme"))], BOTH)
    assert sorted_out(routing_result) == [(("a",), True, ["e1"])]


NO_OBJECTS = {
    "no JSON": b"not json",
    "cut off": b'{"id":"e2","note":"',
    "another value": b'["e2"]',
    "two values": b'{}}{"event":{}',
    "two objects": b'{"id":"e2"},{"id":"e4"}',
    "no UTF-8": b'{"note":"\xff"}',
    "too deep": b'{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
}


@pytest.mark.parametrize("name", NO_OBJECTS)
def test_what_is_no_json_in_a_false_frame_dies_alone(name: str) -> None:
    """Destinations write the bytes between those of others: an envelope more would hide one of these."""
    good = [judged(one).event for one in ("e1", "e2", "e3")]
    good[1] = msgspec.structs.replace(good[1], raw=NO_OBJECTS[name])
    routing_result = route_entries([frame_entry(7, frame_of(good))], BOTH)

    assert sorted_out(routing_result) == [(("a",), True, ["e1", "e3"])]
    [letter] = routing_result.dead
    assert (letter.tenant_id, letter.events[0].id, letter.events[0].raw) == ("acme", "e2", NO_OBJECTS[name])
    assert letter.events[0].published_ms == 7
    assert letter.failure.message.startswith("event: in a frame is not one JSON object")
    assert (routing_result.events, routing_result.unwanted) == (3, 0)


def test_a_false_frame_without_any_json_is_all_dead_letters() -> None:
    """Nothing is routed of it."""
    wrong = [msgspec.structs.replace(judged(one).event, raw=b"{]") for one in ("e1", "e2")]
    routing_result = route_entries([frame_entry(1, frame_of(wrong))], BOTH)
    assert (routing_result.routed_chunks, len(routing_result.dead), routing_result.events) == ([], 2, 2)


def test_what_a_hostile_frame_makes_of_work_is_bounded() -> None:
    """As many letters as a frame has events, and one for the whole; no byte is lost."""
    head = b"\x95\xa1a\xabpolicy.deny\x01\x01\xc4\x00"
    hostile = struct.pack(">BIHBH", 1, 0, 500, 1, 1) + b"a" + head * 50_000
    dead = route_entries([frame_entry(1, hostile)], BOTH).dead
    assert len(dead) == 500
    assert sum(len(one.events[0].raw) for one in dead) == len(head) * (50_000 - 500)

    begun = b"\x95\xa1a" * 20_000
    hidden = struct.pack(">BIHBH", 1, 0, 2, 1, 1) + b"a" + begun + pack_chunk([judged("e1").event])
    [whole] = route_entries([frame_entry(1, hidden)], BOTH).dead
    assert whole.events[0].raw == hidden


def test_the_spans_of_an_entry_are_those_of_all_its_events() -> None:
    """Of a frame and of lines, as of a single event."""
    one, other = TraceContext(b"a" * 16, b"1" * 8), TraceContext(b"b" * 16, b"2" * 8)
    first = framed(1, "e1", "e2")
    traced: list[Any] = [
        frame_entry(1, first.raw or b"", b"traceparent", one.header()),
        arrival(2, line("e3")),
        IngressEntry(
            b"3-0",
            3,
            line("e4"),
            [EVENTS_FIELD, line("e4"), b"traceparent", other.header()],
            EVENTS_FIELD,
        ),
    ]
    routing_result = route_entries(traced, BOTH, TracedEvents())
    assert routing_result.contexts == [one, other]
    [chunk] = routing_result.routed_chunks
    assert chunk.traces
