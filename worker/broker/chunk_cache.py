"""Fetches events that stand under a key of their own, and keeps them while other integrations want them.

The integrations that want the same events claim them at nearly the same time. So one thread of a process
fetches and decodes a chunk, those that want it meanwhile wait for that, and those that come later find it.
Events under a name never change, and what an entry says of them (their checksum) is compared.

A chunk is let go when as many claims of this process have had it as there were entries that referred to it,
and the oldest where all that is kept takes more than MOST_KEPT.
"""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from worker.broker import keys
from worker.broker.chunks import UnreadableChunk, events_of
from worker.broker.connection import broker_errors
from worker.broker.packing import whole
from worker.broker.round_trips import ask
from worker.broker.shared_chunks import EVENTS, SHARED
from worker.model.event_runs import EventRun

if TYPE_CHECKING:
    import redis

#: Bytes that one process keeps at the most, beside the batches in hand: its events, and what is made of them.
MOST_KEPT = 32 << 20
#: For so many seconds a thread waits for what another fetches, before it fetches that itself: its lease runs.
_LONGEST_WAIT = 2.0
#: What is kept of a chunk takes so many times the bytes of its events, packed, and so many for each event.
_TIMES, _EACH = 2, 700
#: Places of what an entry says: what follows is an id, which that is, and the checksum.
_KIND, _ID, _CRC = 4, 5, 7
#: A chunk's id, and the checksum that an entry expects.
Named = tuple[bytes, bytes]


@dataclass(slots=True)
class _Kept:
    """A chunk, the bytes it takes, and how many entries may still refer to it."""

    run: EventRun
    weight: int
    left: int


class ChunkCache:
    """The chunks that a process has in hand or keeps; shared by its threads."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        """Keep so many bytes at the most."""
        self._most = most
        self._kept: dict[Named, _Kept] = {}
        self._coming: dict[Named, threading.Event] = {}
        self._weight = 0
        self._lock = threading.Lock()

    @property
    def weight(self) -> int:
        """How many bytes it keeps, by estimate."""
        return self._weight

    def fetch(self, client: "redis.Redis", entries: Iterable[Sequence[Any]]) -> dict[Named, EventRun]:
        """Return the events that entries of lanes refer to, by what `name_of` says.

        Those that cannot be read are put into the entries, as they stand; where they are not there, the
        reference stays, and says so. Raises BrokerUnavailable.
        """
        wanted = {name: fields for _, fields in entries if (name := name_of(fields))}
        if not wanted:
            return {}
        runs, coming = self._look(wanted)
        mine = {name: fields for name, fields in wanted.items() if name not in runs and name not in coming}
        try:
            runs |= self._read(client, mine)
        finally:
            self._came(mine)
        for came in coming.values():
            came.wait(_LONGEST_WAIT)
        runs |= self._take(coming)
        return runs | self._read(client, {name: wanted[name] for name in coming if name not in runs})

    def _look(self, wanted: Iterable[Named]) -> tuple[dict[Named, EventRun], dict[Named, threading.Event]]:
        """Return what is kept, and what another thread fetches; the rest is the caller's to fetch."""
        with self._lock:
            runs = self._taken(wanted)
            left = [name for name in wanted if name not in runs]
            coming = {name: self._coming[name] for name in left if name in self._coming}
            self._coming |= {name: threading.Event() for name in left if name not in coming}
        return runs, coming

    def _take(self, wanted: Iterable[Named]) -> dict[Named, EventRun]:
        with self._lock:
            return self._taken(wanted)

    def _taken(self, wanted: Iterable[Named]) -> dict[Named, EventRun]:
        found = {name: self._kept[name] for name in wanted if name in self._kept}
        for name, kept in found.items():
            kept.left -= 1
            if kept.left <= 0:
                self._drop(name)
        return {name: kept.run for name, kept in found.items()}

    def _came(self, names: Iterable[Named]) -> None:
        with self._lock:
            for name in names:
                self._coming.pop(name).set()

    def _read(self, client: "redis.Redis", wanted: dict[Named, Any]) -> dict[Named, EventRun]:
        """Fetch what is not here; keep what more entries refer to."""
        if not wanted:
            return {}
        ids = [chunk_id for chunk_id, _ in wanted]
        with broker_errors():
            found, counts = ask(
                client,
                ("MGET", *(keys.CHUNK_PREFIX.encode() + one for one in ids)),
                ("HMGET", keys.CHUNKS, *ids),
            )
            if isinstance(found, Exception):
                raise found
        # What damage has made of the counts is no matter here.
        references = [0] * len(ids) if isinstance(counts, Exception) else [whole(one) for one in counts]
        runs: dict[Named, EventRun] = {}
        for (name, fields), packed, left in zip(wanted.items(), found, references, strict=True):
            if packed is None:
                continue
            try:
                runs[name] = EventRun(events_of(packed, fields))
            except UnreadableChunk:
                fields[_KIND : _ID + 1] = EVENTS, packed
                continue
            self._keep(name, _Kept(runs[name], _weight(packed, runs[name]), left - 1))
        return runs

    def _keep(self, name: Named, kept: _Kept) -> None:
        if kept.left <= 0:
            return
        with self._lock:
            if name in self._kept:
                return
            self._kept[name] = kept
            self._weight += kept.weight
            while self._weight > self._most:
                self._drop(next(iter(self._kept)))

    def _drop(self, name: Named) -> None:
        self._weight -= self._kept.pop(name).weight


def name_of(fields: Sequence[bytes] | None) -> Named | None:
    """Name the events that an entry refers to; None if it has its own."""
    if not fields or len(fields) <= _ID or fields[_KIND] != SHARED:
        return None
    return fields[_ID], fields[_CRC] if len(fields) > _CRC else b""


def _weight(packed: bytes, run: EventRun) -> int:
    return _TIMES * len(packed) + _EACH * len(run.events)
