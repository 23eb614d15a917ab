"""Since when a work order waits that no worker has taken."""

import json
from typing import Any

import pytest
import redis

from worker.broker.order_queues import OrderQueues, order_headers
from worker.broker.redis_stats import RedisStats

QUEUE = "siem:celery:webhook"


def _message(issued_ms: int | None, **headers: Any) -> bytes:
    """Write a message as Celery does, as far as it matters."""
    stamp = {} if issued_ms is None else {"siem_issued_ms": issued_ms}
    return json.dumps({"body": "W10=", "headers": {"task": "t", **headers, **stamp}}).encode()


#: Messages of a queue, and when the oldest order among them was issued.
CASES: list[tuple[list[bytes], int | None]] = [
    ([], None),
    ([_message(5_000), _message(9_000)], 5_000),
    ([_message(None), _message(9_000)], 9_000),  # a router of the release before issued the first
    ([_message(1_000, redelivered=True), _message(9_000)], 9_000),  # it was with a worker that has ended
    ([b"\xff", b"{}", b"null", _message(9_000)], 9_000),
    ([b'{"headers":{"siem_issued_ms":"soon"}}'], None),
    ([b"{" + b" " * 100_000, _message(9_000)], 9_000),
    ([_message(-(10**400)), _message(9_000)], 9_000),  # no time that can be reckoned with
    ([_message(10**400)], None),
    ([_message(-1)], None),
]


def test_the_oldest_order_says_since_when(client: redis.Redis, subtests: pytest.Subtests) -> None:
    """The first that says so, of those that wait; what says nothing, or is no order, is passed over."""
    for messages, oldest in CASES:
        with subtests.test(messages=[message[:80] for message in messages]):
            client.delete(QUEUE)
            for message in messages:
                client.lpush(QUEUE, message)  # workers take from the other end
            found = OrderQueues(client).waiting("webhook")

            assert (found.entries, found.oldest_ms) == (len(messages), oldest)
            assert found.seconds(now_ms=10_000) == (0 if oldest is None else (10_000 - oldest) / 1000)


def test_an_order_is_issued_now(client: redis.Redis) -> None:
    """By the clock of Redis."""
    client.lpush(QUEUE, _message(order_headers()["siem_issued_ms"]))

    signs = RedisStats(client).of_fleet()

    assert signs.queues["webhook"].oldest_ms is not None
    assert abs(signs.queues["webhook"].oldest_ms - signs.now_ms) < 60_000
