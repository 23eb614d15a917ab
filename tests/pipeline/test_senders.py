"""A worker keeps a sender for each integration in use, and lets go of those that it will not need."""

import json
from collections.abc import Mapping, Sequence

import pytest

from worker.integrations.integration import Integration, parse_integration
from worker.model.batches import Batch, DeliveryAttempt
from worker.model.deliveries import DeliveryResult
from worker.model.errors import BrokerUnavailable, InvalidIntegration
from worker.model.events import QueuedEvent
from worker.model.orders import WorkOrder
from worker.pipeline import senders
from worker.pipeline.senders import SENDER_IDLE, Senders


class Kept:
    """A sender that counts how often it was closed."""

    def __init__(self) -> None:
        """Begin open."""
        self.closed = 0

    def send(self, attempt: DeliveryAttempt, deadline: float) -> Sequence[DeliveryResult]:
        """Send nothing."""
        raise NotImplementedError(attempt, deadline)

    def preview(self, events: Sequence[QueuedEvent]) -> bytes:
        """Show nothing."""
        raise NotImplementedError(events)

    def close(self, *, notice: float = 0.0) -> None:  # noqa: ARG002 - nothing is connected
        """Count."""
        self.closed += 1


class Clock:
    """The time, as the test sets it."""

    def __init__(self) -> None:
        """Begin at some moment."""
        self.now = 1000.0

    def monotonic(self) -> float:
        """Tell the time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give a clock of the test's own."""
    made = Clock()
    monkeypatch.setattr(senders, "time", made)
    return made


def opened(document: bytes) -> tuple[Integration, Kept]:
    """Make a sender, of whatever document."""
    destination = {"type": "webhook", "url": "https://one.example"}
    own = {"id": json.loads(document)["id"], "name": "a", "destination": destination}
    return parse_integration(own), Kept()


def document(integration_id: str = "a", **fields: object) -> bytes:
    """Write a document as it stands in Redis."""
    return json.dumps({"id": integration_id, "enabled": True} | fields).encode()


def batch(configuration: bytes, integration_id: str = "a") -> Batch:
    """Make a batch that was claimed under this configuration."""
    return Batch(
        order=WorkOrder(integration_id, 1, 1),
        events=[],
        configuration=configuration,
        request_counts=b"",
        attempts=0,
        claimed_ms=0,
        claimed_at=0.0,
        urgent=[],
        bulk=[],
    )


def kept(own: Senders, configuration: bytes, integration_id: str = "a") -> Kept:
    """Return the sender for a batch."""
    found = own.of(batch(configuration, integration_id))[1]
    assert isinstance(found, Kept)
    return found


@pytest.mark.parametrize(
    "standing",
    [
        {},
        {"a": document(deleted=True)},
        {"a": document(enabled=False)},
        {"a": document(paused=True)},
        {"a": document(url="https://two.example")},
    ],
)
def test_what_is_configured_so_no_more_is_closed(clock: Clock, standing: Mapping[str, bytes]) -> None:
    """Gone, deleted, disabled, paused or changed; the next batch, if any, gets a sender of its own."""
    own = Senders(opened)
    first, other = kept(own, document()), kept(own, document("b"), "b")
    own.close_unused(lambda _: {"b": document("b"), **standing})

    assert (first.closed, other.closed) == (1, 0)
    assert kept(own, document()) is not first
    assert kept(own, document("b"), "b") is other
    assert clock.now == 1000.0


def test_one_that_is_disabled_is_closed_though_nothing_changed() -> None:
    """A batch may have been claimed in the very moment in which it was disabled."""
    own = Senders(opened)
    first = kept(own, document(enabled=False))
    own.close_unused(lambda _: {"a": document(enabled=False)})

    assert first.closed == 1


def test_what_a_batch_has_just_brought_is_kept() -> None:
    """What was read from Redis may be older than what a batch was claimed with."""
    own = Senders(opened)
    kept(own, document())
    made: list[Kept] = []

    def standing(_: Sequence[str]) -> Mapping[str, bytes]:
        made.append(kept(own, document(url="https://two.example")))
        return {}

    own.close_unused(standing)
    assert [one.closed for one in made] == [0]


def test_a_batch_that_connects_behind_the_close_leaves_nothing_open(clock: Clock) -> None:
    """It may have had the sender in hand: the sender is closed again for as long as a batch may last."""
    own = Senders(opened)
    first = kept(own, document())
    for _ in range(3):
        own.close_unused(lambda _: {})
        clock.now += 10
    assert first.closed == 3

    clock.now += SENDER_IDLE
    own.close_unused(lambda _: {})
    own.close_unused(lambda _: {})
    assert first.closed == 3


def test_nobody_has_to_ask_for_an_idle_one_to_be_closed(clock: Clock) -> None:
    """A destination without events is let go of although no other has any either."""
    own = Senders(opened)
    first = kept(own, document())
    clock.now += SENDER_IDLE + 1
    own.close_unused(lambda _: {"a": document()})

    assert first.closed == 1


def test_without_redis_nothing_is_closed() -> None:
    """What is not known to be outdated goes on."""
    own = Senders(opened)
    first = kept(own, document())

    def away(_: Sequence[str]) -> Mapping[str, bytes]:
        raise BrokerUnavailable("Redis does not answer")

    with pytest.raises(BrokerUnavailable):
        own.close_unused(away)
    assert first.closed == 0


def test_an_integration_is_not_sent_for_under_another_name() -> None:
    """Who can write to Redis puts the document of one, secrets and all, in the place of another."""
    with pytest.raises(InvalidIntegration, match="id: is another one"):
        Senders(opened).of(batch(document("a"), "b"))
