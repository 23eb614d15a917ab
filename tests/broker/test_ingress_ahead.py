"""Handing over out of turn: whole or not at all, and never what a reader of the group was given."""

import time
from collections.abc import Collection, Sequence

import pytest
import redis
from redis.exceptions import ResponseError

from tests.broker.sending import event
from tests.broker.test_oom import full
from worker.broker import keys
from worker.broker.ingress import Ingress, IngressEntry, RoutedChunk, RoutingResult, counters
from worker.broker.ingress_ahead import IngressAhead, NotLeader
from worker.broker.notices import FLOODS_LAST, floods
from worker.broker.volumes import Volume, volumes_of
from worker.pipeline.lookahead import RouteAhead


def publish(client: redis.Redis, count: int) -> list[bytes]:
    """Add entries to the ingress; return their ids."""
    return [client.xadd(keys.EVENTS, {"event": b"e%d" % number}) for number in range(count)]  # type: ignore[misc]  # redis-py's types


def given(ingress: Ingress, count: int) -> list[bytes]:
    """Let a router read that many from the head."""
    ingress.read(1, 1)  # makes the group
    return [one.entry_id for one in ingress.read(count, 1)] if count else []


def read(ahead: IngressAhead, entry_id: bytes, window: int = 100) -> list[IngressEntry]:
    """Read to the end."""
    return [one for entries in ahead.after(entry_id, lambda: window) for one in ahead.received(entries)]


def routing_result(*done: bytes) -> RoutingResult:
    """Hand these over to integration `a`."""
    events = [event(one.decode()) for one in done]
    return RoutingResult(
        [RoutedChunk(["a"], urgent=True, events=events)],
        volumes={("policy.deny", "acme"): Volume(len(done), 10)},
        done=list(done),
    )


@pytest.mark.parametrize("window", [1, 2, 3, 100])
def test_it_reads_everything_beyond_the_head(client: redis.Redis, window: int) -> None:
    """In order, once, and nothing that a reader was given."""
    ahead, ingress = IngressAhead(client), Ingress(client, "test", 30)
    assert ahead.head() is None
    entries = publish(client, 6)
    taken = given(ingress, 2)

    head = ahead.head()
    assert head == taken[-1] == entries[1]
    assert [one.entry_id for one in read(ahead, head, window)] == entries[2:]


def test_one_that_does_not_read_to_the_end_leaves_the_connection_fit(client: redis.Redis) -> None:
    """The answer that was under way is not taken for another one's."""
    publish(client, 4)
    ahead = IngressAhead(client)
    reads = ahead.after(b"0-0", lambda: 1)
    next(reads)
    reads.close()

    assert client.ping()
    assert len(read(ahead, b"0-0")) == 4


def test_what_is_handed_over_is_gone_and_the_rest_is_not(client: redis.Redis) -> None:
    """All that a hand-over does is done, and those who read from the head find the rest."""
    entries, ingress, ahead = publish(client, 4), Ingress(client, "test", 30), IngressAhead(client)
    given(ingress, 0)
    assert ahead.is_mine()

    assert ahead.hand_over(routing_result(entries[1], entries[3]), entries[1]) is None
    assert client.xlen(keys.urgent("a")) == 1
    assert client.hget(keys.state_key("a"), "backlog_events") == b"2"
    assert counters(client)["published"] == 2
    assert volumes_of(client, "acme")["policy.deny"].events == 2
    assert [one.entry_id for one in ingress.read(10, 1)] == [entries[0], entries[2]]


def test_what_a_router_was_given_is_not_to_be_had(client: redis.Redis) -> None:
    """Nothing happens; the answer says up to where."""
    entries, ingress, ahead = publish(client, 4), Ingress(client, "test", 30), IngressAhead(client)
    given(ingress, 2)
    assert ahead.is_mine()

    assert ahead.hand_over(routing_result(entries[1], entries[3]), entries[1]) == entries[1]
    assert client.xlen(keys.EVENTS) == 4
    assert not client.exists(keys.urgent("a"), keys.COUNTERS)
    assert ahead.hand_over(routing_result(entries[3]), entries[3]) is None


NUMBERS = [
    (b"9-9", b"10-0"),
    (b"10-9", b"10-10"),
    (b"9223372036854775807-1", b"9223372036854775808-0"),
    (b"9007199254740992-5", b"9007199254740993-0"),
]


def test_ids_are_compared_as_numbers(client: redis.Redis, subtests: pytest.Subtests) -> None:
    """A publisher may choose an id that no floating-point number holds."""
    for earlier, later in NUMBERS:
        with subtests.test(earlier=earlier, later=later):
            client.flushall()
            ahead = IngressAhead(client)
            assert ahead.is_mine()

            client.xgroup_create(keys.EVENTS, keys.ROUTER_GROUP, later, mkstream=True)
            assert ahead.hand_over(routing_result(earlier), earlier) == later
            assert ahead.hand_over(routing_result(later), later) == later
            client.xgroup_setid(keys.EVENTS, keys.ROUTER_GROUP, earlier)
            assert ahead.hand_over(routing_result(later), later) is None


def test_one_at_a_time_reads_ahead(client: redis.Redis) -> None:
    """Who slept and lost its turn hands nothing over."""
    entries, ingress = publish(client, 1), Ingress(client, "test", 30)
    given(ingress, 0)
    sleeper, next_one = IngressAhead(client), IngressAhead(client)
    assert sleeper.is_mine()
    assert not next_one.is_mine()
    client.delete(keys.AHEAD_LOCK)
    assert next_one.is_mine()

    with pytest.raises(NotLeader):
        sleeper.hand_over(routing_result(*entries), entries[0])
    assert client.xlen(keys.EVENTS) == 1
    next_one.pass_on()
    assert sleeper.is_mine()


def test_who_lost_its_turn_forgets_what_it_found(client: redis.Redis) -> None:
    """Another router handed it over and died meanwhile: nothing goes twice when the turn comes back."""
    publish(client, 6)
    given(Ingress(client, "test", 30), 0)
    routed: list[bytes] = []

    def route(batch: Sequence[IngressEntry], _: object) -> list[RoutingResult]:
        return [routing_result(*(one.entry_id for one in batch))]

    def wake(done: RoutingResult, _: object) -> None:
        routed.extend(done.done)
        time.sleep(0.3)  # as much as is routed before it is read on

    class Sleeper(IngressAhead):
        """Falls asleep once, when it has handed over a part."""

        def note(self, tenants: Collection[str]) -> None:
            super().note(tenants)
            client.delete(keys.AHEAD_LOCK)
            other = IngressAhead(client)
            assert other.is_mine()
            for entries in list(other.after(b"0-0", lambda: 100)):
                for entry_id, _ in entries:
                    assert other.hand_over(routing_result(entry_id), entry_id) is None
                    routed.append(entry_id)
            client.delete(keys.AHEAD_LOCK)

    ahead = RouteAhead(Sleeper(client), route, dict, wake)
    ahead.go_on(1)
    ahead.go_on(1)

    assert len(routed) == len(set(routed)) == 6
    assert counters(client)["published"] == 6


def test_a_full_redis_is_relieved_within_bounds(client: redis.Redis) -> None:
    """As those who read from the head do it; far beyond its limit none reads ahead."""
    entries, ingress, ahead = publish(client, 2), Ingress(client, "test", 30), IngressAhead(client)
    given(ingress, 0)
    with full(client):
        assert not ahead.is_mine()
    with full(client, far_beyond=False):
        assert ahead.is_mine()
        with pytest.raises(ResponseError):
            client.xadd(keys.EVENTS, {"event": b"new"})
        assert ahead.hand_over(routing_result(entries[1]), entries[1]) is None
    assert client.xlen(keys.EVENTS) == 1
    assert client.xlen(keys.urgent("a")) == 1


def test_a_damaged_count_begins_again(client: redis.Redis) -> None:
    """The hand-over is carried out all the same."""
    entries, ingress, ahead = publish(client, 1), Ingress(client, "test", 30), IngressAhead(client)
    given(ingress, 0)
    client.hset(keys.state_key("a"), "backlog_events", "damaged")
    assert ahead.is_mine()

    assert ahead.hand_over(routing_result(*entries), entries[0]) is None
    assert client.hget(keys.state_key("a"), "backlog_events") == b"1"
    assert client.xlen(keys.EVENTS) == 0


def test_who_floods_is_written_down(client: redis.Redis) -> None:
    """Whatever the tenants are called, full or not; none when it is over, or the key is of another type."""
    ahead = IngressAhead(client)
    assert floods(client) is None
    with full(client):
        ahead.note(["acme", 'a"\n\x00\u2028'])
    assert set(floods(client) or ()) == {"acme", 'a"\n\x00\u2028'}
    assert 0 < client.ttl(keys.FLOODS) <= FLOODS_LAST
    ahead.note([])
    assert floods(client) == frozenset()
    ahead.pass_on()
    assert floods(client) is None
    client.set(keys.FLOODS, "else")
    assert floods(client) is None
