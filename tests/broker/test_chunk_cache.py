"""A chunk that several integrations want is fetched and decoded once by each process that claims it."""

import tracemalloc
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
import redis

from tests.destinations.golden_events import queued
from worker.broker import keys
from worker.broker.chunk_cache import ChunkCache, Named, name_of
from worker.broker.connection import redis_client
from worker.broker.packing import checksum, pack_chunk
from worker.destinations.splunk_hec.format import HecFormat
from worker.model.batches import Batch, DeliveryAttempt
from worker.model.deliveries import DeliveryResult, Status, Verdict
from worker.model.errors import BrokerUnavailable
from worker.model.event_runs import EventRun
from worker.model.events import QueuedEvent
from worker.model.orders import WorkOrder
from worker.model.outcomes import outcome_of, trace_of
from worker.samples import sample_lines

Entry = tuple[bytes, list[Any]]
EVENTS = [queued(line) for line in sample_lines(50)]


def write(
    client: redis.Redis, chunk: str, references: int, events: Sequence[QueuedEvent] = EVENTS, crc: bytes = b""
) -> Entry:
    """Write a chunk that so many entries refer to; return one of them."""
    packed = pack_chunk(list(events))
    client.set(keys.chunk(chunk), packed)
    client.hset(keys.CHUNKS, chunk, str(references))
    return b"1-0", [b"n", b"50", b"bytes", b"1", b"shared", chunk.encode(), b"crc", crc or checksum(packed)]


def named(entry: Entry) -> Named:
    """Return the name of the events that an entry refers to."""
    name = name_of(entry[1])
    assert name is not None
    return name


def reads(client: redis.Redis) -> int:
    """Count how often events were fetched."""
    found: int = client.info("commandstats").get("cmdstat_mget", {}).get("calls", 0)
    return found


def test_it_is_fetched_once_by_threads_that_want_it_at_once(client: redis.Redis) -> None:
    """All get the same events, with what was made of them; then none of it is kept."""
    entry, cache, before = write(client, "c", 8), ChunkCache(), reads(client)
    together = Barrier(8)

    def fetch() -> EventRun:
        together.wait(30)
        return cache.fetch(client, [entry])[named(entry)]

    with ThreadPoolExecutor(8) as pool:
        runs = [one.result(60) for one in [pool.submit(fetch) for _ in range(8)]]

    assert reads(client) - before == 1
    assert {id(run) for run in runs} == {id(runs[0])}
    assert runs[0].events == EVENTS
    assert cache.weight == 0


def test_what_one_integration_wants_is_not_kept(client: redis.Redis) -> None:
    """Nobody will ask for it again."""
    cache = ChunkCache()

    assert cache.fetch(client, [write(client, "c", 1)])
    assert cache.weight == 0


def test_the_oldest_goes_where_much_is_kept(client: redis.Redis) -> None:
    """It is fetched again, should anyone want it."""
    first, second = write(client, "first", 9), write(client, "second", 9)
    cache = ChunkCache(most=150_000)

    assert cache.fetch(client, [first, second]).keys() == {named(first), named(second)}
    before = reads(client)
    cache.fetch(client, [second])
    assert reads(client) == before
    cache.fetch(client, [first])
    assert reads(client) == before + 1
    assert 0 < cache.weight <= 150_000


def test_it_takes_no_more_than_is_said(client: redis.Redis) -> None:
    """The estimate holds for short events and long ones, with all that is made of them."""
    short = [
        queued(b'{"id":"%d","type":"policy.deny","timestamp":"2026-11-22T10:11:12.045Z"}' % n)
        for n in range(500)
    ]
    long = [queued(line) for line in sample_lines(500)]
    for name, events in (("short", short), ("long", long)):
        entry, cache = write(client, name, 9, events), ChunkCache()
        cache.fetch(client, [write(client, "warm-up", 1)])
        tracemalloc.start()
        run = cache.fetch(client, [entry])[named(entry)]
        HecFormat.of(host="h", source="s", source_type="t", index=None, fields={}).wrapped_runs([run])
        outcome_of(*whole_batch(run))
        used, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert used <= cache.weight, name


def whole_batch(run: EventRun) -> tuple[Any, ...]:
    """Return the arguments of an outcome of which one request has carried all events."""
    events = list(run.events)
    attempt = DeliveryAttempt(
        Batch(WorkOrder("a", 1, 1), events, b"{}", bytes(len(events)), 0, 0, 0.0, [], [], runs=[run])
    )
    attempt.count(attempt.places)
    result = DeliveryResult(attempt.places, Verdict.ACCEPTED, 5)
    return attempt, Status.DELIVERED, attempt.places, result, None


def test_an_outcome_of_what_is_shared_is_that_of_each_event() -> None:
    """In one run or several, and as soon as one event was sent twice."""
    runs = [EventRun(EVENTS[:20]), EventRun(EVENTS[20:])]
    batch = Batch(WorkOrder("a", 1, 1), list(EVENTS), b"{}", bytes(50), 0, 0, 0.0, [], [], runs=runs)
    for again in ([], [7]):
        attempt = DeliveryAttempt(batch)
        attempt.count(attempt.places)
        attempt.count(again)
        result = DeliveryResult(attempt.places, Verdict.ACCEPTED, 5)

        outcome = outcome_of(attempt, Status.DELIVERED, attempt.places, result, None)

        assert outcome.events == [trace_of(one, 2 if at in again else 1) for at, one in enumerate(EVENTS)]


def test_an_entry_that_expects_other_bytes_gets_none_of_it(client: redis.Redis) -> None:
    """What is kept under the id is not what was written for it: the claim makes dead letters of that."""
    cache = ChunkCache()
    cache.fetch(client, [write(client, "c", 3)])
    other = write(client, "c", 3, crc=b"00000000")

    assert cache.fetch(client, [other]) == {}
    assert other[1][4:6] == [b"events", pack_chunk(EVENTS)]


def test_what_is_not_there_stays_a_reference(client: redis.Redis) -> None:
    """The claim says so; and one that is there is read all the same."""
    there, gone = write(client, "there", 2), write(client, "gone", 2)
    client.delete(keys.chunk("gone"))

    assert ChunkCache().fetch(client, [gone, there]).keys() == {named(there)}
    assert gone[1][4:6] == [b"shared", b"gone"]


def test_who_could_not_fetch_it_keeps_it_from_none(client: redis.Redis) -> None:
    """Another thread, or the same one later, fetches it then."""
    entry, cache = write(client, "c", 3), ChunkCache()
    nowhere = redis_client("redis://127.0.0.1:1/0")

    with pytest.raises(BrokerUnavailable):
        cache.fetch(nowhere, [entry])
    assert cache.fetch(client, [entry])[named(entry)].events == EVENTS


def test_counts_that_damage_has_taken_are_no_matter(client: redis.Redis) -> None:
    """Then it is read, and not kept."""
    entry, cache = write(client, "c", 3), ChunkCache()
    client.set(keys.CHUNKS, "no hash")

    assert cache.fetch(client, [entry])[named(entry)].events == EVENTS
    assert cache.weight == 0
