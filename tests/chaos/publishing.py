"""Publishers that do not give up: an event counts, and is done, once Redis has acknowledged it."""

import hashlib
import threading
import time
from collections.abc import Iterator
from itertools import islice

from worker.destinations.syslog_cef.syslog import SyslogCefFormat
from worker.model.errors import UnavailableError
from worker.model.event_decoder import decode_event
from worker.model.events import QueuedEvent
from worker.publisher import EventPublisher
from worker.samples import sample_lines

_CEF = SyslogCefFormat.of(facility="local0", header="rfc3164", hostname="mitrity", send_src=True, limit=8000)


class Publishers:
    """Threads that publish, and what was acknowledged to them.

    For each event, `acknowledged` has the SHA-256 of its payload, and `as_cef` that of its CEF message.
    """

    def __init__(
        self, url: str, *, seed: int, rate: int, count: int, batch: int = 50, threads: int = 2
    ) -> None:
        """Publish `count` events at `rate` a second in all, so many at once in each thread."""
        self._batch = batch
        self.acknowledged: dict[str, bytes] = {}
        self.as_cef: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._run, args=(url, f"{seed}-{number}", rate / threads, count // threads)
            )
            for number in range(threads)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def running(self) -> bool:
        """Say whether there is more to publish."""
        return any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """Publish what is begun, and no more."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, url: str, run: str, rate: float, count: int) -> None:
        started, sent = time.monotonic(), 0
        with EventPublisher(url) as publisher:
            for batch in _batches(run, count, self._batch):
                self._publish(publisher, batch)
                sent += len(batch)
                if self._over.wait(max(0.0, started + sent / rate - time.monotonic())):
                    return

    def _publish(self, publisher: EventPublisher, batch: list[bytes]) -> None:
        """Publish until each event is acknowledged; one whose answer was lost is published again."""
        left = batch
        while left:
            refused = []
            try:
                for line, receipt in zip(left, publisher.publish_many(left), strict=True):
                    if receipt.error is None:
                        self._note(line)
                    else:
                        refused.append(line)
                left = refused
            except UnavailableError:
                left = [line for line in left if decode_event(line).id not in self.acknowledged]
            if left:
                time.sleep(0.1)  # Redis is away: as any client, it asks again a little later

    def _note(self, line: bytes) -> None:
        event_id = decode_event(line).id
        message = cef_of(line)
        with self._lock:
            self.acknowledged[event_id] = hashlib.sha256(line).digest()
            self.as_cef[event_id] = hashlib.sha256(message).digest()


def cef_of(line: bytes) -> bytes:
    """Return the CEF message of an event, for an integration that says nothing but where it is."""
    event = decode_event(line)
    [message] = _CEF.messages([QueuedEvent(event.id, event.type, event.time_ms, 0, line)])
    return message


def _batches(run: str, count: int, size: int) -> Iterator[list[bytes]]:
    lines = sample_lines(count, run=run)
    while batch := list(islice(lines, size)):
        yield batch
