"""A hand-over is one step: what was routed stands in the backlogs, and nowhere else any more."""

from collections.abc import Sequence
from typing import Any

import pytest
import redis

from tests.broker.sending import event
from tests.fleet import wait_until
from worker.broker import keys
from worker.broker.ingress import LIGHT_READ, Ingress, IngressEntry, RoutedChunk, RoutingResult, counters
from worker.model.errors import BrokerUnavailable


def test_what_is_handed_over_leaves_the_ingress(client: redis.Redis) -> None:
    """Its entry is finished and deleted in the same step; else Redis would fill with what was routed."""
    router = Ingress(client, "router", 30)
    router.read(1, 1)  # makes the group
    for number in range(5):
        client.xadd(keys.EVENTS, {"event": b"e%d" % number})
    found = router.read(3, 1)
    events = [event(one.entry_id.decode()) for one in found]

    done = [one.entry_id for one in found]
    assert router.hand_over(RoutingResult([RoutedChunk(["a"], urgent=True, events=events)], done=done))

    assert client.xlen(keys.EVENTS) == 2
    left: Any = client.xrange(keys.EVENTS)
    pending: Any = client.xpending(keys.EVENTS, keys.ROUTER_GROUP)
    assert not {entry for entry, _ in left} & set(done)
    assert pending["pending"] == 0
    assert client.hget(keys.state_key("a"), "backlog_events") == b"3"
    assert counters(client)["published"] == 3


def _gone() -> None:
    raise redis.ConnectionError


def test_what_was_read_before_an_error_is_read_again(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis goes away when it is asked for its time, since an id is ahead of the clock of this host."""
    router = Ingress(client, "router", 30)
    router.read(1, 1)
    client.xadd(keys.EVENTS, {"event": b"e"}, id="9999999999999-0")
    with monkeypatch.context() as patch:
        patch.setattr(client, "time", _gone)
        with pytest.raises(BrokerUnavailable):
            router.read(1, 1)

    assert [one.raw for one in router.read(1, 1)] == [b"e"]


def finish(router: Ingress, found: Sequence[IngressEntry]) -> None:
    """Hand entries over that nobody wants."""
    assert router.hand_over(RoutingResult(done=[one.entry_id for one in found]))


def weighings(client: redis.Redis) -> int:
    """Count how often Redis was asked how much memory a stream takes."""
    found: Any = client.info("commandstats")
    return sum(int(one["calls"]) for name, one in found.items() if name.startswith("cmdstat_memory"))


def test_what_trickles_in_is_not_weighed(client: redis.Redis) -> None:
    """Where a hand-over has left nothing, no more is read than can be too heavy; the rest is weighed."""
    router = Ingress(client, "router", 30)
    router.read(1, 1)
    client.xadd(keys.EVENTS, {"event": b"e0"})
    finish(router, router.read(1000, 1))
    for number in range(300):
        client.xadd(keys.EVENTS, {"event": b"%d" % number})

    before = weighings(client)
    first = router.read(1000, 1)
    assert weighings(client) == before
    assert router.waiting() == 300
    finish(router, first)
    rest = router.read(1000, 1)

    assert [one.raw for one in (*first, *rest)] == [b"%d" % number for number in range(300)]
    assert len(first) == LIGHT_READ
    assert weighings(client) == before + 1


def test_what_could_not_be_handed_over_is_read_whole_again(client: redis.Redis) -> None:
    """It is not known then how much waits."""
    router = Ingress(client, "router", 30)
    router.read(1, 1)
    for number in range(3):
        client.xadd(keys.EVENTS, {"event": b"e%d" % number})
    router.read(1000, 1)
    router.read_again()

    assert len(router.read(1000, 1)) == 3


def test_the_version_of_the_integrations_is_read_behind_the_events(client: redis.Redis) -> None:
    """One that was made before an event was published is known with it; of what is taken over, nothing is."""
    router, other = Ingress(client, "router", 0.001), Ingress(client, "other", 30)
    other.read(1, 1)
    client.set(keys.INTEGRATIONS_VERSION, "1")
    client.xadd(keys.EVENTS, {"event": b"e0"})
    assert other.read(1, 1)
    assert other.version == b"1"

    def taken() -> bool:
        return bool(router.read(1, 1))

    wait_until(taken, "another router takes the entry over")
    assert router.version is None
