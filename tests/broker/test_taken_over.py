"""A router that slept hands over nothing that another one has taken over meanwhile."""

import threading
from typing import Any

import pytest
import redis

from tests.broker.sending import event
from tests.broker.test_oom import full
from worker.broker import keys
from worker.broker.ingress import Ingress, IngressEntry, RoutedChunk, RoutingResult, counters
from worker.model.errors import BrokerFull


def _handover(arrivals: list[IngressEntry]) -> RoutingResult:
    events = [event(one.entry_id.decode()) for one in arrivals]
    done = [one.entry_id for one in arrivals]
    return RoutingResult([RoutedChunk(["a"], urgent=True, events=events)], done=done)


def _router(client: redis.Redis, name: str) -> Ingress:
    """Make one for which every moment is a long sleep, and which takes over at once."""
    return Ingress(client, name, 0)


@pytest.fixture
def sleeper(client: redis.Redis) -> Ingress:
    """Give a router that is to read three events."""
    made = _router(client, "sleeper")
    made.read(1, 1)  # makes the group
    for number in range(3):
        client.xadd(keys.EVENTS, {"event": b"e%d" % number})
    return made


@pytest.mark.parametrize("is_done", [False, True], ids=["taken over", "finished"])
def test_what_another_one_took_over_is_not_handed_over_twice(
    client: redis.Redis, sleeper: Ingress, *, is_done: bool
) -> None:
    """Whether or not that one has finished; what is left comes back."""
    own = sleeper.read(3, 1)
    other = _router(client, "other")
    taken = other.read(1, 1)
    if is_done:
        assert other.hand_over(_handover(taken))

    assert not sleeper.hand_over(_handover(own))
    assert counters(client)["published"] == int(is_done)
    sleeper.read_again()
    rest = sleeper.read(3, 1)
    assert [one.entry_id for one in rest] == [one.entry_id for one in own[1:]]
    assert sleeper.hand_over(_handover(rest))
    assert is_done or other.hand_over(_handover(taken))
    assert client.hget(keys.state_key("a"), "backlog_events") == b"3"
    assert client.xlen(keys.EVENTS) == 0


def _check_handed_over(client: redis.Redis, router: Ingress, arrivals: list[IngressEntry]) -> None:
    assert router.hand_over(_handover(arrivals))
    assert client.xlen(keys.EVENTS) == 0
    assert client.xpending(keys.EVENTS, keys.ROUTER_GROUP)["pending"] == 0
    assert counters(client)["published"] == 3


def test_what_it_still_holds_is_handed_over(client: redis.Redis, sleeper: Ingress) -> None:
    """However late."""
    _check_handed_over(client, sleeper, sleeper.read(3, 1))


def test_a_full_redis_is_relieved_late_as_well(client: redis.Redis, sleeper: Ingress) -> None:
    """Within the same bounds."""
    own = sleeper.read(3, 1)
    with full(client), pytest.raises(BrokerFull):
        sleeper.hand_over(_handover(own))
    with full(client, far_beyond=False):
        _check_handed_over(client, sleeper, own)


class Freed:
    """A client of a Redis in which memory is free again once it has said how much there is."""

    def __init__(self, client: redis.Redis) -> None:
        """Do everything else as the client does it."""
        self._client = client

    def info(self, section: str) -> Any:
        """Answer as Redis did a moment ago."""
        found = self._client.info(section)
        self._client.config_set("maxmemory", 0)
        return found

    def __getattr__(self, name: str) -> Any:
        """Do it as the client does it."""
        return getattr(self._client, name)


def test_who_is_late_in_a_full_redis_hands_nothing_over_twice(client: redis.Redis) -> None:
    """Although there is room a moment later."""
    sleeper = _router(Freed(client), "sleeper")  # type: ignore[arg-type]  # a stand-in
    sleeper.read(1, 1)  # makes the group
    client.xadd(keys.EVENTS, {"event": b"e"})
    own = sleeper.read(1, 1)
    other = _router(client, "other")
    assert other.hand_over(_handover(other.read(1, 1)))

    with full(client), pytest.raises(BrokerFull):
        sleeper.hand_over(_handover(own))
    assert counters(client)["published"] == client.xlen(keys.urgent("a")) == 1


def test_without_its_group_nobody_has_taken_it(client: redis.Redis, sleeper: Ingress) -> None:
    """Redis was emptied meanwhile: what this router has in hand is all that is left of it."""
    own = sleeper.read(3, 1)
    client.flushall()
    assert sleeper.hand_over(_handover(own))
    assert client.xlen(keys.urgent("a")) == 1


def test_who_fell_asleep_while_it_waited_notices_as_well(client: redis.Redis) -> None:
    """It was given the event long before it woke up and read that."""
    sleeper, other = Ingress(client, "sleeper", 0.2), _router(client, "other")
    sleeper.read(1, 1)  # makes the group
    later = threading.Timer(0.2, client.xadd, [keys.EVENTS, {"event": b"e"}])
    later.start()
    own = sleeper.read(1, 10_000)
    later.join()

    assert other.hand_over(_handover(other.read(1, 1)))
    assert not sleeper.hand_over(_handover(own))
    assert counters(client)["published"] == 1
