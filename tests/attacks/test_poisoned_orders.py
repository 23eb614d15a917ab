"""An attacker puts anything where a worker reads its orders: the worker lives, and delivers.

Each message is dropped, counted, and logged once; no event is lost with it.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.poison import broadcasts, mutations, poisoned_orders, unacknowledged
from tests.fleet import Fleet, wait_until
from tests.procfile import WORKER
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.system.conftest import denial
from worker.broker import keys
from worker.broker.order_queues import REFUSED_MESSAGES

pytestmark = pytest.mark.slow

QUEUE = keys.CELERY_PREFIX + "splunk_hec"
UNACKED = keys.CELERY_PREFIX + "unacked"
UNACKED_INDEX = keys.CELERY_PREFIX + "unacked_index"
#: Of the exchanges of work orders and of remote control.
BINDINGS = (
    "_kombu.binding_deadlines",
    "_kombu.binding.siem",
    "_kombu.binding_permanent.siem",
    "_kombu.binding.celery.pidbox",
    "_kombu.binding_permanent.celery.pidbox",
    "_kombu.binding.reply.celery.pidbox",
)
CONTROL = keys.CELERY_PREFIX + "/0.celery.pidbox"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet that the test may hurt; nothing runs yet."""
    with Fleet(tmp_path) as fleet:
        yield fleet


def test_a_worker_outlives_whatever_stands_in_its_queues(own: Fleet) -> None:
    """Garbage in a queue, among the unacknowledged messages, and in remote control."""
    with HecReceiver() as splunk:
        own.integrate(splunk.url)
        own.start()
        worker = own.processes[WORKER]
        _spoil_types(own)
        _put_poison(own)
        wait_until(lambda: worker.poll() is not None or not own.client.hlen(UNACKED), "all is read")
        assert worker.poll() is None, own.log(WORKER)[-3000:]
        own.publish([denial(f"e{number}") for number in range(10)])
        own.settled(11)

        assert worker.poll() is None, own.log(WORKER)[-3000:]
        assert set(splunk.accepted_ids) == {"first", *(f"e{number}" for number in range(10))}
        assert own.inspect("ping")
        counts = REFUSED_MESSAGES.read(own.client)
        assert counts.pop("other_queue") == 0
        assert all(counts.values()), counts
        _has_logged_each_once(own.log(WORKER), len(counts))
        # The first process that meets a key of another type moves it away: a router that publishes as well.
        assert sum(own.log(role).count("redis.key_displaced") for role in own.processes) == 3


def _spoil_types(own: Fleet) -> None:
    """Let Celery's keys be of types that none of its commands can work with; an event is delivered."""
    for key in (QUEUE, UNACKED, UNACKED_INDEX):
        own.client.delete(key)
        own.client.set(key, "of no type of Celery's")
    own.publish([denial("first")])
    own.settled(1)


def _put_poison(own: Fleet) -> None:
    for poison in (*poisoned_orders(), *mutations(seed=13, count=300)):
        own.client.lpush(QUEUE, poison)
    for number, poison in enumerate(unacknowledged()):
        own.client.hset(UNACKED, f"tag{number}", poison)
        own.client.zadd(UNACKED_INDEX, {f"tag{number}": 0})
    for poison in broadcasts():
        assert own.client.publish(CONTROL, poison)
    wait_until(lambda: own.processes[WORKER].poll() is not None or not own.client.llen(QUEUE), "it is read")


def _has_logged_each_once(log: str, faults: int) -> None:
    """Check that a log has a line for each fault, and nothing that its readers would see otherwise."""
    assert log.count("dropped a message") == faults
    assert "Traceback" not in log
    assert "there is no queue 'unacked'" in log
    assert all(line.isprintable() for line in log.split("\n"))
    assert len(log) < 10_000


def test_a_worker_starts_although_what_its_queues_are_bound_by_is_spoilt(own: Fleet) -> None:
    """Each of these could not be declared: no worker would come up, and no order be issued."""
    spoilt = [keys.CELERY_PREFIX + name for name in BINDINGS]
    for key in spoilt:
        own.client.set(key, "of no type of Celery's")
    with HecReceiver() as splunk:
        own.integrate(splunk.url)
        own.start()
        own.publish([denial("e1")])
        own.settled(1)

        assert own.inspect("ping")
        assert [own.client.get(f"{keys.DISPLACED}:{key}") is not None for key in spoilt] == [True] * len(
            spoilt
        )


def test_the_event_of_a_spoilt_order_is_delivered_and_ours_are_all_taken(own: Fleet) -> None:
    """The sweeper issues again what was dropped; a retry by Celery is no forged message."""
    with HecReceiver(scripts.first(1, scripts.busy())) as splunk:
        own.integrate(splunk.url)
        own.start("router", "recorder")
        own.publish([denial("e1")])
        wait_until(lambda: own.client.llen(QUEUE), "its order is issued")
        own.client.lset(QUEUE, 0, '{"body": "W10="}')
        own.start(WORKER)
        [row] = [row for row in own.settled(1) if row.status == "delivered"]

        assert (row.event_id, row.attempts) == ("e1", 2)
        assert splunk.accepted_ids == ["e1"]
        assert sum(REFUSED_MESSAGES.read(own.client).values()) == 1
