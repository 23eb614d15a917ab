"""The corrected channel of Celery: one client for all messages, a new one after a lost connection."""

import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import redis
from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.messaging import Producer

from tests.attacks.poison import BODY, message
from tests.broker.test_oom import full
from tests.embedded_servers import RunningServer
from worker.broker import keys
from worker.broker.celery_channel import ResilientChannel, ResilientTransport
from worker.broker.celery_worker import broker_settings
from worker.broker.order_queues import order_headers


@pytest.fixture
def channel(server: RunningServer) -> Iterator[ResilientChannel]:
    """Open a channel as Celery does."""
    options = broker_settings(server.url, 60)["broker_transport_options"]
    with Connection(server.url, transport=ResilientTransport, transport_options=options) as connection:  # type: ignore[no-untyped-call]  # kombu has no types
        yield connection.default_channel


def test_messages_share_one_client(channel: ResilientChannel) -> None:
    """A client of its own for each step of each message is a seventh of what a message costs."""
    with channel.conn_or_acquire() as first, channel.conn_or_acquire() as second:
        assert first is second
        assert first.ping()


def test_the_consumer_waits_on_a_client_of_its_own(channel: ResilientChannel) -> None:
    """A reader that waits for messages holds a connection, which no other may use meanwhile."""
    with channel.conn_or_acquire() as shared:
        waiting = channel._create_client(asynchronous=True)  # noqa: SLF001 - kombu's consumer asks it so
        assert waiting is not shared


def test_after_a_lost_connection_there_is_a_new_client(channel: ResilientChannel) -> None:
    """Kombu makes new pools then; a client of the old pool would talk through closed connections."""
    with channel.conn_or_acquire() as before:
        channel._disconnect_pools()  # type: ignore[no-untyped-call]  # noqa: SLF001 - as kombu itself does
    with channel.conn_or_acquire() as after:
        assert after is not before
        assert after.ping()


def test_an_order_that_comes_after_the_end_goes_back_in_silence(
    channel: ResilientChannel, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that ends may be handed one more: that is in order, and no warning."""
    caplog.set_level(logging.INFO)
    channel.client.delete("webhook")
    order = message()
    order["headers"]["task"] = "deliver_webhook"

    channel.connection._deliver(order, "webhook")  # noqa: SLF001 - what kombu calls with what it has read

    assert channel.client.llen("webhook") == 1
    assert [record.levelname for record in caplog.records] == ["INFO"]


def _publish(
    channel: ResilientChannel,
    name: str,
    *,
    slow: bool = False,
    issued_ms: int | None = None,
    declare: Sequence[Queue] = (),
) -> None:
    headers = order_headers(slow=slow)
    headers |= {"id": name} if issued_ms is None else {"id": name, "siem_issued_ms": issued_ms}
    # The channel itself is never asked: what Celery publishes comes by a producer, with options of its own.
    producer: Any = Producer(channel)  # type: ignore[no-untyped-call]  # kombu has no types
    whole = message()["headers"] | headers
    producer.publish(BODY, exchange="", routing_key="webhook", headers=whole, declare=list(declare))


def _taken(channel: ResilientChannel) -> list[str]:
    """Take all orders, as each worker does: from the right end."""
    found = iter(lambda: channel.client.rpop("webhook"), None)
    return [json.loads(one)["headers"]["id"] for one in found]


def test_an_order_passes_those_of_slow_destinations(channel: ResilientChannel) -> None:
    """Sixty slow ones that answer in one moment keep no neighbour waiting; among equals it is first come."""
    channel.client.delete("webhook")
    _publish(channel, "earlier")
    slow = [f"slow-{number}" for number in range(60)]
    for name in slow:
        _publish(channel, name, slow=True)
    for name in ("first", "second"):
        _publish(channel, name)

    assert _taken(channel) == ["earlier", "first", "second", *slow]


def test_an_order_is_not_passed_for_long(channel: ResilientChannel) -> None:
    """Those of quick destinations may never end: who has waited for a while is taken in turn."""
    channel.client.delete("webhook")
    _publish(channel, "slow", slow=True, issued_ms=order_headers()["siem_issued_ms"] - 10_000)
    _publish(channel, "slow too", slow=True)
    _publish(channel, "other")

    assert _taken(channel) == ["slow", "other", "slow too"]


def test_an_order_passes_in_a_full_redis_as_well(channel: ResilientChannel) -> None:
    """No other step would send what fills it."""
    channel.client.delete("webhook")
    with full(channel.client):
        _publish(channel, "slow", slow=True)
        _publish(channel, "other")

    assert _taken(channel) == ["other", "slow"]


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("key", ["_kombu.binding.siem", "_kombu.binding_permanent.siem", "webhook"])
def test_an_order_is_put_although_a_key_was_of_another_type(
    channel: ResilientChannel, client: redis.Redis, key: str, *, slow: bool
) -> None:
    """A publisher declares the queue first, and for ever again if that is refused."""
    name = keys.CELERY_PREFIX + key
    client.set(name, "by hand")
    exchange = Exchange("siem", type="direct")  # type: ignore[no-untyped-call]  # kombu has no types
    queue = Queue("webhook", exchange, routing_key="webhook")  # type: ignore[no-untyped-call]  # kombu has no types
    _publish(channel, "order", slow=slow, declare=[queue])

    assert _taken(channel) == ["order"]
    assert client.get(f"{keys.DISPLACED}:{name}") == b"by hand"


def test_messages_that_are_sent_together_are_all_put(channel: ResilientChannel) -> None:
    """A batch of kombu's is one pipeline, in which each message is put as it comes."""
    channel.client.delete("webhook")
    producer: Any = Producer(channel)  # type: ignore[no-untyped-call]  # kombu has no types
    with producer.batch():
        for name in ("first", "second"):
            headers = message()["headers"] | order_headers() | {"id": name}
            producer.publish(BODY, exchange="", routing_key="webhook", headers=headers)

    assert _taken(channel) == ["first", "second"]
