"""Frames: what is packed is read, damage is found, and what was written by hand does no more than it may."""

import json
import struct
import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.broker.frames import (
    MOST_BYTES,
    MOST_EVENTS,
    NOT_YET,
    InvalidFrame,
    JudgedEvent,
    entry_groups,
    frame_head,
    judge,
    pack_frame,
    read_frame,
)
from worker.broker.packing import pack_chunk
from worker.model.events import EventType, QueuedEvent

NOW = 1_795_342_272_045
TYPES = [str(one) for one in EventType]


def judged(name: str, kind: str = "policy.deny", tenant: str = "acme", padding: int = 0) -> JudgedEvent:
    """Judge an event of that name."""
    event = {"id": name, "type": kind, "timestamp": "2026-11-22T10:11:12Z", "tenant_id": tenant}
    return judge(json.dumps(event | {"padding": "x" * padding}).encode())


def frame_of(events: list[QueuedEvent], tenant: str = "acme", *, says: int | None = None) -> bytes:
    """Write a frame by hand, with a right checksum."""
    name = tenant.encode()
    rest = struct.pack(">HBH", len(events) if says is None else says, 1, len(name)) + name
    rest += pack_chunk(events)
    return struct.pack(">BI", 1, zlib.crc32(rest)) + rest


@given(st.lists(st.sampled_from(TYPES[:3]), min_size=1, max_size=60), st.text(min_size=1, max_size=128))
def test_what_is_packed_is_read(kinds: list[str], tenant: str) -> None:
    """Events in their order, each with the moment at which Redis took the frame; whatever the tenant is."""
    events = [judged(f"é{at}", kind).event for at, kind in enumerate(kinds)]
    try:
        frame = pack_frame(tenant, events, is_urgent=True)
    except UnicodeEncodeError:  # half a character is no part of a tenant's id
        return
    expected = [msgspec.structs.replace(one, published_ms=NOW) for one in events]
    head = frame_head(frame)

    assert head is not None
    assert (head.events, head.flow) == (len(events), (tenant, True))
    found_tenant, found = read_frame(frame, NOW)
    assert (found_tenant, pack_chunk(found)) == (tenant, pack_chunk(expected))


def test_each_damaged_bit_is_found() -> None:
    """Wherever it is, the version and the head included."""
    frame = pack_frame("acme", [judged("e1").event, judged("e2").event], is_urgent=True)
    for place in range(len(frame) * 8):
        damaged = bytearray(frame)
        damaged[place // 8] ^= 1 << place % 8
        with pytest.raises(InvalidFrame):
            read_frame(bytes(damaged), NOW)


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(raw: bytes) -> None:
    """Whatever stands behind a right checksum."""
    rest = struct.pack(">HBH", 1, 1, 1) + b"a" + raw
    with pytest.raises(InvalidFrame):
        read_frame(struct.pack(">BI", 1, zlib.crc32(rest)) + rest, NOW)


GOOD = judged("e1").event
LIES = {
    "no event": ([], 1),
    "another number": ([GOOD], 2),
    "an empty id": ([msgspec.structs.replace(GOOD, id="")], None),
    "a long id": ([msgspec.structs.replace(GOOD, id="x" * 129)], None),
    "an id that the database cannot hold": ([msgspec.structs.replace(GOOD, id="a\0b")], None),
    "an unknown type": ([msgspec.structs.replace(GOOD, type="policy.other")], None),
    "a time before 1970": ([msgspec.structs.replace(GOOD, time_ms=-1)], None),
    "a time that no one can write": ([msgspec.structs.replace(GOOD, time_ms=2**62)], None),
    "a moment of its own that no column holds": ([msgspec.structs.replace(GOOD, published_ms=2**63)], None),
    "no bytes": ([msgspec.structs.replace(GOOD, raw=b"")], None),
    "a huge event": ([msgspec.structs.replace(GOOD, raw=b"x" * (256 * 1024 + 1))], None),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_later_steps_could_not_bear_is_refused(lie: str) -> None:
    """With a right checksum: written by hand."""
    events, says = LIES[lie]
    with pytest.raises(InvalidFrame):
        read_frame(frame_of(events, says=says), NOW)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.sampled_from(TYPES),
            st.sampled_from([0, 9, 200_000]),
            st.booleans(),
        ),
        max_size=30,
    )
)
def test_groups_keep_the_order_of_each_tenant_and_lane(
    wanted: list[tuple[str, str, int, bool]],
) -> None:
    """Every event is in one group, of its tenant and lane, within the limits; what is not whole is alone."""
    events = [
        msgspec.structs.replace(judged(str(at), kind, tenant, padding), is_whole=whole)
        for at, (tenant, kind, padding, whole) in enumerate(wanted)
    ]
    found = list(entry_groups(events))
    flows = {(one.tenant_id, one.is_urgent) for one in events}

    for flow in flows:
        mine = [at for at, one in enumerate(events) if (one.tenant_id, one.is_urgent) == flow]
        assert [at for places in found for at in places if at in mine] == mine
    for places in found:
        assert len({(events[at].tenant_id, events[at].is_urgent) for at in places}) == 1
        assert len(places) == 1 or sum(len(events[at].event.raw) for at in places) <= MOST_BYTES
        assert len(places) == 1 or all(events[at].is_whole for at in places)
    assert sorted(at for places in found for at in places) == list(range(len(events)))


def test_a_frame_holds_no_more_than_it_may() -> None:
    """What is more begins another one."""
    one = judged("e")
    assert [len(places) for places in entry_groups([one] * (MOST_EVENTS + 1))] == [MOST_EVENTS, 1]
    assert one.event.published_ms == NOT_YET
