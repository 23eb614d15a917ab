"""A publisher that does not give up: each event again, until it is accepted or its time is over."""

import threading
from types import TracebackType
from typing import Self

from tests.fleet import Fleet
from tests.system.conftest import denial
from worker.publisher import EventPublisher


class Insistent:
    """Publishes from a thread, and each event again until it is accepted; keeps the ids that were."""

    def __init__(self, fleet: Fleet, name: str) -> None:
        """Name the events."""
        self._fleet, self._name = fleet, name
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.accepted: list[str] = []
        self.refusals = 0

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Publish no more."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        with EventPublisher(self._fleet.settings.broker_address()) as publisher:
            while not self._stopping.wait(0.01):
                first = len(self.accepted)
                events = [denial(f"{self._name}-{first + place}", agent_id="a" * 400) for place in range(20)]
                for event, receipt in zip(events, publisher.publish_many(events), strict=True):
                    if receipt.error is None:
                        self.accepted.append(event["id"])
                    else:
                        self.refusals += 1
