"""Whose an event is and whether it may wait: as the whole event says, whatever its JSON looks like."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from worker.model.errors import InvalidEvent
from worker.model.event_decoder import decode_event
from worker.model.events import BULK_EVENT_TYPES, EventType
from worker.model.flows import UNREADABLE, flow_of

BASE = {"id": "e1", "timestamp": "2026-11-22T10:11:12Z"}

scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.sampled_from([*EventType])
names = st.sampled_from(["type", "tenant_id", "id", "context", "x", "\\", '"']) | st.text(max_size=4)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
members = st.lists(
    st.tuples(st.just("type"), st.sampled_from([*EventType]) | values)
    | st.tuples(st.just("tenant_id"), st.text(max_size=130) | values)
    | st.tuples(names, values),
    max_size=8,
)


def written(pairs: list[tuple[str, Any]], *, escaped: bool, blank: str) -> bytes:
    """Write an object that may repeat its keys, and may spell each of them in escapes."""
    keys = ("".join(f"\\u{ord(one):04x}" for one in key) if escaped else None for key, _ in pairs)
    members = (
        f'"{key}"{blank}:{blank}{json.dumps(value, ensure_ascii=escaped)}'
        if key is not None
        else f"{json.dumps(name, ensure_ascii=False)}{blank}:{json.dumps(value, ensure_ascii=escaped)}"
        for (name, value), key in zip(pairs, keys, strict=True)
    )
    return ("{" + ",".join(members) + "}").encode(errors="replace")


@given(pairs=members, blank=st.sampled_from(["", " ", "\n\t"]), escaped=st.booleans())
def test_it_is_what_the_whole_event_says(*, pairs: list[tuple[str, Any]], blank: str, escaped: bool) -> None:
    """Escapes, repeated keys, any order, nested objects of the same names: whenever it is a valid event."""
    short = [(name, value) for name, value in pairs if all(ord(one) < 0x10000 for one in name)]
    raw = written([*BASE.items(), ("type", "policy.deny"), *short], escaped=escaped, blank=blank)
    try:
        event = decode_event(raw)
    except InvalidEvent:
        flow_of(raw)
    else:
        assert flow_of(raw) == (event.tenant_id, event.type not in BULK_EVENT_TYPES)


def test_masses_may_wait() -> None:
    """The lane is that of the backlog."""
    flows = {kind: flow_of(json.dumps(BASE | {"type": kind}).encode()) for kind in EventType}

    assert flows == {kind: ("default", kind not in BULK_EVENT_TYPES) for kind in EventType}


NEITHER = [
    None,
    b"",
    b"[1]",
    b"not json",
    b'{"tenant_id":"a"}',
    b'{"type":7}',
    b'{"type":"policy.deny","tenant_id":null}',
    b'{"type":"policy.deny","tenant_id":"\xff"}',
    b'{"type":"policy.deny","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"type":"policy.deny","x":"' + b"x" * 262_144 + b'"}',
    json.dumps({"type": "policy.deny", "tenant_id": "t" * 129}).encode(),
]


def test_what_shows_neither_is_a_flow_of_its_own() -> None:
    """So that a flood of rubbish holds up no tenant either; no tenant has that flow."""
    assert [raw for raw in NEITHER if flow_of(raw) != UNREADABLE] == []
