"""Publishing governance events from Python; any other language does it with one XADD.

with EventPublisher("redis://localhost:6379/0") as publisher:
    publisher.publish({"id": "evt_1", "type": "policy.deny", "timestamp": "2026-11-22T10:11:12Z"})
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import msgspec

from worker.broker.connection import redis_client
from worker.broker.formats import KnownFormats
from worker.broker.frames import JudgedEvent, judge
from worker.broker.ingress_writer import add_judged
from worker.model.errors import BrokerUnavailable, InvalidEvent
from worker.tracing import application_tracing

if TYPE_CHECKING:
    from worker.tracing.spans import Tracing

#: Events of one round trip to Redis.
PIPELINE = 1000


class Receipt(NamedTuple):
    """What became of one event: the id of its entry in `siem:events`, or why it was not taken.

    Events that were published together may share an entry, and so its id.
    """

    entry_id: str | None
    error: InvalidEvent | BrokerUnavailable | None


class EventPublisher:
    """Validates events and publishes them to Redis; not to be shared between threads.

    When it returns, Redis has the event. When the answer of Redis is lost, it publishes again: the
    event may then travel twice, with the same id.
    """

    def __init__(self, redis_url: str, *, patience: float = 10.0, tracing: bool = False) -> None:
        """Publish to that Redis; an absence of up to `patience` seconds is waited out.

        With `tracing`, what is published is a span of the application's OpenTelemetry, below its current one;
        the fleet goes on with it if it is sampled, and if it runs with SIEM_TRACING.
        """
        self._client = redis_client(redis_url)
        self._formats = KnownFormats(self._client)
        self.patience = patience
        self._tracing: Tracing | None = application_tracing() if tracing else None

    def publish(self, event: Mapping[str, Any] | bytes) -> str:
        """Publish one event, as an object or as its JSON; return the id of its entry.

        Raises InvalidEvent, which names the field, and BrokerUnavailable when Redis did not take it.
        """
        [receipt] = self.publish_many([event])
        if receipt.error is not None:
            raise receipt.error
        return receipt.entry_id or ""

    def publish_many(self, events: Iterable[Mapping[str, Any] | bytes]) -> Iterator[Receipt]:
        """Publish events in order, many a round trip; yield one receipt for each.

        An invalid event is refused alone. Yields BrokerUnavailable for what Redis did not take.
        """
        window: list[JudgedEvent | InvalidEvent] = []
        for event in events:
            window.append(_judged(event))
            if len(window) >= PIPELINE:
                yield from self._send(window)
                window = []
        yield from self._send(window)

    def publish_judged(self, events: list[JudgedEvent]) -> list[Receipt]:
        """Publish events that were judged, in one round trip; return one receipt for each."""
        return _receipts(self._publish(events))

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def __enter__(self) -> Self:
        """Publish within a `with`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.close()

    def _send(self, window: list[JudgedEvent | InvalidEvent]) -> Iterator[Receipt]:
        judged = [one for one in window if not isinstance(one, InvalidEvent)]
        receipts = iter(_receipts(self._publish(judged)))
        if len(judged) == len(window):
            yield from receipts
            return
        for one in window:
            yield Receipt(None, one) if isinstance(one, InvalidEvent) else next(receipts)

    def _publish(self, events: list[JudgedEvent]) -> list[bytes | Exception]:
        if self._tracing is None or not events:
            return self._publish_waiting(events)
        with self._tracing.publish(len(events)) as span:
            answers = self._publish_waiting(events, span.header)
            span.answered(answers)
            return answers

    def _publish_waiting(
        self, events: list[JudgedEvent], traceparent: bytes = b""
    ) -> list[bytes | Exception]:
        """Publish; while Redis is away, try again until patience ends."""
        deadline = time.monotonic() + self.patience
        pause = 0.05
        while events:
            try:
                return add_judged(self._client, self._formats, events, traceparent)
            except BrokerUnavailable as error:
                if time.monotonic() + pause >= deadline:
                    return [error] * len(events)
                time.sleep(pause)
                pause = min(pause * 2, 1.0)
        return []


def _judged(event: Mapping[str, Any] | bytes) -> JudgedEvent | InvalidEvent:
    try:
        return judge(event if isinstance(event, bytes) else event_bytes(event))
    except InvalidEvent as error:
        return error


def event_bytes(event: Mapping[str, Any] | bytes) -> bytes:
    """Return the JSON of an event. Raises InvalidEvent for what JSON cannot hold."""
    if isinstance(event, bytes):
        return event
    for field in ("drift_score", "behavioral_hash_delta"):
        value = event.get(field)
        # JSON has neither, and msgspec would write null instead without a word.
        if isinstance(value, float) and not isfinite(value):
            raise InvalidEvent(field, f"is {value}", "give a finite number, or leave it out")
    try:
        return msgspec.json.encode(dict(event))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidEvent("event", f"cannot be written as JSON ({error})", "give plain values") from None


def _receipts(answers: list[bytes | Exception]) -> list[Receipt]:
    """Return a receipt for each answer; events that share one share it, too."""
    made = {answer: _receipt(answer) for answer in set(answers)}
    return [made[answer] for answer in answers]


def _receipt(answer: bytes | Exception) -> Receipt:
    if isinstance(answer, bytes):
        return Receipt(answer.decode(), None)
    if isinstance(answer, BrokerUnavailable):
        return Receipt(None, answer)
    return Receipt(None, BrokerUnavailable(f"Redis did not take the event: {answer}"))
