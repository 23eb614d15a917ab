"""What Redis says of the state of integrations, and of the fleet itself."""

import time

import pytest
import redis

from tests.broker.sending import TIMING, append, claim, delivered, failed, subscribe
from tests.logged import fields_of
from worker.broker import keys
from worker.broker.backlog import Backlog, Timing
from worker.broker.hand_over import append as append_chunks
from worker.broker.ingress import RoutedChunk
from worker.broker.redis_stats import RedisStats
from worker.model.breaker import BreakerPolicy
from worker.model.events import QueuedEvent
from worker.model.health import BacklogStats
from worker.model.log_events import INTEGRATION_STATS_UNREADABLE


def published_at(client: redis.Redis, moment: int, count: int, *, urgent: bool) -> None:
    """Put a chunk of large events into a lane, the first of which was published at that moment."""
    events = [
        QueuedEvent("é" * 128, "policy.deny", 1, moment + number, b"x" * 200) for number in range(count)
    ]
    pipeline = client.pipeline(transaction=True)
    append_chunks(pipeline, [RoutedChunk(["int_a"], urgent, events)])
    pipeline.execute()


def test_an_integration_for_which_nothing_waits_has_no_figures(client: redis.Redis) -> None:
    """No key, no figures; and without an id nothing is asked."""
    signs = RedisStats(client)

    assert signs.of(["int_a"]) == {"int_a": BacklogStats()}
    assert signs.of([]) == {}


def test_each_of_hundreds_has_its_own_figures(client: redis.Redis) -> None:
    """Those of which there is nothing to say are not among the answers of Redis."""
    names = [f"i{number}" for number in range(600)]
    for name, events in (("i0", 1), ("i249", 2), ("i250", 3), ("i599", 4)):
        append(client, name, [["e"] * events])
    client.set("siem:state:i300", "no hash")

    found = RedisStats(client).of(names)

    waiting = {name: one.backlog_events for name, one in found.items() if one != BacklogStats()}
    assert waiting == {"i0": 1, "i249": 2, "i250": 3, "i599": 4}
    assert list(found) == names


def test_the_oldest_event_is_found_in_either_lane(client: redis.Redis, subtests: pytest.Subtests) -> None:
    """When it came here is another time than when it was published, however large its chunk is."""
    for count in (1, 15, 16, 1000, 70_000):
        with subtests.test(count=count):
            client.flushall()
            before = RedisStats(client).now_ms()
            published_at(client, 5_000, 1, urgent=True)
            published_at(client, 4_000, count, urgent=False)
            published_at(client, 3_000, 1, urgent=False)  # came later, though published earlier: a replay
            backlog_stats = RedisStats(client).of(["int_a"])["int_a"]

            assert backlog_stats.backlog_events == count + 2
            assert backlog_stats.oldest_published_ms == 4_000
            assert backlog_stats.waiting_since_ms is not None
            assert before <= backlog_stats.waiting_since_ms <= RedisStats(client).now_ms()


def test_what_is_on_its_way_still_waits(client: redis.Redis) -> None:
    """Until it is settled; then nothing is left."""
    subscribe(client, "int_a")
    append(client, "int_a", [["e1", "e2"]])
    backlog = Backlog(client, TIMING)
    claimed = claim(backlog, "int_a")
    meanwhile = RedisStats(client).of(["int_a"])["int_a"]
    backlog.settle(claimed.batch, delivered(claimed.batch))
    afterwards = RedisStats(client).of(["int_a"])["int_a"]

    assert (meanwhile.backlog_events, meanwhile.oldest_published_ms) == (2, 2_000)
    assert (afterwards.backlog_events, afterwards.waiting_since_ms) == (0, None)


def test_a_chunk_that_is_not_ours_is_no_error(client: redis.Redis) -> None:
    """The moment at which it came has to do."""
    client.xadd(keys.urgent("int_a"), {"n": 1, "bytes": 1, "events": b"\xc1 no chunk"})
    backlog_stats = RedisStats(client).of(["int_a"])["int_a"]

    assert backlog_stats.oldest_published_ms == backlog_stats.waiting_since_ms is not None


def test_a_broken_backlog_hides_no_other(client: redis.Redis, caplog: pytest.LogCaptureFixture) -> None:
    """Keys of another type concern the one that they belong to."""
    client.set(keys.state_key("int_a"), "no hash")
    append(client, "int_b", [["e1"]])
    found = RedisStats(client).of(["int_a", "int_b"])

    assert found["int_a"] == BacklogStats()
    assert found["int_b"].backlog_events == 1
    assert [one["integration"] for one in fields_of(caplog, INTEGRATION_STATS_UNREADABLE)] == ["int_a"]


def test_the_breaker_is_reported(client: redis.Redis) -> None:
    """Why and since when it is open, and when the next batch tries; and, later, when it closed."""
    subscribe(client, "int_a")
    append(client, "int_a", [["e1"]])
    backlog = Backlog(client, Timing(60, 30, 5, BreakerPolicy(failures=1, first_probe=30)))
    claimed = claim(backlog, "int_a")
    backlog.settle(claimed.batch, failed(claimed.batch))
    opened = RedisStats(client).of(["int_a"])["int_a"]
    client.hset(keys.state_key("int_a"), "probe_at", 0)
    probe = claim(backlog, "int_a")
    trying = RedisStats(client).of(["int_a"])["int_a"]
    backlog.settle(probe.batch, delivered(probe.batch))
    closed = RedisStats(client).of(["int_a"])["int_a"]

    assert opened.breaker is not None
    assert opened.breaker.cause == "destination_busy"
    assert opened.breaker.since_ms <= opened.breaker.next_try_ms
    assert not opened.breaker.trying
    assert trying.breaker is not None
    assert trying.breaker.trying
    assert closed.breaker is None
    assert closed.closed_ms >= opened.breaker.since_ms


def test_the_fleet_reports_which_processes_run_and_what_waits(client: redis.Redis) -> None:
    """Processes of each role, entries between them and the age of the oldest, orders in each queue."""
    for role in ("router:h:1", "router:h:2", "worker-webhook:h:3"):
        client.set(f"siem:alive:{role}", 1)
    client.xadd(keys.EVENTS, {"event": b"{}"}, id=f"{round(time.time() * 1000) - 7_000}-0")
    client.xadd(keys.EVENTS, {"event": b"{}"})
    client.xadd(keys.OUTCOMES, {"outcomes": b""})
    client.xadd(keys.UNRECORDABLE, {"raw": b""})
    client.lpush("siem:celery:webhook", b"order", b"order")
    fleet = RedisStats(client).of_fleet()

    assert fleet.processes == {"router": 2, "worker-webhook": 1}
    assert fleet.to_route.entries == 2
    assert 6 < fleet.to_route.seconds(fleet.now_ms) < 60
    assert fleet.to_record.entries == 1
    assert fleet.unrecordable == 1
    assert {kind: one.entries for kind, one in fleet.queues.items()} == {
        "splunk_hec": 0,
        "syslog_cef": 0,
        "webhook": 2,
    }


def test_what_is_recorded_is_known_up_to_the_oldest_that_is_not(client: redis.Redis) -> None:
    """Or up to now, when nothing waits for a recorder."""
    signs = RedisStats(client)
    before = signs.now_ms()
    all_of_it = signs.recorded_until_ms()
    client.xadd(keys.OUTCOMES, {"outcomes": b""}, id="5000-0")

    assert all_of_it >= before
    assert signs.recorded_until_ms() == 5000
