"""A hand-over is one step: what was routed stands in the backlogs, and nowhere else any more."""

from typing import Any

import pytest
import redis

from tests.broker.sending import event
from worker.broker import keys
from worker.broker.ingress import Ingress, RoutedChunk, RoutingResult, counters
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
