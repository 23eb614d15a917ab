"""Publishers that do not give up: an event counts, and is done, once Redis has acknowledged it.

They take every way in turn: `EventPublisher`, which packs frames; one event an entry; many lines in one.
Among lines there is now and then one that is no event, and beside the entries a frame that is damaged: each
of these must become a dead letter, and cost nothing else.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import cycle, islice
from random import Random

import redis

from worker.broker import keys
from worker.broker.connection import fails_over, redis_client
from worker.broker.frames import FRAME, judge, pack_frame
from worker.destinations.syslog_cef.syslog import SyslogCefFormat
from worker.model.errors import UnavailableError
from worker.model.event_decoder import decode_event
from worker.model.events import QueuedEvent
from worker.publisher import EventPublisher
from worker.samples import sample_lines

_CEF = SyslogCefFormat.of(facility="local0", header="rfc3164", hostname="mitrity", send_src=True, limit=8000)
#: How long a replica may take to have what was added, behind sentinels, in milliseconds.
_REPLICA_MS = 1000
#: One batch of lines in so many has one that is refused, and one batch of all a false frame beside it.
_REFUSED_EVERY = 5

#: Publishes events; says of each whether Redis has acknowledged it.
Way = Callable[[list[bytes]], list[bool]]


@dataclass
class Refused:
    """What was acknowledged that is no event: ids of lines, and how many frames."""

    lines: set[str] = field(default_factory=set)
    frames: int = 0


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
        self.refused = Refused()
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
        batches = enumerate(_batches(run, count, self._batch), 1)
        with EventPublisher(url) as publisher, closing(redis_client(url)) as client:
            entries = _Entries(client, run, self.refused)
            ways: Iterator[Way] = cycle((_Packed(publisher), entries.single, entries.lines))
            for (number, batch), way in zip(batches, ways, strict=False):
                self._publish(way, batch)
                sent += len(batch)
                if number % _REFUSED_EVERY == 0:
                    entries.false_frame(batch)
                if self._over.wait(max(0.0, started + sent / rate - time.monotonic())):
                    return

    def _publish(self, way: Way, batch: list[bytes]) -> None:
        """Publish until each event is acknowledged; one whose answer was lost is published again."""
        left = batch
        while left:
            taken = [False] * len(left)
            with suppress(UnavailableError, redis.RedisError):
                taken = way(left)
            for line, is_taken in zip(left, taken, strict=True):
                if is_taken:
                    self._note(line)
            left = [line for line, is_taken in zip(left, taken, strict=True) if not is_taken]
            if left:
                time.sleep(0.1)  # Redis is away or full: as any client, it asks again a little later

    def _note(self, line: bytes) -> None:
        event_id = decode_event(line).id
        message = cef_of(line)
        with self._lock:
            self.acknowledged[event_id] = hashlib.sha256(line).digest()
            self.as_cef[event_id] = hashlib.sha256(message).digest()


class _Packed:
    """The way of EventPublisher."""

    def __init__(self, publisher: EventPublisher) -> None:
        self._publisher = publisher

    def __call__(self, batch: list[bytes]) -> list[bool]:
        return [receipt.error is None for receipt in self._publisher.publish_many(batch)]


class _Entries:
    """The ways of a client that adds entries by itself, and what is refused of them."""

    def __init__(self, client: redis.Redis, run: str, refused: Refused) -> None:
        self._client = client
        self._run = run
        self._refused = refused
        self._dice = Random(run)
        self._lines = 0

    def single(self, batch: list[bytes]) -> list[bool]:
        """Add an entry for each."""
        return self._add([(b"event", line) for line in batch])

    def lines(self, batch: list[bytes]) -> list[bool]:
        """Add one entry for all, now and then with a line that is no event."""
        self._lines += 1
        lines, bad = list(batch), f"bad_{self._run}_{self._lines}"
        is_bad = self._lines % _REFUSED_EVERY == 0
        if is_bad:
            lines.insert(self._dice.randrange(len(lines)), b'{"id":"%b","type":"none"}' % bad.encode())
        [is_taken] = self._add([(b"events", b"\n".join(lines))])
        if is_taken and is_bad:
            self._refused.lines.add(bad)
        return [is_taken] * len(batch)

    def false_frame(self, batch: list[bytes]) -> None:
        """Add a frame of events under other ids, in which a bit is turned; once, whatever is answered."""
        events = [judge(line.replace(b'"evt_', b'"false_', 1)) for line in batch[:3]]
        frame = bytearray(pack_frame(events[0].tenant_id, [one.event for one in events], is_urgent=True))
        frame[self._dice.randrange(len(frame))] ^= 4
        try:
            [is_taken] = self._add([(FRAME, bytes(frame))])
        except redis.RedisError:
            return
        self._refused.frames += is_taken

    def _add(self, entries: list[tuple[bytes, bytes]]) -> list[bool]:
        """Add entries; say of each whether Redis has it, behind sentinels a replica as well."""
        pipeline = self._client.pipeline(transaction=False)
        for name, value in entries:
            pipeline.xadd(keys.EVENTS, {name: value})
        if fails_over(self._client):
            pipeline.wait(1, _REPLICA_MS)
            *added, replicas = pipeline.execute(raise_on_error=False)
            if isinstance(replicas, Exception) or replicas < 1:
                return [False] * len(entries)
        else:
            added = pipeline.execute(raise_on_error=False)
        return [isinstance(one, bytes) for one in added]


def cef_of(line: bytes) -> bytes:
    """Return the CEF message of an event, for an integration that says nothing but where it is."""
    event = decode_event(line)
    [message] = _CEF.messages([QueuedEvent(event.id, event.type, event.time_ms, 0, line)])
    return message


def _batches(run: str, count: int, size: int) -> Iterator[list[bytes]]:
    lines = sample_lines(count, run=run)
    while batch := list(islice(lines, size)):
        yield batch
