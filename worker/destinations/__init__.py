"""Destinations: the contract of a sender; each type of destination has a folder."""

from collections.abc import Sequence
from typing import Protocol

from worker.model.batches import Batch
from worker.model.deliveries import DeliveryResult
from worker.model.events import QueuedEvent


class Sender(Protocol):
    """Sends batches to one integration; shared by the threads of a worker process."""

    def send(self, batch: Batch, deadline: float) -> Sequence[DeliveryResult]:
        """Send the batch's open events until `deadline` (monotonic seconds); rule on every one of them.

        Counts each request in `batch.carried` from when the destination may have it, also where a shortage
        or a fault of our own is raised. Raises nothing that the destination can cause.
        """
        ...

    def preview(self, events: Sequence[QueuedEvent]) -> bytes:
        """Return the very bytes that would be sent for these events, but for secrets; dials nothing."""
        ...

    def close(self) -> None:
        """Let go of idle connections."""
        ...
