"""How a task ends whose order is turned away: with the reason, and how many events wait."""

from collections.abc import Mapping
from typing import Any, NoReturn

import pytest
import redis

from tests.broker.sending import TIMING, append, claim, failed, subscribe
from worker.broker import keys
from worker.broker.backlog import Backlog
from worker.destinations.registry import sender_opener
from worker.model.errors import DeliveryHeld, InvalidIntegration
from worker.model.orders import WorkOrder
from worker.pipeline.delivery import DeliveryWorker, Timeouts


def open_no_sender(_document: bytes) -> NoReturn:
    """Fail: nothing of this is sent."""
    raise AssertionError


@pytest.fixture
def backlog(client: redis.Redis) -> Backlog:
    """Give the backlogs of an empty Redis."""
    return Backlog(client, TIMING)


@pytest.fixture
def delivery_worker(backlog: Backlog) -> DeliveryWorker:
    """Give a courier that never gets to send."""
    return DeliveryWorker(
        backlog, open_no_sender, lambda _order, _kind: None, "splunk_hec", Timeouts(45, 60, 2)
    )


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"held": "1"}, "paused or disabled"),
        ({"breaker": "open", "opened_by": "token_invalid"}, "circuit breaker open (token invalid)"),
        ({"breaker": "open"}, "circuit breaker open (unknown)"),
        ({"rests_until": str(1 << 50)}, "it asked to be left alone for a moment"),
    ],
)
def test_an_order_that_is_turned_away_has_a_reason(
    client: redis.Redis, backlog: Backlog, delivery_worker: DeliveryWorker, state: dict[str, str], reason: str
) -> None:
    """It came when nothing may be sent any more, and its task is no success."""
    subscribe(client, "a")
    append(client, "a", [["e1", "e2", "e3"]])
    [order] = backlog.wake(["a"])
    for name, value in state.items():
        client.hset("siem:state:a", name, value)

    with pytest.raises(DeliveryHeld) as held:
        delivery_worker.deliver(order)

    assert str(held.value) == f"held: {reason}, 3 events wait"


def test_an_order_without_work_is_no_failure(
    client: redis.Redis, backlog: Backlog, delivery_worker: DeliveryWorker
) -> None:
    """Duplicates are routine after a reconnect, and a retry may be delivered early."""
    subscribe(client, "a")
    append(client, "a", [["e1"]])
    batch = claim(backlog, "a").batch
    words = [str(delivery_worker.deliver(batch.order)), str(delivery_worker.deliver(WorkOrder("a", 1, 99)))]
    backlog.settle(batch, failed(batch))
    words.append(str(delivery_worker.deliver(batch.order)))

    assert words == [
        "nothing to do: another order took this one's place",
        "nothing to do: another order took this one's place",
        "nothing to do: the retry is not due yet",
    ]


@pytest.mark.parametrize(
    "copy",
    [b'{"id":"a","name":"\xff"}', b'{"\xff":1}', b'{"id":"a","x":' + b"[" * 5000, b"[]", b'{"deleted":5}'],
)
def test_a_copy_of_an_integration_that_is_damaged_keeps_its_events(
    client: redis.Redis, backlog: Backlog, copy: bytes
) -> None:
    """The batch is settled, so that its reason is recorded: else it would be lost and claimed without end."""
    opener = sender_opener(_open_nothing, (), connections=1)
    delivery_worker = DeliveryWorker(
        backlog, opener, lambda _order, _kind: None, "splunk_hec", Timeouts(45, 60, 2)
    )
    subscribe(client, "a")
    append(client, "a", [["e1", "e2"]])
    [order] = backlog.wake(["a"])
    client.hset(keys.INTEGRATIONS, "a", copy)

    with pytest.raises(DeliveryHeld, match="held: configuration, 2 events wait"):
        delivery_worker.deliver(order)

    entries: Any = client.xrange(keys.OUTCOMES)
    assert "its copy in Redis is damaged" in str(entries)
    assert len(entries) == 1


def _open_nothing(_document: Mapping[str, Any]) -> NoReturn:
    """Read no document: it is not even JSON."""
    raise InvalidIntegration("id", "is missing", "give one")
