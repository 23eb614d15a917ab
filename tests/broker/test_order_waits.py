"""How long orders waited is counted by all workers together, in buckets, also after Redis was away."""

import threading

import pytest
import redis

from tests.ledger.entries import NOON
from worker.broker import keys, order_waits
from worker.broker.connection import redis_client
from worker.broker.order_waits import OrderWaits
from worker.model.errors import BrokerUnavailable
from worker.model.histograms import WAIT_BUCKETS, Histogram

_EMPTY = Histogram.empty(len(WAIT_BUCKETS))


@pytest.fixture(autouse=True)
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it be one moment."""
    monkeypatch.setattr(order_waits, "redis_ms_by_own_clock", lambda: NOON)


def note(waits: OrderWaits, kind: str, *waited_ms: int) -> None:
    """Let orders be taken that have waited for so long."""
    for one in waited_ms:
        waits.note(kind, NOON - one)


def test_two_workers_count_together(client: redis.Redis) -> None:
    """Each adds what is new to it, once; a clock that is behind makes no wait negative."""
    first, second = OrderWaits(), OrderWaits()
    note(first, "webhook", 3, 5, 6, 20_000, -40)
    note(second, "webhook", 6)
    note(second, "syslog_cef", 900)
    for waits in (first, second, first):
        waits.flush(client)
    found = OrderWaits().read(client)

    assert found["splunk_hec"] == _EMPTY
    assert found["webhook"] == Histogram((3, 2, *[0] * 9, 1), 20.02)
    assert found["syslog_cef"].seconds == 0.9
    assert client.hget(keys.COUNTERS, "order_wait:webhook:slower") == b"1"


def test_what_says_nothing_of_it_does_not_count(client: redis.Redis) -> None:
    """As an order that is retried, or of an earlier release."""
    waits = OrderWaits()
    for value in (None, "7", 1.5):
        waits.note("webhook", value)
    waits.flush(client)

    assert waits.read(client)["webhook"] == _EMPTY


def test_what_redis_was_away_for_is_added_later(client: redis.Redis) -> None:
    """And what is new when a worker ends is added at once."""
    waits, stopping = OrderWaits(), threading.Event()
    note(waits, "webhook", 3)
    with pytest.raises(BrokerUnavailable):
        waits.flush(redis_client("redis://127.0.0.1:1/0"))
    stopping.set()
    waits.share(lambda: client, stopping)

    assert waits.read(client)["webhook"].counts[0] == 1
