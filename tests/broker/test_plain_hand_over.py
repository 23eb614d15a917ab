"""The hand-over of what trickles in does what the whole one does, for fewer commands."""

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import redis

from tests.broker.sending import TIMING, append, claim, delivered, event, subscribe
from tests.broker.test_oom import full
from worker.broker import hand_over, keys
from worker.broker.backlog import Backlog
from worker.broker.clocks import redis_now_ms
from worker.broker.formats import READABLE
from worker.broker.ingress import Ingress, RoutedChunk, RoutingResult
from worker.model.errors import BrokerUnavailable

#: What is prepared in front of a hand-over.
Prepare = Callable[[redis.Redis], Any]
#: So many commands a hand-over to a worker that is there may take, with those of its script.
MOST_COMMANDS = 8

STATE = keys.state_key("a")
PREPARED: dict[str, Prepare] = {
    "nothing": lambda _: None,
    "no counts": lambda client: client.hdel(STATE, "backlog_events", "unclaimed_events"),
    "damaged counts": lambda client: client.hset(
        STATE, mapping={"backlog_events": "x", "unclaimed_bytes": "y"}
    ),
    "damaged total": lambda client: client.hset(keys.COUNTERS, "published", "x"),
    "no state": lambda client: client.set(STATE, "x"),
    "no lane": lambda client: client.set(keys.urgent("a"), "x"),
    "no second lane": lambda client: client.set(keys.bulk("b"), "x"),
    "breaker": lambda client: client.hset(
        STATE, mapping={"breaker": "open", "ordered_at": redis_now_ms(client)}
    ),
    "ordered": lambda client: client.hset(STATE, "ordered_at", redis_now_ms(client) + 60_000),
    "ordered long ago": lambda client: client.hset(STATE, "ordered_at", redis_now_ms(client) - 60_000),
    "claimed": lambda client: client.hset(STATE, "claimed_at", redis_now_ms(client) + 60_000),
    "paused": lambda client: client.hset(STATE, "held", "1"),
    "no ingress": lambda client: client.delete(keys.EVENTS),
    "damaged ingress": lambda client: [client.delete(keys.EVENTS), client.set(keys.EVENTS, "x")],
}


def _routed(*done: bytes) -> RoutingResult:
    """Return what is to be handed over: an event for `a`, and one for `b` and `c`."""
    return RoutingResult(
        [
            RoutedChunk(["a"], urgent=True, events=[event("e1")]),
            RoutedChunk(["b", "c"], urgent=False, events=[event("e2"), event("e3")], traces=b"t"),
        ],
        done=list(done),
    )


def _router(client: redis.Redis) -> tuple[Ingress, list[bytes]]:
    """Return a router that has read two entries, one of which is not to be handed over, and integrations."""
    client.set(keys.FORMATS, " ".join(READABLE))
    subscribe(client, "a", "b", "c")
    for one in ("a", "b", "c"):
        append(client, one, [["e0"]])
    router = Ingress(client, "router", 30)
    router.read(1, 1)
    client.xadd(keys.EVENTS, {"event": b"e"})
    client.xadd(keys.EVENTS, {"event": b"e"})
    return router, [entry.entry_id for entry in router.read(2, 1)]


def _masked(value: bytes) -> str:
    return re.sub(r"\d{13}(-\d+)?", "T", value.decode(errors="replace"))


def _standing(client: redis.Redis) -> dict[bytes, Any]:
    """Return what stands in Redis, less its times, and what is noted of keys that were moved away."""
    found: dict[bytes, Any] = {}
    names: Any = client.keys()
    for key in sorted(names):
        kind: Any = client.type(key)
        value: Any
        if kind == b"hash":
            value = client.hgetall(key)
            found[key] = {field: _masked(text) for field, text in value.items()}
        elif kind == b"stream":
            value = client.xrange(key)
            found[key] = [fields for _, fields in value]
        elif kind == b"zset":
            value = client.zrange(key, 0, -1)
            found[key] = value
    with suppress(redis.ResponseError):
        found[b"pending"] = client.xpending(keys.EVENTS, keys.ROUTER_GROUP)["pending"]
    return found


def _passed(client: redis.Redis, prepare: Prepare) -> list[Any]:
    """Hand over; return what came of it, who was woken, and what stands in Redis."""
    client.flushdb()
    router, (first, _) = _router(client)
    backlog = Backlog(client, TIMING)
    backlog.wake([])
    prepare(client)
    wakes = backlog.wakes(["a", "b", "c"])
    steps: list[Any] = []
    try:
        steps.append(router.hand_over(_routed(first), wakes))
    except BrokerUnavailable:
        steps.append("refused")
    else:
        steps += [router.waiting(), sorted(order.integration_id for order in wakes.orders())]
    return [*steps, _standing(client)]


@pytest.mark.parametrize("name", PREPARED)
def test_it_ends_as_the_whole_one(client: redis.Redis, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Whatever it meets: it does the same, or leaves it to the other."""
    plain = _passed(client, PREPARED[name])
    with monkeypatch.context() as patched:
        patched.setattr(hand_over, "_is_plain", lambda _: False)
        whole = _passed(client, PREPARED[name])

    assert plain == whole


def _commands(client: redis.Redis) -> int:
    return sum(one["calls"] for one in client.info("commandstats").values())


def _staying(client: redis.Redis) -> tuple[Ingress, list[bytes], Backlog]:
    """Return a router that has read two entries, for an integration with which a worker stays."""
    router, entries = _router(client)
    backlog = Backlog(client, TIMING)
    batch = claim(backlog, "a").batch
    assert backlog.settle(batch, delivered(batch), stay=True) is not None
    return router, entries, backlog


def _hand_over(router: Ingress, backlog: Backlog, entry: bytes) -> list[str]:
    """Hand over an event for `a`; return who was woken."""
    wakes = backlog.wakes(["a"])
    chunk = RoutedChunk(["a"], urgent=True, events=[event("e")])
    assert router.hand_over(RoutingResult([chunk], done=[entry]), wakes)
    return [order.integration_id for order in wakes.orders()]


def test_who_is_there_is_not_woken_and_it_costs_few_commands(client: redis.Redis) -> None:
    """The whole one takes four more; the first one is sent with a wake behind it, for it is not known yet."""
    router, (first, second), backlog = _staying(client)
    assert not _hand_over(router, backlog, first)
    before = _commands(client)

    assert not _hand_over(router, backlog, second)

    assert _commands(client) - before <= MOST_COMMANDS + 1  # which counts them
    assert client.hget(STATE, "backlog_events") == b"2"


def test_who_was_not_there_is_woken_afterwards_and_then_at_once(client: redis.Redis) -> None:
    """The first time by a round trip of its own: it was not to be expected."""
    router, (first, second), backlog = _staying(client)
    assert not _hand_over(router, backlog, first)
    client.hdel(STATE, "ordered_at")

    assert _hand_over(router, backlog, second) == ["a"]

    client.hset(STATE, "ordered_at", 1)
    client.xadd(keys.EVENTS, {"event": b"e"})
    [entry] = router.read(1, 1)
    wakes = backlog.wakes(["a"])
    chunk = RoutedChunk(["a"], urgent=True, events=[event("e")])
    router.hand_over(RoutingResult([chunk], done=[entry.entry_id]), wakes)
    before = _commands(client)
    assert [order.integration_id for order in wakes.orders()] == ["a"]
    assert _commands(client) - before == 1


def test_a_full_redis_has_it_done_by_the_whole_one(client: redis.Redis) -> None:
    """Only what is handed over is ever sent, and only what is sent frees memory."""
    router, (first, _), backlog = _staying(client)
    with full(client, far_beyond=False):
        assert not _hand_over(router, backlog, first)

    assert client.hget(STATE, "backlog_events") == b"1"
    assert client.xlen(keys.EVENTS) == 1
