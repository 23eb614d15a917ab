"""Batches and senders without a fleet, for tests that ask what one sending to a receiver comes to."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from typing import Any

import msgspec

from tests.destinations.golden_events import queued
from tests.interop.traffic import traffic
from worker.destinations import Sender
from worker.destinations.registry import make_sender
from worker.integrations.integration import parse_integration
from worker.model.batches import Batch, DeliveryAttempt
from worker.model.orders import WorkOrder
from worker.transports.guard import Guard

_GUARD = Guard([ip_network("127.0.0.0/8")])


@contextmanager
def sender_to(destination: dict[str, Any]) -> Iterator[Sender]:
    """Give a sender to the destination, which may be on loopback."""
    integration = parse_integration({"id": "int_1", "name": "one", "destination": destination})
    sender = make_sender(integration, _GUARD, connections=2)
    try:
        yield sender
    finally:
        sender.close()


def attempt_of(count: int) -> DeliveryAttempt:
    """Make a batch of events that were not sent yet."""
    events = [queued(msgspec.json.encode(event)) for event in traffic(count)]
    order = WorkOrder("int_1", 0, 1)
    return DeliveryAttempt(Batch(order, events, b"{}", bytes(count), 0, 1_000, time.monotonic(), [], []))


def soon() -> float:
    """Return a deadline that no test reaches."""
    return time.monotonic() + 60
