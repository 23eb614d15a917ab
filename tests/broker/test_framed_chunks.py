"""Events that publishers write under a key of their own: they are read as if a router had judged them."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
import redis

from tests.broker.damaging import damage_backlog
from tests.broker.sending import claim, delivered, ids, subscribe
from tests.broker.shared import counts_of, references_of, whole_look
from tests.broker.test_backlog_damage import depth_is_nothing, letters
from tests.broker.test_frames import judged
from tests.broker.test_oom import full
from tests.broker.test_parking import names as parked_names
from tests.broker.test_parking import parked
from worker.broker import keys
from worker.broker.backlog import Backlog
from worker.broker.formats import READABLE, KnownFormats
from worker.broker.framed_chunks import chunk_id_of, events_apart, new_framed_id, pack_framed, read_framed
from worker.broker.frames import FRAME, MOST_BYTES, InvalidFrame, JudgedEvent, frame_head
from worker.broker.ingress import Ingress
from worker.broker.ingress_ahead import IngressAhead
from worker.broker.ingress_writer import add_judged
from worker.broker.packing import pack_chunk, unpack_chunk
from worker.broker.parking import Parking
from worker.broker.shared_chunks import ChunkFindings, ChunkSweep
from worker.broker.snapshot import Limits, Subscription
from worker.model.errors import BrokerFull
from worker.model.events import QueuedEvent
from worker.model.parking import Cap
from worker.pipeline.routing import routing_results

NOW = 1_795_342_272_045
AB = ("a", "b")
LANES = [lane for one in AB for lane in (keys.urgent(one), keys.bulk(one))]
NOTHING = ChunkFindings()


def large(*names: str, kind: str = "policy.deny") -> list[JudgedEvent]:
    """Judge events that are large enough together."""
    return [judged(name, kind, padding=70_000 // len(names)) for name in names]


def publish(client: redis.Redis, events: Sequence[JudgedEvent]) -> bytes:
    """Publish events of one flow; return the id of their entry."""
    answers = set(add_judged(client, KnownFormats(client), events))
    [answer] = answers
    assert isinstance(answer, bytes), answer
    return answer


def wanted(*kinds: str) -> dict[str, Subscription]:
    """Have two integrations want these."""
    return {one: subscription(one, *kinds) for one in AB}


def subscription(name: str, *kinds: str, batch_events: int = 500) -> Subscription:
    """Have one integration of the tenant want these."""
    limits = Limits("splunk_hec", batch_events=batch_events)
    return Subscription(name, limits, enabled=True, event_types=frozenset(kinds), tenant_id="acme")


def route(client: redis.Redis, subscriptions: dict[str, Subscription]) -> None:
    """Route all that waits."""
    ingress = Ingress(client, "router", 30)
    ingress.read(1, 1)  # makes the group
    while received := ingress.read(10, 1):
        for one in routing_results(received, subscriptions, with_events=ingress.with_events):
            assert ingress.hand_over(one)


def dead_events(client: redis.Redis) -> list[QueuedEvent]:
    """Return the events of all dead letters."""
    return [event for letter in letters(client) for event in letter.events]


def the_framed(client: redis.Redis) -> Any:
    """Return what the only entry of the ingress says of its events."""
    found: Any = client.xrange(keys.EVENTS)
    [(_, fields)] = found
    return read_framed(fields[FRAME])


@pytest.fixture(autouse=True)
def _formats(client: redis.Redis) -> None:
    """All processes read this."""
    client.set(keys.FORMATS, " ".join(READABLE))
    subscribe(client, *AB)


def frame(events: Sequence[QueuedEvent], tenant: str = "acme", chunk_id: str | None = None) -> bytes:
    """Pack a frame of events that stand apart."""
    return pack_framed(tenant, events, pack_chunk([*events]), chunk_id or new_framed_id(), is_urgent=True)


def test_what_is_packed_is_read() -> None:
    """Whose they are, what they are, where they stand; and the events, with the moment of their entry."""
    events = [judged("e1").event, judged("é2", "drift.warning").event, judged("e3").event]
    made = frame(events, "ténant", "p" + "0" * 32)
    found, head = read_framed(made), frame_head(made)

    assert (found.tenant_id, found.is_urgent, found.chunk_id) == ("ténant", True, "p" + "0" * 32)
    assert (found.events, found.size) == (3, sum(len(one.raw) for one in events))
    assert [(kind.type, kind.events) for kind in found.kinds] == [("policy.deny", 2), ("drift.warning", 1)]
    assert head is not None
    assert (head.events, head.flow) == (3, ("ténant", True))
    tenant, read = events_apart(made, pack_chunk(events), NOW)
    assert tenant == "ténant"
    assert pack_chunk(read) == pack_chunk([msgspec.structs.replace(one, published_ms=NOW) for one in events])


def test_each_damaged_bit_is_found() -> None:
    """Of the frame, and of the events."""
    events = [judged("e1").event, judged("e2").event]
    made, packed = frame(events), pack_chunk(events)
    for place in range(len(made) * 8):
        damaged = bytearray(made)
        damaged[place // 8] ^= 1 << place % 8
        with pytest.raises(InvalidFrame):
            read_framed(bytes(damaged))
    for place in range(0, len(packed) * 8, 7):
        damaged = bytearray(packed)
        damaged[place // 8] ^= 1 << place % 8
        with pytest.raises(InvalidFrame, match="damaged"):
            events_apart(made, bytes(damaged), NOW)
    with pytest.raises(InvalidFrame, match="not there"):
        events_apart(made, b"", NOW)


def test_only_such_a_frame_says_where_its_events_stand() -> None:
    """An entry that holds its events is never taken for one, whatever it ends with."""
    made = frame([judged("e1").event])
    assert chunk_id_of(made) == read_framed(made).chunk_id
    assert chunk_id_of(b'{"id":"p%032d"}' % 0) is None
    assert chunk_id_of(b"x" * (16 << 10) + made) is None
    assert chunk_id_of(b"") is None


def test_a_frame_that_says_too_much_is_refused() -> None:
    """More bytes than any publisher writes; no events at all."""
    huge = QueuedEvent("e", "policy.deny", 1, 1, b"x" * (MOST_BYTES + 1))
    with pytest.raises(InvalidFrame, match="is the most"):
        read_framed(frame([huge]))
    with pytest.raises(InvalidFrame):
        read_framed(frame([]))


def test_large_frames_go_in_once_and_out_as_they_are(client: redis.Redis, backlog: Backlog) -> None:
    """The key that the publisher wrote is the chunk of all who want it, and goes with the last of them."""
    events = large("e1", "e2")
    entry = publish(client, events)
    framed = the_framed(client)
    assert client.strlen(keys.chunk(framed.chunk_id)) > 70_000
    written = int(client.info("stats")["total_net_input_bytes"])
    route(client, wanted("policy.deny"))

    assert int(client.info("stats")["total_net_input_bytes"]) - written < 20_000
    assert counts_of(client) == {framed.chunk_id.encode(): 2} == references_of(client, LANES)
    for one in AB:
        batch = claim(backlog, one).batch
        assert [(found.id, found.raw) for found in batch.events] == [
            (each.event.id, each.event.raw) for each in events
        ]
        assert {found.published_ms for found in batch.events} == {int(entry.partition(b"-")[0])}
        backlog.settle(batch, delivered(batch))
        assert depth_is_nothing(client, one)
    assert counts_of(client) == {}
    assert not client.exists(keys.CHUNKS, keys.chunk(framed.chunk_id))


@pytest.mark.parametrize("why", ["another audience", "a small request", "nobody"])
def test_frames_that_do_not_go_to_all_as_they_are_are_taken_apart(
    client: redis.Redis, backlog: Backlog, why: str
) -> None:
    """Nothing is left of them, whoever wants what."""
    events = large("e1", "e2") + large("e3", "e4", kind="drift.warning")
    publish(client, events)
    subscriptions = wanted("policy.deny", *(["drift.warning"] if why == "a small request" else []))
    if why == "another audience":
        subscriptions["b"] = subscription("b", "policy.deny", "drift.warning")
    if why == "a small request":
        subscriptions["a"] = subscription("a", "policy.deny", "drift.warning", batch_events=3)
    if why == "nobody":
        subscriptions = {}
    route(client, subscriptions)

    found = {one: ids(claim(backlog, one).batch) if why != "nobody" else [] for one in AB}
    both, all_ = ["e1", "e2"], ["e1", "e2", "e3", "e4"]
    assert (
        found
        == {
            "another audience": {"a": both, "b": all_},
            "a small request": {"a": all_, "b": all_},
            "nobody": {"a": [], "b": []},
        }[why]
    )
    assert counts_of(client) == references_of(client, LANES)
    assert not [*client.scan_iter("siem:chunk:p*")]


def test_small_frames_hold_their_events(client: redis.Redis) -> None:
    """A key of its own costs more."""
    publish(client, [judged("e1"), judged("e2")])
    assert not [*client.scan_iter("siem:chunk:*")]


def test_a_full_redis_takes_neither_the_events_nor_their_entry(client: redis.Redis) -> None:
    """Each of them gets the error."""
    formats = KnownFormats(client)
    assert formats.may_frame_chunks()
    with full(client):
        answers = add_judged(client, formats, large("e1", "e2"))
    assert [type(one) for one in answers] == [BrokerFull, BrokerFull]
    assert not [*client.scan_iter("siem:chunk:*")]
    assert client.xlen(keys.EVENTS) == 0


def test_who_reads_ahead_hands_them_over_as_they_are(client: redis.Redis, backlog: Backlog) -> None:
    """And none of them twice."""
    Ingress(client, "router", 30).read(1, 1)
    publish(client, large("e1", "e2"))
    ahead = IngressAhead(client)
    assert ahead.is_mine()
    [entries] = [one for one in ahead.after(b"0-0", lambda: 10) if one]
    [result] = routing_results(ahead.received(entries), wanted("policy.deny"))
    assert ahead.hand_over(result, result.done[0]) is None
    assert ids(claim(backlog, "a").batch) == ["e1", "e2"]
    assert counts_of(client) == references_of(client, LANES)


def test_what_is_parked_of_them_is_read_and_dated_first(client: redis.Redis) -> None:
    """The ledger keeps chunks as routers write them."""
    entry = publish(client, large("e1", "e2"))
    route(client, wanted("policy.deny"))
    assert Parking(client, Cap(events=1, size=10)).park("a") == 2
    page = parked(client)

    assert parked_names(page) == ["e1", "e2"]
    [(_, chunk)] = page
    moments = {one.published_ms for one in unpack_chunk(chunk.packed)}
    assert moments == {int(entry.partition(b"-")[0])}
    assert counts_of(client) == references_of(client, LANES)


def rewrite(client: redis.Redis, events: Sequence[QueuedEvent], says: Sequence[QueuedEvent]) -> None:
    """Publish a frame by hand: it says other events than stand there, and has the right checksums."""
    chunk_id, packed = new_framed_id(), pack_chunk([*events])
    client.set(keys.chunk(chunk_id), packed)
    client.xadd(keys.EVENTS, {FRAME: pack_framed("acme", says, packed, chunk_id, is_urgent=True)})


GOOD = [judged(name).event for name in ("e1", "e2", "e3")]
LIES = {
    "fewer events": GOOD[:2],
    "more events": [*GOOD, judged("e4").event],
    "larger events": [*GOOD[:2], judged("e3", padding=9).event],
    "no JSON": [*GOOD[:2], msgspec.structs.replace(GOOD[2], raw=b"x" * len(GOOD[2].raw))],
    "another event behind": [
        *GOOD[:2],
        msgspec.structs.replace(GOOD[2], raw=b"{},{}".ljust(len(GOOD[2].raw))),
    ],
    "an unknown type": [*GOOD[:2], msgspec.structs.replace(GOOD[2], type="policy.other")],
    "a hidden id": [*GOOD[:2], msgspec.structs.replace(GOOD[2], id="a\0b")],
}


@pytest.mark.parametrize("lie", LIES)
def test_a_false_frame_is_dead_letters_and_counts_stay_right(
    client: redis.Redis, backlog: Backlog, lie: str
) -> None:
    """As many as it said; nothing of it is sent, and what stands behind it is."""
    rewrite(client, LIES[lie], GOOD)
    publish(client, large("e5", "e6"))
    route(client, wanted("policy.deny"))

    batch = claim(backlog, "a").batch
    assert ids(batch) == ["e5", "e6"]
    backlog.settle(batch, delivered(batch))
    assert len(dead_events(client)) == len(GOOD)
    assert depth_is_nothing(client, "a")


@pytest.mark.parametrize("damage", ["missing", "other bytes"])
def test_events_that_are_damaged_in_the_ingress_are_dead_letters(
    client: redis.Redis, backlog: Backlog, damage: str
) -> None:
    """For each event one, with what is left of it, when it was published included."""
    publish(client, large("e1", "e2"))
    name = keys.chunk(the_framed(client).chunk_id)
    if damage == "missing":
        client.delete(name)
    else:
        client.setrange(name, 60_000, b"?")
    route(client, wanted("policy.deny"))
    [order] = backlog.wake(["a"])
    backlog.claim(order)

    dead = dead_events(client)
    assert len(dead) == 2
    if damage == "other bytes":
        assert [one.id for one in dead] == ["e1", "e2"]
        assert all(1_700_000_000_000 < one.published_ms < 2**45 for one in dead)


def test_a_damaged_backlog_of_them_is_told(client: redis.Redis, backlog: Backlog) -> None:
    """The word in the place of the checksum is checked, too."""
    publish(client, large("e1", "e2"))
    route(client, wanted("policy.deny"))
    damage_backlog(client, "a", lambda fields: fields | {b"crc": b"00000000@1"})
    [order] = backlog.wake(["a"])
    backlog.claim(order)
    assert len(dead_events(client)) == 2


def test_what_waits_in_the_ingress_is_in_use(client: redis.Redis) -> None:
    """No look removes it, also while a part of the ingress stands aside; what no entry refers to, it does."""
    publish(client, large("e1", "e2"))
    client.rename(keys.EVENTS, f"{keys.EVENTS_ASIDE}:1")
    client.rpush(keys.EVENTS_ASIDE, f"{keys.EVENTS_ASIDE}:1")
    publish(client, large("e3", "e4"))
    left = new_framed_id()
    client.set(keys.chunk(left), b"x")
    sweep = ChunkSweep(client, look_every=0, look_again=0)

    assert whole_look(sweep) == NOTHING
    assert whole_look(sweep) == ChunkFindings(removed=1)
    assert whole_look(sweep) == NOTHING
    assert len([*client.scan_iter("siem:chunk:*")]) == 2
    assert not client.exists(keys.chunk(left))


@pytest.mark.parametrize("steps", range(12))
def test_what_is_handed_over_during_a_look_stays(
    client: redis.Redis, backlog: Backlog, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    """At whatever step of the look that is; also if the look before had missed it."""
    monkeypatch.setattr("worker.broker.shared_chunks._TRIPS", 1)
    publish(client, large("e1", "e2"))
    chunk_id = the_framed(client).chunk_id
    sweep = ChunkSweep(client, look_every=0, look_again=0)
    sweep._suspects = {chunk_id}  # noqa: SLF001 - the worst that a look before can have found
    for _ in range(steps):
        sweep.step()
    route(client, wanted("policy.deny"))
    whole_look(sweep)

    assert counts_of(client) == {chunk_id.encode(): 2}
    assert [ids(claim(backlog, one).batch) for one in AB] == [["e1", "e2"]] * 2
    # Else a busy fleet would be looked at ten times as often.
    assert sweep._suspects == set()  # noqa: SLF001 - what the next look would count again


def test_a_look_while_entries_change_places_decides_nothing(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it did not find in the ingress may have gone past it."""
    publish(client, large("e1", "e2"))
    chunk_id = the_framed(client).chunk_id
    sweep = ChunkSweep(client, look_every=0, look_again=0)
    moved = iter([(list[bytes](), None), (list[bytes](), b"1 2")])
    monkeypatch.setattr(sweep, "_aside", lambda: next(moved))
    client.rename(keys.EVENTS, "siem:elsewhere")
    whole_look(sweep)
    assert chunk_id not in sweep._suspects  # noqa: SLF001 - what the next look would remove


def test_a_damaged_frame_dies_event_by_event_with_what_stands_apart(client: redis.Redis) -> None:
    """Its events can still be read; their key goes."""
    publish(client, large("e1", "e2"))
    found: Any = client.xrange(keys.EVENTS)
    [(entry, fields)] = found
    damaged = bytearray(fields[FRAME])
    damaged[20] ^= 1
    client.xdel(keys.EVENTS, entry)
    client.xadd(keys.EVENTS, {FRAME: bytes(damaged)})
    route(client, wanted("policy.deny"))

    assert [one.id for one in dead_events(client)] == ["e1", "e2"]
    assert not [*client.scan_iter("siem:chunk:*")]
