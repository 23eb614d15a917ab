"""The fifth pair of a chunk: what is written is read, damage costs links alone, others pass over it."""

import json
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from tests.broker.sending import TIMING, append, claim, delivered, event, failed, ids, subscribe
from worker.broker import keys
from worker.broker.backlog import Backlog, Claim
from worker.broker.chunk_traces import TRACES, batch_contexts, pack_traces, unpack_traces
from worker.broker.chunks import StoredChunk
from worker.broker.hand_over import append as append_chunks
from worker.broker.ingress import RoutedChunk, traceparent_field
from worker.broker.parking import Parking
from worker.model.parking import Cap
from worker.model.trace_context import TraceContext

A, B = TraceContext(b"a" * 16, b"1" * 8), TraceContext(b"b" * 16, b"2" * 8)


def put(client: redis.Redis, names: list[str], traces: bytes) -> None:
    """Hand a chunk over whose events are traced."""
    pipeline = client.pipeline(transaction=True)
    append_chunks(
        pipeline, [RoutedChunk(["a"], urgent=True, events=[event(name) for name in names], traces=traces)]
    )
    pipeline.execute()


def contexts_of(found: Claim) -> list[TraceContext]:
    """Return the spans of what is open of a batch."""
    counts = found.batch.request_counts
    return batch_contexts(found.batch.traces, [place for place, count in enumerate(counts) if count != 255])


@given(st.lists(st.sampled_from([None, A, B]), max_size=60))
def test_what_is_packed_is_unpacked(contexts: list[TraceContext | None]) -> None:
    """By place; of a run of events with the same span it takes the room of one."""
    found: list[TraceContext | None] = [None] * len(contexts)
    for run in unpack_traces(pack_traces(contexts), len(contexts)):
        found[run.first : run.first + run.events] = [run.context] * run.events
    assert found == contexts


def test_it_is_small() -> None:
    """Nothing where nothing is traced; and a whole batch of one publisher costs as much as an event."""
    assert pack_traces([None] * 500) == b""
    assert len(pack_traces([A] * 500)) == len(pack_traces([A])) == 33
    assert len(pack_traces([A, B] * 250)) == 5 + 500 * 28


@given(st.binary(max_size=100), st.integers(0, 5))
def test_no_bytes_are_an_error(packed: bytes, events: int) -> None:
    """What is not ours names nothing."""
    assert all(run.first + run.events <= events for run in unpack_traces(packed, events))


@pytest.mark.parametrize("place", range(0, 61, 7))
def test_damage_costs_the_links_alone(client: redis.Redis, backlog: Backlog, place: int) -> None:
    """One wrong bit anywhere: the events go out, no span is named that published none of them."""
    subscribe(client, "a")
    packed = bytearray(pack_traces([A, B]))
    packed[place] ^= 1
    put(client, ["e1", "e2"], bytes(packed))

    found = claim(backlog, "a")
    assert ids(found.batch) == ["e1", "e2"]
    assert contexts_of(found) == []
    assert backlog.settle(found.batch, delivered(found.batch)) is None


def test_links_outlive_a_retry_and_are_those_of_what_is_open(client: redis.Redis, backlog: Backlog) -> None:
    """Over several chunks, of which one is not traced; what was delivered is not linked from the retry."""
    subscribe(client, "a")
    append(client, "a", [["x1", "x2"]])
    put(client, ["e1", "e2", "e3"], pack_traces([A, None, B]))

    first = claim(backlog, "a")
    assert contexts_of(first) == [A, B]
    backlog.settle(first.batch, failed(first.batch, delivered_places=(0, 2)))
    client.hset(keys.slot_prefix("a") + str(first.batch.order.slot), "due", 0)
    again = backlog.claim(first.batch.order)
    assert isinstance(again, Claim)
    assert contexts_of(again) == [B]


def test_who_reads_by_place_passes_over_it(client: redis.Redis) -> None:
    """So do scripts and releases that know four pairs: these stand where they stood, byte for byte."""
    subscribe(client, "a")
    put(client, ["e1"], b"")
    put(client, ["e1"], pack_traces([A]))
    entries: Any = client.xrange(keys.urgent("a"))
    plain, traced = (_fields(entry) for entry in entries)

    assert traced == [*plain, TRACES, pack_traces([A])]
    assert [len(plain), plain[0::2]] == [8, [b"n", b"bytes", b"events", b"crc"]]
    assert StoredChunk("urgent", b"1-1", plain).traces == b""
    assert StoredChunk("urgent", b"1-1", traced).events() == StoredChunk("urgent", b"1-1", plain).events()


def _fields(entry: Any) -> list[bytes]:
    return [part for pair in entry[1].items() for part in pair]


def test_what_is_parked_is_whole_but_for_its_links(client: redis.Redis) -> None:
    """The ledger has no place for them."""
    subscribe(client, "a")
    put(client, ["e1", "e2"], pack_traces([A, B]))
    assert Parking(client, Cap(0, 0)).park("a") == 2

    parked: Any = client.xrange(keys.PARKED)
    [(_, fields)] = parked
    assert list(fields) == [b"integration", b"lane", b"entry", b"n", b"bytes", b"events", b"crc"]
    assert Backlog(client, TIMING).depth("a") == 0


def test_only_a_sampled_context_of_an_entry_counts() -> None:
    """Whatever other fields there are, in whatever order; of one given twice, the last."""
    sampled, other = A.header(), A._replace(sampled=False).header()
    raw = json.dumps({"id": "e"}).encode()

    assert traceparent_field([b"event", raw]) is None
    assert traceparent_field([b"event", raw, b"traceparent", sampled]) == A
    assert traceparent_field([b"traceparent", sampled, b"event", raw, b"x", b"y"]) == A
    assert traceparent_field([b"event", raw, b"traceparent", other]) is None
    assert traceparent_field([b"event", raw, b"traceparent", b""]) is None
    assert traceparent_field([b"event", raw, b"traceparent"]) is None
