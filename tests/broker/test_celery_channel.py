"""The corrected channel of Celery: one client for all messages, a new one after a lost connection."""

import logging
from collections.abc import Iterator

import pytest
from kombu.connection import Connection

from tests.attacks.poison import message
from tests.embedded_servers import RunningServer
from worker.broker.celery_channel import PatientChannel, PatientTransport


@pytest.fixture
def channel(server: RunningServer) -> Iterator[PatientChannel]:
    """Open a channel as Celery does."""
    with Connection(server.url, transport=PatientTransport) as connection:  # type: ignore[no-untyped-call]  # kombu has no types
        yield connection.default_channel


def test_messages_share_one_client(channel: PatientChannel) -> None:
    """A client of its own for each step of each message is a seventh of what a message costs."""
    with channel.conn_or_acquire() as first, channel.conn_or_acquire() as second:
        assert first is second
        assert first.ping()


def test_the_consumer_waits_on_a_client_of_its_own(channel: PatientChannel) -> None:
    """Who waits for messages holds a connection, which nobody else may use meanwhile."""
    with channel.conn_or_acquire() as shared:
        waiting = channel._create_client(asynchronous=True)  # noqa: SLF001 - kombu's consumer asks it so
        assert waiting is not shared


def test_after_a_lost_connection_there_is_a_new_client(channel: PatientChannel) -> None:
    """Kombu makes new pools then; a client of the old pool would talk through closed connections."""
    with channel.conn_or_acquire() as before:
        channel._disconnect_pools()  # type: ignore[no-untyped-call]  # noqa: SLF001 - as kombu itself does
    with channel.conn_or_acquire() as after:
        assert after is not before
        assert after.ping()


def test_an_order_that_comes_after_the_end_goes_back_in_silence(
    channel: PatientChannel, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that ends may be handed one more: that is in order, and no warning."""
    caplog.set_level(logging.INFO)
    channel.client.delete("webhook")
    order = message()
    order["headers"]["task"] = "deliver_webhook"

    channel.connection._deliver(order, "webhook")  # noqa: SLF001 - what kombu calls with what it has read

    assert channel.client.llen("webhook") == 1
    assert [record.levelname for record in caplog.records] == ["INFO"]
