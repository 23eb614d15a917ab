"""Senders to the webhooks of the tests, and what they ruled."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tests.destinations import batches
from worker.destinations.webhook.sender import WebhookSender
from worker.integrations.webhook import Webhook
from worker.model.batches import DeliveryAttempt
from worker.model.deliveries import DeliveryResult

TOKEN = "hunter2-hunter2"
#: That of the known answers of Standard Webhooks, and another one.
OLDER, NEWER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_" + "Ab1+" * 8


@contextmanager
def webhook_to(url: str, **options: Any) -> Iterator[WebhookSender]:
    """Give a sender to the url, with these options of its destination."""
    config = Webhook.model_validate({"url": url, "connections": 4} | options)
    sender = WebhookSender(config, batches.GUARD)
    try:
        yield sender
    finally:
        sender.close()


def failures(attempt: DeliveryAttempt, results: Sequence[DeliveryResult]) -> dict[str, str | None]:
    """Return the code of the finding on each event."""
    return {
        attempt.batch.events[place].id: result.failure.code if result.failure else None
        for result in results
        for place in result.places
    }
