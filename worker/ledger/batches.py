"""Deliveries that were plain, one row a batch: how their columns are packed, and unpacked.

Plain is what was delivered by the first request that carried it: nearly everything. All else has a row of its
own in `deliveries`. A view, `delivery_status`, shows both as one row per event and integration.

An index leads from an event and integration to its batch: 64 bits, of which 32 are the checksum of the
event's id and 32 that of the integration's. Each period of time has an index of its own, so that its tree
stays small and goes as a whole.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from zlib import crc32

import msgspec
from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, Table, Text

from worker.ledger.rows import Row, storable
from worker.ledger.schema import ID, deliveries, metadata
from worker.model.deliveries import EventTrace, Outcome, Status

delivered_batches = Table(
    "delivered_batches",
    metadata,
    Column("period", BigInteger, primary_key=True, autoincrement=False),
    # Within its period, from 1 on.
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("integration_id", ID, nullable=False),
    Column("settled_ms", BigInteger, nullable=False),
    # As in `deliveries`.
    Column("version", BigInteger, nullable=False),
    Column("http_status", Integer),
    Column("assurance", Text),
    Column("events", Integer, nullable=False),
    # How many of them have a row of their own by now, which counts in their place.
    Column("moved", Integer, nullable=False),
    # The types that occur, as a JSON array.
    Column("types", Text, nullable=False),
    # A JSON array for each event: its id, where its type stands in `types`, how long before `settled_ms` it
    # was published, and how long before that it came to be (ms).
    Column("packed", Text, nullable=False),
    # 16 bytes for each event: the digest of its bytes; empty if those are not known.
    Column("contents", LargeBinary, nullable=False),
)
_batch = delivered_batches.c
# The latest of an integration, and how many there are: SQLite would read a page of each batch for that.
Index("delivered_batches_latest", _batch.integration_id, _batch.settled_ms, _batch.events, _batch.moved)
# The latest of all.
Index("delivered_batches_latest_of_all", _batch.settled_ms)

#: For how long an index is written to, and what is in it (`worker.ledger.period_indexes`).
delivery_periods = Table(
    "delivery_periods",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("began_ms", BigInteger, nullable=False),
    # When the last of its deliveries was settled.
    Column("newest_ms", BigInteger, nullable=False),
    Column("batches", Integer, nullable=False),
    Column("events", Integer, nullable=False),
)

#: Both kinds of deliveries; not among `metadata`, because it is no table.
delivery_status = Table(
    "delivery_status", MetaData(), *(Column(one.name, one.type) for one in deliveries.columns)
)

#: Events of one batch at the most: an outcome that has more becomes several.
MOST_EVENTS = 1000
_DIGITS = 32
_DIGEST = re.compile(r"[0-9a-f]{32}\Z").match
_HEX = b"0123456789abcdef"
_BITS, _HALF = 32, 1 << 31


class _Age(msgspec.Struct, array_like=True, gc=False):
    """What is packed of an event, for those who ask how long it took: half the CPU of all of it."""

    id: msgspec.Raw
    kind: int
    age_ms: int
    before_ms: int


_AGES = msgspec.json.Decoder(list[_Age])


class Plain(NamedTuple):
    """Deliveries of one outcome: those that were plain, and their index keys, in the same order."""

    outcome: Outcome
    version: int
    events: list[EventTrace]
    keys: list[int]


def plain_events(outcome: Outcome) -> tuple[list[EventTrace], list[EventTrace]]:
    """Return the events of an outcome that a batch can hold, and the others."""
    if outcome.status != Status.DELIVERED or outcome.failure is not None or outcome.retry_at_ms is not None:
        return [], outcome.events
    first, rest = outcome.events, [event for event in outcome.events if event.attempts != 1]
    if rest:
        first = [event for event in outcome.events if event.attempts == 1]
    if not _have_digests(first):
        rest = [event for event in outcome.events if event.attempts != 1 or not _DIGEST(event.content)]
        first = [event for event in first if _DIGEST(event.content)]
    return first, rest


def _have_digests(events: Sequence[EventTrace]) -> bool:
    """Whether the content of each is known, or of none: asked of all at once, for the CPU it takes."""
    contents = [event.content for event in events]
    joined = "".join(contents).encode(errors="replace")
    return not joined or (set(map(len, contents)) == {_DIGITS} and not joined.translate(None, _HEX))


def event_bits(event_id: str) -> int:
    """Return the upper half of an event's keys, as a signed number."""
    return crc32(event_id.encode(errors="surrogatepass")) - _HALF


def index_keys(event_ids: Sequence[str], integration_id: str) -> list[int]:
    """Return the keys of events at an integration; fit 64 bits with their sign."""
    place = crc32(integration_id.encode(errors="surrogatepass")) - (_HALF << _BITS)
    # In one expression, and with the error handler that costs nothing: this is done for every delivery.
    try:
        return [(crc32(event_id.encode()) << _BITS) + place for event_id in event_ids]
    except UnicodeEncodeError:
        return [(crc32(event_id.encode(errors="surrogatepass")) << _BITS) + place for event_id in event_ids]


def keys_of_event(event_id: str) -> tuple[int, int]:
    """Return the first and the last key that an event can have, at any integration."""
    first = event_bits(event_id) << _BITS
    return first, first | (1 << _BITS) - 1


def batch_row(period: int, number: int, plain: Plain) -> Row:
    """Return a row for `delivered_batches`."""
    outcome, settled_ms = plain.outcome, plain.outcome.settled_ms
    kinds = dict.fromkeys([event.type for event in plain.events])
    types = {kind: place for place, kind in enumerate(kinds)}
    packed = [
        (event.id, types[event.type], settled_ms - event.published_ms, event.published_ms - event.time_ms)
        for event in plain.events
    ]
    if "\0" in "".join([event.id for event in plain.events]):
        packed = [(storable(one[0]), *one[1:]) for one in packed]
    return (
        period,
        number,
        storable(outcome.integration_id),
        settled_ms,
        plain.version,
        outcome.http_status,
        outcome.assurance,
        len(packed),
        0,
        msgspec.json.encode(list(types)).decode(),
        msgspec.json.encode(packed).decode(),
        bytes.fromhex("".join([event.content for event in plain.events])),
    )


class BatchedDelivery(NamedTuple):
    """One delivery of a batch, and where it stands: the period and number of its batch."""

    batch: tuple[int, int]
    #: As in `deliveries`.
    row: Row


def entries_of(batch: Any) -> Iterator[BatchedDelivery]:
    """Unpack a row of `delivered_batches`: rows in the order of the columns of `deliveries`."""
    types, settled_ms = msgspec.json.decode(batch.types), batch.settled_ms
    digests = bytes(batch.contents).hex()
    for place, (event_id, kind, age_ms, before_ms) in enumerate(msgspec.json.decode(batch.packed)):
        published_ms = settled_ms - age_ms
        row = (
            *(event_id, batch.integration_id, types[kind], Status.DELIVERED.value, 1, batch.http_status),
            *(None, None, None, published_ms - before_ms, published_ms, settled_ms, max(age_ms, 0), None),
            *(batch.version, batch.assurance, digests[32 * place : 32 * place + 32] or None),
        )
        yield BatchedDelivery((batch.period, batch.number), row)


def latencies_of(batch: Any) -> list[int]:
    """Return how long the deliveries of a row of `delivered_batches` took, in ms."""
    took = [one.age_ms for one in _AGES.decode(batch.packed)]
    return took if min(took, default=0) >= 0 else [max(one, 0) for one in took]
