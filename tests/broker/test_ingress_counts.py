"""How many events wait: exactly while few entries do, and about right when many do; each form counts."""

import json

import pytest
import redis

from tests.broker.test_frames import judged
from worker.broker import ingress_counts, keys
from worker.broker.frames import pack_frame
from worker.broker.ingress import Ingress
from worker.broker.ingress_counts import count_unrouted, count_unrouted_of, ingress_depth, unrouted_roughly


def frame(events: int, tenant: str = "acme") -> bytes:
    """Make a frame of so many events."""
    return pack_frame(tenant, [judged(f"e{at}").event for at in range(events)], is_urgent=True)


def line(tenant: str) -> bytes:
    """Make an event of this tenant."""
    return json.dumps({"id": "e", "type": "policy.deny", "tenant_id": tenant}).encode()


def test_each_form_counts_as_the_events_that_it_holds(client: redis.Redis) -> None:
    """What holds none becomes one dead letter, and counts as one."""
    assert (count_unrouted(client), ingress_depth(client)) == (0, (0, 0))
    for fields in [
        {"event": line("acme")},
        {"frame": frame(300)},
        {"events": line("acme") + b"\n" + line("globex") + b"\n"},
        {"traceparent": b"x", "frame": frame(7, "globex")},
        {"frame": b"\x01"},
        {"events": b"\n"},
        {"events": b"\n" * (2 << 20)},
        {"something": "else"},
    ]:
        client.xadd(keys.EVENTS, fields)  # type: ignore[arg-type]  # redis-py is too narrow here

    assert count_unrouted(client) == 1 + 300 + 2 + 7 + 1 + 1 + 1 + 1
    assert ingress_depth(client) == (8, 314)
    assert count_unrouted_of(client, "acme") == 302
    assert count_unrouted_of(client, "globex") == 8


def test_of_many_entries_those_at_both_ends_are_looked_into(client: redis.Redis) -> None:
    """A thousand single ones, then frames: half of what is looked into is of either kind."""
    pipeline = client.pipeline(transaction=False)
    for _ in range(500):
        pipeline.xadd(keys.EVENTS, {"event": line("acme")})
    for _ in range(500):
        pipeline.xadd(keys.EVENTS, {"frame": frame(3)})
    pipeline.execute()

    assert count_unrouted(client) == 2000
    assert unrouted_roughly(client, 1_500) == 2000
    assert unrouted_roughly(client, 900) == 1000
    assert unrouted_roughly(client, 10_000_000) == 1000


def test_what_stands_aside_counts(client: redis.Redis) -> None:
    """Its ids were ahead of the clock."""
    client.rpush(keys.EVENTS_ASIDE, keys.EVENTS_ASIDE + ":1")
    client.xadd(keys.EVENTS_ASIDE + ":1", {"frame": frame(5)})
    assert ingress_depth(client) == (1, 5)


def test_too_much_is_not_looked_through(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """By entries, and by bytes: frames are large."""
    for _ in range(6):
        client.xadd(keys.EVENTS, {"frame": frame(5)})
    assert count_unrouted_of(client, "acme") == 30
    monkeypatch.setattr(ingress_counts, "_READ_BYTES", 1)
    monkeypatch.setattr(ingress_counts, "_MOST_BYTES", 3)
    assert count_unrouted_of(client, "acme") is None


def test_what_is_read_keeps_its_form(client: redis.Redis) -> None:
    """Of an entry with several, `event` counts, then `frame`."""
    ingress = Ingress(client, "router", 30)
    ingress.read(1, 1)
    client.xadd(keys.EVENTS, {"events": b"l"})
    client.xadd(keys.EVENTS, {"events": b"l", "frame": b"f"})
    client.xadd(keys.EVENTS, {"events": b"l", "frame": b"f", "event": b"e"})

    assert [(one.form, one.raw) for one in ingress.read(5, 1)] == [
        (b"events", b"l"),
        (b"frame", b"f"),
        (b"event", b"e"),
    ]
