"""A destination that the product does not know: everything about it stands in this file.

Whatever is to know it imports this module first. It sends each batch as lines over TCP, behind a line with
its password, and reads one line: `yes`, or why not.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from worker.destinations import DestinationType, Example, registry
from worker.destinations.checks import DiagnosisStep, StepResult
from worker.destinations.checks.network import Target
from worker.destinations.checks.test_event import TestEvent
from worker.integrations import DestinationConfig
from worker.integrations.destination import BatchBytes, BatchEvents, TimeoutSeconds
from worker.integrations.fields import Described
from worker.model.batches import DeliveryAttempt
from worker.model.deliveries import DeliveryResult, Failure, Verdict
from worker.model.errors import ConnectionLost, TransportError
from worker.model.events import QueuedEvent
from worker.model.failures import FailureCode
from worker.transports.check_guards import WatchedGuard
from worker.transports.deadline import within
from worker.transports.failures import describe
from worker.transports.guard import Guard

YES = b"yes\n"
_NO_ANSWER = "it closed the connection without an answer"


class Lines(DestinationConfig):
    """Lines of JSON over TCP."""

    SCHEMES: ClassVar[Mapping[str, str]] = {"lines": "TCP"}
    PORTS: ClassVar[Mapping[str, int]] = {"lines": 7000}

    type: Literal["lines"] = "lines"
    url: Annotated[
        str,
        Described(
            label="Address",
            help="where the receiver listens",
            placeholder="lines://your-siem:7000",
            addresses=("lines://siem:7000",),
            advanced=False,
        ),
    ]
    password: Annotated[
        SecretStr, Described(label="Password", help="what the receiver knows us by", advanced=False)
    ]
    ending: Annotated[
        Literal["newline", "blank"], Described(label="Ending", help="what stands between two events")
    ] = "newline"
    batch_events: BatchEvents = 10
    batch_bytes: BatchBytes = 100_000
    timeout_seconds: TimeoutSeconds = 5.0

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or self.PORTS["lines"]


class LinesSender:
    """Sends batches over a connection each."""

    def __init__(self, config: Lines, guard: Guard, **_unused: object) -> None:
        """Dial nothing yet."""
        self._config = config
        self._guard = guard

    def send(self, attempt: DeliveryAttempt, deadline: float) -> list[DeliveryResult]:
        """Send the events of the attempt; the receiver takes all of them, or none."""
        events = [attempt.batch.events[place] for place in attempt.places]
        attempt.count(attempt.places)
        seconds = min(self._config.timeout_seconds, deadline - time.monotonic())
        try:
            answer = self._exchange(self._written(events), seconds)
        except TransportError as error:
            return [self._result(attempt, Verdict.RETRY, describe(error))]
        if answer == YES:
            return [self._result(attempt, Verdict.ACCEPTED, None)]
        refusal = Failure(FailureCode.EVENT_REFUSED, f"it said {answer.decode().strip()}", "ask its owner")
        return [self._result(attempt, Verdict.REFUSED, refusal)]

    def preview(self, events: Sequence[QueuedEvent]) -> bytes:
        """Return what would be sent, but for the password."""
        return self._written(events, b"***")

    def close(self, *, notice: float = 0.0) -> None:
        """No connection outlives its batch."""

    def _written(self, events: Sequence[QueuedEvent], password: bytes = b"") -> bytes:
        ending = b"\n" if self._config.ending == "newline" else b" "
        known = password or self._config.password.get_secret_value().encode()
        return known + b"\n" + ending.join(event.raw for event in events) + b"\n\n"

    def _exchange(self, content: bytes, seconds: float) -> bytes:
        host, port = self._config.address
        with within(seconds, f"{host}:{port}"), self._guard.dial(host, port, seconds) as sock:
            try:
                sock.sendall(content)
                answer = sock.recv(1000)
            except OSError as error:
                raise ConnectionLost(str(error)) from None
        if not answer:
            raise ConnectionLost(_NO_ANSWER)
        return answer

    def _result(self, attempt: DeliveryAttempt, verdict: Verdict, failure: Failure | None) -> DeliveryResult:
        return DeliveryResult(attempt.places, verdict, attempt.batch.elapsed_ms(), failure)


class LinesChecks:
    """The step of the doctor beyond the way there: an event."""

    def __init__(self, config: Lines, _guard: WatchedGuard, test_event: TestEvent) -> None:
        """Ask nothing yet."""
        host, port = config.address
        self.target = Target(
            host=host,
            port=port,
            way="tcp",
            secure_form="lines://",
            plain_form="lines://",
            check_first="check host and port",
            plain_is_risky=True,
        )
        self._test_event = test_event

    def summary(self) -> str:
        """Say what is configured."""
        return "lines of JSON"

    def steps(self) -> list[DiagnosisStep]:
        """Return the only step."""
        return [DiagnosisStep("test event", self._ask, "connection")]

    def close(self) -> None:
        """Nothing is held."""

    def _ask(self) -> StepResult:
        return self._test_event.answer()


registry.add(
    DestinationType(
        Lines,
        label="Lines",
        summary="Lines of JSON over TCP. You need its address and a password.",
        sender="tests.destinations.dummy_destination:LinesSender",
        checks="tests.destinations.dummy_destination:LinesChecks",
        examples=[
            Example(
                "lines",
                "Lines over TCP",
                {"type": "lines", "url": "lines://your-siem:7000", "password": "your-password"},
            )
        ],
    )
)
