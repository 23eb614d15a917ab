"""How many events wait in the ingress: an entry holds one (`event`), or several (`events`, `frame`).

While few entries wait, each is looked into. Else some are at either end, and those between count as one of
these does on the average: to read gigabytes only to count them would hold up all others.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from worker.broker import keys
from worker.broker.connection import broker_errors, joined_script, single_script
from worker.broker.frames import frame_head
from worker.broker.ingress import EVENT_FIELD, EVENTS_FIELD, FRAME_FIELD, payload_of
from worker.broker.streams import Entry
from worker.model.errors import InvalidEvent
from worker.model.event_lines import MOST_LINES, bounded_lines
from worker.model.invalid_events import salvage_event

if TYPE_CHECKING:
    import redis

#: Entries that are looked into at either end, and bytes at either end that are enough: for who wants to know,
#: and for each request to publish.
_CLOSELY, _ROUGHLY = (100, 2 << 20), (10, 128 << 10)
#: Of one read of all that waits: entries and bytes; and how many entries and bytes are looked through in all.
_READ, _READ_BYTES = 500, 4 << 20
_MOST, _MOST_BYTES = 10_000, 256 << 20


def count_unrouted(client: "redis.Redis") -> int:
    """Count the events that no router has handed over yet. Raises BrokerUnavailable."""
    return _count(client, [keys.EVENTS], _CLOSELY).events


def unrouted_roughly(client: "redis.Redis", most: int) -> int:
    """Count them for who only wants to know whether they are more than `most`. Raises BrokerUnavailable."""
    with broker_errors():
        entries = int(client.xlen(keys.EVENTS))
    if entries * MOST_LINES < most or entries >= most:
        return entries
    return _count(client, [keys.EVENTS], _ROUGHLY).events


class IngressDepth(NamedTuple):
    """How many entries wait, and how many events these hold."""

    entries: int
    events: int


def ingress_depth(client: "redis.Redis") -> IngressDepth:
    """Count what waits, with what stands aside (`worker.broker.clocks`). Raises BrokerUnavailable."""
    with broker_errors():
        aside: Any = client.lrange(keys.EVENTS_ASIDE, 0, -1)
    return _count(client, [keys.EVENTS, *aside], _CLOSELY)


def _count(client: "redis.Redis", streams: Sequence[str], look: tuple[int, int]) -> IngressDepth:
    with broker_errors():
        script = joined_script(client, "ingress_events", "ingress_counts")
        found: Any = script(keys=streams, args=look)
    return IngressDepth(*map(int, found))


def count_unrouted_of(client: "redis.Redis", tenant_id: str) -> int | None:
    """Count the events of a tenant that wait; None where so much waits that it is not looked through."""
    events, seen, size = 0, 0, 0
    for entries in _reads(client, keys.EVENTS):
        if seen >= _MOST or size >= _MOST_BYTES:
            return None
        events += sum(_events_of(fields, tenant_id) for _, fields in entries)
        seen += len(entries)
        size += sum(len(field) for _, fields in entries for field in fields)
    return events


def count_joined(client: "redis.Redis") -> int:
    """Count the entries that wait, or stand aside, in a form for several events. Raises BrokerUnavailable."""
    with broker_errors():
        aside: Any = client.lrange(keys.EVENTS_ASIDE, 0, -1)
    return sum(
        payload_of(fields)[0] != EVENT_FIELD
        for stream in (keys.EVENTS, *aside)
        for entries in _reads(client, stream)
        for _, fields in entries
    )


def _reads(client: "redis.Redis", stream: str | bytes) -> Iterator[list[Entry]]:
    """Yield all entries of a stream, some at a time."""
    read_some = single_script(client, "read_some")
    more, cursor = True, b"0-0"
    while more:
        with broker_errors():
            reply: Any = read_some(keys=[stream], args=[cursor, _READ, _READ_BYTES])
        more, entries = reply
        yield entries
        cursor = entries[-1][0] if entries else cursor


def _events_of(fields: list[bytes], tenant_id: str) -> int:
    form, raw = payload_of(fields)
    if form == FRAME_FIELD:
        head = frame_head(raw or b"")
        return head.events if head is not None and head.tenant_id == tenant_id else 0
    try:
        lines = bounded_lines(raw or b"") if form == EVENTS_FIELD else [raw or b""]
    except InvalidEvent:
        return 0  # it becomes a dead letter that is no tenant's
    return sum(salvage_event(line).tenant_id == tenant_id for line in lines)
