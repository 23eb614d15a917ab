"""A destination that asked to be spared, or is gone for good: what is claimed of its backlog, and when."""

from dataclasses import replace

import redis

from tests.broker.sending import append, claim, delivered, failed, ids, subscribe
from worker.broker.backlog import Backlog, Claim
from worker.broker.snapshot import publish_integrations
from worker.ledger.results import IntegrationRecord
from worker.model.orders import WorkOrder


def test_nothing_is_leased_while_the_destination_rests(client: redis.Redis, backlog: Backlog) -> None:
    """What waits is ordered neither by the settle nor by a wake until the rest is over, then as ever."""
    subscribe(client, "a", batch_events=1)
    append(client, "a", [["e1"], ["e2"]])
    batch = claim(backlog, "a").batch

    assert backlog.settle(batch, replace(delivered(batch), cool_down=60)) is None
    assert backlog.wake(["a"]) == []
    end_rest(client, "a")
    assert ids(claim(backlog, "a").batch) == ["e2"]


def test_an_order_that_was_on_its_way_waits_as_well(client: redis.Redis, backlog: Backlog) -> None:
    """A worker that comes with an older order is turned away, and its slot is free again."""
    subscribe(client, "a")
    append(client, "a", [["e1"]])
    [order] = backlog.wake(["a"])
    client.hset("siem:state:a", "rests_until", 1 << 50)

    assert backlog.claim(order) == "held"
    end_rest(client, "a")
    assert ids(claim(backlog, "a").batch) == ["e1"]


def test_a_retry_is_not_kept_from_its_turn_by_a_rest(client: redis.Redis, backlog: Backlog) -> None:
    """A batch that is claimed already has its own delay."""
    subscribe(client, "a")
    append(client, "a", [["e1"]])
    first = claim(backlog, "a").batch
    settlement = failed(first)
    assert settlement.retry is not None
    backlog.settle(first, replace(settlement, cool_down=60, retry=replace(settlement.retry, seconds=0)))

    again = backlog.claim(first.order)

    assert isinstance(again, Claim)
    assert ids(again.batch) == ["e1"]


def test_one_that_is_gone_is_held_until_it_is_switched_on_again(
    client: redis.Redis, backlog: Backlog
) -> None:
    """Nothing is claimed, nothing is lost; a change of the integration lets it go on."""
    subscribe(client, "a", batch_events=1)
    append(client, "a", [["e1"], ["e2"]])
    batch = claim(backlog, "a").batch

    assert backlog.settle(batch, replace(delivered(batch), disable=True)) is None
    assert backlog.wake(["a"]) == []
    assert backlog.claim(WorkOrder("a", 1, batch.order.epoch + 1)) == "stale"
    subscribe(client, "a", enabled=False)
    assert backlog.wake(["a"]) == []
    subscribe(client, "a", revision=2)
    assert ids(claim(backlog, "a").batch) == ["e2"]


def test_with_acknowledgement_a_claim_holds_several_requests(client: redis.Redis) -> None:
    """A batch that waits a second for its confirmation should be worth the wait."""
    document = b'{"id": "a", "enabled": true, "destination": {"type": "splunk_hec", "use_ack": true}}'
    publish_integrations(client, [IntegrationRecord("a", "splunk_hec", document.decode(), 1, False)], slots=4)  # noqa: FBT003 - a record's fields in their order

    assert client.hmget("siem:state:a", ["batch_events", "batch_bytes"]) == [b"2000", b"3600000"]


def end_rest(client: redis.Redis, integration_id: str) -> None:
    """Let the time of the rest be over."""
    client.hset(f"siem:state:{integration_id}", "rests_until", 0)
