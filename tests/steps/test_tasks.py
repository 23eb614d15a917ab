"""How a task ends whose order is turned away: with the reason, and how many events wait."""

from typing import NoReturn

import pytest
import redis

from tests.broker.sending import TIMING, append, claim, failed, subscribe
from worker.broker.backlog import Backlog
from worker.model.errors import DeliveryHeld
from worker.model.orders import WorkOrder
from worker.tasks import Courier, Patience


def open_no_sender(_document: bytes) -> NoReturn:
    """Fail: nothing of this is sent."""
    raise AssertionError


@pytest.fixture
def backlog(client: redis.Redis) -> Backlog:
    """Give the backlogs of an empty Redis."""
    return Backlog(client, TIMING)


@pytest.fixture
def courier(backlog: Backlog) -> Courier:
    """Give a courier that never gets to send."""
    return Courier(backlog, open_no_sender, lambda _order, _kind: None, "splunk_hec", Patience(45, 60, 2))


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"held": "1"}, "paused or disabled"),
        ({"breaker": "open", "opened_by": "token_invalid"}, "circuit breaker open (token invalid)"),
        ({"breaker": "open"}, "circuit breaker open (unknown)"),
        ({"rests_until": str(1 << 50)}, "it asked to be left alone for a moment"),
    ],
)
def test_an_order_that_is_turned_away_is_told_why(
    client: redis.Redis, backlog: Backlog, courier: Courier, state: dict[str, str], reason: str
) -> None:
    """It came when nothing may be sent any more, and its task is no success."""
    subscribe(client, "a")
    append(client, "a", [["e1", "e2", "e3"]])
    [order] = backlog.wake(["a"])
    for name, value in state.items():
        client.hset("siem:state:a", name, value)

    with pytest.raises(DeliveryHeld) as told:
        courier.deliver(order)

    assert str(told.value) == f"held: {reason}, 3 events wait"


def test_an_order_without_work_is_no_failure(client: redis.Redis, backlog: Backlog, courier: Courier) -> None:
    """Duplicates are routine after a reconnect, and a retry may be delivered early."""
    subscribe(client, "a")
    append(client, "a", [["e1"]])
    batch = claim(backlog, "a").batch
    told = [str(courier.deliver(batch.order)), str(courier.deliver(WorkOrder("a", 1, 99)))]
    backlog.settle(batch, failed(batch))
    told.append(str(courier.deliver(batch.order)))

    assert told == [
        "nothing to do: another order took this one's place",
        "nothing to do: another order took this one's place",
        "nothing to do: the retry is not due yet",
    ]
