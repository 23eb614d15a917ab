"""Whatever is killed, at whatever moment: every published event is delivered or dead, none is missing."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.chaos.account import without_letter
from tests.chaos.publishing import Publishers
from tests.embedded_servers import REDIS, VALKEY
from tests.fleet import Fleet, wait_until
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.system.conftest import denial
from worker.broker import keys
from worker.broker.formats import Format, written_formats
from worker.model.deliveries import Status
from worker.model.events import EventType

BINARIES = [binary for binary in (VALKEY, REDIS) if binary]

pytestmark = pytest.mark.slow

#: Orders that a worker has taken and not ended.
UNACKNOWLEDGED = keys.CELERY_PREFIX + "unacked"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet that the test may kill; nothing runs yet."""
    with Fleet(tmp_path) as fleet:
        yield fleet


def test_a_worker_killed_in_mid_batch(own: Fleet) -> None:
    """The batch of a dead worker is sent again by the next one, and is recorded as delivered."""
    with HecReceiver(scripts.first(1, scripts.hang())) as splunk:
        own.integrate(splunk.url, timeout_seconds=2.5)
        own.start()
        ids = own.publish_at_once(denial(f"e{number}") for number in range(300))
        splunk.wait_for_requests(1, 20)
        own.kill("worker")
        own.start("worker")
        rows = own.settled(300)

        assert {row.status for row in rows} == {Status.DELIVERED}
        assert sorted(set(splunk.accepted_ids)) == sorted(ids)
        assert {row.attempts for row in rows} == {2}
        assert "delivery.interrupted: 1 batch(es) interrupted by the end of the worker on " in own.log(
            "router"
        )


def test_a_router_killed_while_it_routes(own: Fleet) -> None:
    """What a dead router had read is taken over by the other one."""
    with HecReceiver() as splunk:
        own.integrate(splunk.url)
        own.start("router", "router-2", "worker", "recorder")
        ids = own.publish(denial(f"e{number}") for number in range(4_000))
        own.kill("router")
        more = own.publish(denial(f"f{number}") for number in range(1_000))
        own.settled(5_000)

        assert set(splunk.accepted_ids) == {*ids, *more}


def test_a_recorder_killed_while_it_records(own: Fleet) -> None:
    """Outcomes that a dead recorder had read are recorded by the next one, once."""
    with HecReceiver() as splunk:
        own.integrate(splunk.url)
        own.start()
        own.publish(denial(f"e{number}") for number in range(4_000))
        wait_until(own.rows, "the recorder records")
        own.kill("recorder")
        splunk.wait_for_events(4_000, 30)
        own.start("recorder")
        rows = own.settled(4_000)
        status = own.status()["integrations"][0]

        assert len(rows) == 4_000
        assert status["delivered"] == 4_000


@pytest.mark.parametrize("binary", BINARIES, ids=[binary.name for binary in BINARIES])
def test_redis_killed_and_restarted_on_the_same_data(tmp_path: Path, binary: Path) -> None:
    """Every process finds its way back by itself, and what Redis had acknowledged arrives."""
    with HecReceiver() as splunk, Fleet(tmp_path, binary=binary) as own:
        own.integrate(splunk.url)
        own.start()
        before = own.publish(denial(f"e{number}") for number in range(3_000))
        own.server.kill_when_written()
        own.server.restart()
        after = own.publish(denial(f"f{number}") for number in range(1_000))
        own.settled(4_000)

        assert set(splunk.accepted_ids) == {*before, *after}
        assert own.log("router").count("lost Redis: ") <= 1, "router, sweeper and watch say it once together"


def test_routers_and_redis_killed_with_frames_in_flight(own: Fleet) -> None:
    """A frame is routed as a whole, or again; none of the events is missing, nor of what was no event."""
    with HecReceiver() as splunk:
        own.integrate(splunk.url, event_types=[*EventType])
        own.start("router", "worker", "recorder")
        wait_until(lambda: Format.FRAMES in written_formats(own.client), "publishers may write frames")
        publishers = Publishers(own.server.url, seed=16, rate=4_000, count=12_000)
        publishers.start()
        for turn in range(1, 4):
            wait_until(lambda: len(publishers.acknowledged) >= turn * 2_500, "more is accepted")  # noqa: B023 - called at once
            own.kill("router")
            wait_until(lambda: waiting_frames(own.client) > 3, "frames wait")
            own.server.kill_when_written()
            own.server.restart()
            own.start("router")
        publishers.stop()
        accepted = set(publishers.acknowledged)
        wait_until(lambda: accepted <= set(splunk.accepted_ids), "all of it is delivered")
        wait_until(lambda: not own.client.xlen(keys.EVENTS), "no frame is left")

        refused = publishers.refused
        assert refused.lines
        wait_until(
            lambda: without_letter(own.engine, refused.lines, refused.frames) == 0, "what is bad is told of"
        )


def waiting_frames(client: redis.Redis) -> int:
    """Count the frames that wait, those that were damaged among them."""
    waiting: Any = client.xrange(keys.EVENTS)
    return sum(b"frame" in fields for _, fields in waiting)


def test_a_retry_that_could_not_be_published(own: Fleet) -> None:
    """Celery drops a task whose retry it cannot publish; the sweeper issues the order again."""

    def refuse_and_lock(request: scripts.Request) -> scripts.Action:
        own.client.execute_command("ACL", "SETUSER", "default", "-lpush")  # type: ignore[no-untyped-call]  # redis-py
        return scripts.busy()(request)

    with HecReceiver(scripts.first(1, refuse_and_lock)) as splunk:
        own.integrate(splunk.url)
        own.start()
        [event_id] = own.publish([denial("e1")])
        splunk.wait_for_requests(1, 20)
        wait_until(lambda: not own.client.hlen(UNACKNOWLEDGED), "Celery gave the retry up")
        own.client.execute_command("ACL", "SETUSER", "default", "+lpush")  # type: ignore[no-untyped-call]  # redis-py
        [row] = own.settled(1)

        assert (row.status, row.attempts) == (Status.DELIVERED, 2)
        assert splunk.accepted_ids == [event_id]


def carried_out(own: Fleet, count: int) -> bool:
    """Whether the worker has taken that many orders, and ended all that it took."""
    [stats] = own.inspect("stats").values()
    return sum(stats["total"].values()) >= count and not own.client.hlen(UNACKNOWLEDGED)


def test_an_order_that_celery_delivers_twice(own: Fleet) -> None:
    """Copies of a work order cause no second sending."""
    with HecReceiver() as splunk:
        own.integrate(splunk.url)
        own.start("router", "recorder")
        own.publish_at_once(denial(f"e{number}") for number in range(10))
        queue = "siem:celery:splunk_hec"
        [message] = wait_until(lambda: own.client.lrange(queue, 0, -1), "the order stands in its queue")
        own.client.lpush(queue, message, message)
        own.start("worker")
        own.settled(10)
        wait_until(lambda: carried_out(own, 3), "every copy was carried out")

        assert len(splunk.posts) == 1
        assert len(splunk.accepted_ids) == 10


def test_connections_cut_while_a_batch_is_under_way(own: Fleet) -> None:
    """A reconnecting worker gets its running orders again (kombu restores them); nothing is sent twice."""
    with HecReceiver() as splunk:
        own.integrate(splunk.url)
        own.start()
        own.publish(denial(f"e{number}") for number in range(500))
        own.client.client_kill_filter(_type="normal", skipme=True)
        own.publish(denial(f"f{number}") for number in range(500))
        own.settled(1_000)

        assert len(set(splunk.accepted_ids)) == 1_000
        assert "Traceback" not in own.log("worker")


def test_a_redis_that_refuses_is_told_once_and_without_a_traceback(own: Fleet) -> None:
    """However many orders come to nothing by it; the sweeper issues them again."""
    with HecReceiver() as splunk:
        for number in range(5):
            own.integrate(splunk.url, f"splunk{number}")
        own.start("router", "recorder")
        own.publish([denial("e1")])
        wait_until(lambda: own.client.llen("siem:celery:splunk_hec") == 5, "the orders stand in their queue")
        states = [keys.state_key(f"int_splunk{number}") for number in range(5)]
        for state in states:
            own.client.rename(state, state + ":aside")
            own.client.set(state, "no hash")
        own.start("worker")
        wait_until(lambda: carried_out(own, 5), "each order has come to nothing")
        with own.client.pipeline(transaction=True) as restoring:
            for state in states:
                restoring.rename(state + ":aside", state)
            restoring.execute()
        for number in range(5):
            own.settled(1, f"int_splunk{number}")
        wait_until(lambda: "Redis is back after " in own.log("worker"), "the worker says that it is back")
        told = own.log("worker")

        assert told.count("lost Redis: Redis refuses: ") == 1
        assert told.count("Redis is back after ") == 1
        assert "Traceback" not in told


@pytest.mark.parametrize("role", ["router", "recorder", "worker"])
def test_sigterm_ends_a_process_cleanly(own: Fleet, role: str) -> None:
    """Each process finishes what it holds and exits 0, and its sign of life is gone."""
    with HecReceiver() as splunk:
        own.integrate(splunk.url)
        own.start()
        ids = own.publish(denial(f"e{number}") for number in range(2_000))

        assert own.terminate(role) == 0
        own.start(role)
        own.settled(2_000)
        assert set(splunk.accepted_ids) == set(ids)
        assert not Counter(splunk.accepted_ids) - own.requests()


def test_a_worker_that_is_asked_to_end_finishes_its_batch(own: Fleet) -> None:
    """SIGTERM in mid-request: the answer is awaited and settled, and no other worker sends it again."""
    with HecReceiver(scripts.first(1, scripts.drip(0.005))) as splunk:
        own.integrate(splunk.url, timeout_seconds=3.0)
        own.start()
        [event_id] = own.publish([denial("e1")])
        splunk.wait_for_requests(1, 20)

        assert own.terminate("worker") == 0
        [row] = own.settled(1)
        assert (row.status, row.attempts) == (Status.DELIVERED, 1)
        assert splunk.request_counts(event_id) == 1
