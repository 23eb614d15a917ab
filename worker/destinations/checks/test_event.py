"""The test event of a diagnosis: plainly marked, harmless, and sent as every other event is.

Input: an integration, then the result of its sender. Output: the event, then the answer, which says how
much it proves.
"""

import json
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from worker.destinations import Sender
from worker.destinations.checks import StepResult, failed_by, ok, skipped
from worker.integrations.integration import Integration
from worker.model.batches import Batch, DeliveryAttempt
from worker.model.deliveries import Assurance, DeliveryResult, Failure, Verdict
from worker.model.events import QueuedEvent
from worker.model.failures import FailureCode
from worker.model.orders import WorkOrder
from worker.transports.deadline import NOTICE

#: Makes the sender of an integration, which dials nothing yet. Raises InvalidIntegration.
OpenSender = Callable[[Integration], Sender]

#: No event of the control plane has this type.
TEST_TYPE = "integration.test"

_PROOFS = {
    Assurance.SENT: "nothing answers in syslog, so only a search in the SIEM shows whether it came",
    Assurance.RECEIVED: "it was read to the end; whether it was kept, only a search in the SIEM shows",
    Assurance.ACCEPTED: "whether it can be found, only a search in the SIEM shows",
    Assurance.INDEXED: "the SIEM has said that it can be found",
}
#: In place of an event that is not to be sent.
UNWANTED = skipped("no test event is sent, as was asked: only one shows whether the SIEM takes events")
_NO_RULING = Failure(FailureCode.INTERNAL_ERROR, "the sender did not say what became of it", "report this")


class TestEvent:
    """The event of one examination, and the sender that would send every other; `close` it."""

    __test__ = False  # pytest collects what is called Test…, wherever a test imports it

    def __init__(
        self, integration: Integration, open_sender: OpenSender, seconds: float, *, wanted: bool
    ) -> None:
        """Send, if it is `wanted`, within so many seconds."""
        self._integration = integration
        self._open_sender = open_sender
        self._seconds = seconds
        self._sender: Sender | None = None
        self.is_wanted = wanted
        self.event = _marked_event(integration)

    def prepare(self) -> Sender:
        """Make the sender, if there is none, and write the event without sending it.

        Raises InvalidIntegration when that shows that the integration cannot work.
        """
        if self._sender is None:
            self._sender = self._open_sender(self._integration)
            self._sender.preview([self.event])
        return self._sender

    def send(self) -> DeliveryResult:
        """Send the event as a batch of its own; nothing of that is settled or recorded."""
        now = time.monotonic()
        order = WorkOrder(self._integration.id, 0, 1)
        batch = Batch(order, [self.event], b"", bytes(1), 0, self.event.published_ms, now, [], [])
        results = self.prepare().send(DeliveryAttempt(batch), now + self._seconds)
        return results[0] if results else DeliveryResult([0], Verdict.RETRY, 0, _NO_RULING)

    def answer(self) -> StepResult:
        """Send the event if it is wanted, and say what became of it."""
        return arrived(self.send(), self.event) if self.is_wanted else UNWANTED

    def varied(self, **changes: Any) -> "TestEvent":
        """Return a trial of the same event with other settings of the destination."""
        destination = self._integration.destination.model_copy(update=changes)
        integration = self._integration.model_copy(update={"destination": destination})
        other = TestEvent(integration, self._open_sender, self._seconds, wanted=self.is_wanted)
        other.event = self.event
        return other

    def close(self) -> None:
        """Let go of the connections; the destination gets a moment to notice, for others follow."""
        if self._sender is not None:
            self._sender.close(notice=NOTICE)


def _marked_event(integration: Integration) -> QueuedEvent:
    """Make an event that says of itself, in every form, that it is a test; its id is new."""
    now_ms = time.time_ns() // 1_000_000
    event_id = f"test_{uuid.uuid4().hex}"
    document = {
        "id": event_id,
        "type": TEST_TYPE,
        "timestamp": _rfc3339(now_ms),
        "tenant_id": integration.tenant_id,
        "test": True,
        "reason": f"Test of the integration {integration.id}: no action is needed.",
    }
    raw = json.dumps(document, separators=(",", ":")).encode()
    return QueuedEvent(event_id, TEST_TYPE, now_ms, now_ms, raw)


def arrived(result: DeliveryResult, event: QueuedEvent) -> StepResult:
    """Return what became of the event, and what that proves."""
    if result.verdict is not Verdict.ACCEPTED:
        return failed_by(result.failure or _NO_RULING)
    words = result.assurance.value + (f" (HTTP {result.http_status})" if result.http_status else "")
    return ok(f"{words}, under the id {event.id}: {_PROOFS[result.assurance]}")


def _rfc3339(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
