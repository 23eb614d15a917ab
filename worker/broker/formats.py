"""Which forms of entries may be written: those that every living process of the fleet can read.

Each process says in its heartbeat which forms it reads (the fact `formats`); a process of an earlier
release says nothing. The one sweeper writes the names that all of them know to `siem:formats`, which expires
if no one sweeps. A writer asks `KnownFormats`, and writes the earlier form as long as the answer is no.

`hold_formats` has the earlier forms written whatever the processes know: before a fleet goes back to an
earlier release, until nothing of the new forms is left.
"""

import time
from collections.abc import Callable, Collection, Iterable
from enum import StrEnum
from typing import TYPE_CHECKING

from redis.exceptions import NoPermissionError

from worker.broker import keys
from worker.broker.clocks import redis_now_ms
from worker.broker.connection import broker_errors
from worker.broker.fleet import LivingProcess, living_processes
from worker.broker.framed_chunks import new_framed_id
from worker.broker.oom import ask_when_full
from worker.broker.packing import whole
from worker.broker.round_trips import ask
from worker.model.errors import BrokerUnavailable

if TYPE_CHECKING:
    import redis

#: The fact of a heartbeat that names them.
FACT = "formats"
#: How often the sweeper writes them, how long that holds, and how long an answer is kept; in seconds.
EVERY, LASTS, REMEMBERED = 5.0, 60, 2.0
#: How long it is known whether this client may write chunks, in seconds: its rights seldom change.
_RIGHT_KNOWN = 60.0
#: For what a writer has in hand when it learns that they are held, in milliseconds.
_SPARE_MS = 3000
#: Between the names in `siem:formats`.
_AND = " "


class Format(StrEnum):
    """A form that processes of an earlier release cannot read."""

    #: Many events in one entry of `siem:events`.
    FRAMES = "frames"
    #: Chunks of backlogs whose payload stands under a key of its own.
    SHARED_CHUNKS = "shared-chunks"
    #: Chunks that publishers write, past the routers (`worker.broker.framed_chunks`).
    FRAMED_CHUNKS = "framed-chunks"
    #: Rows of the ledger that hold a batch of deliveries each (`worker.ledger.batches`).
    BATCHES = "ledger-batches"


#: What this release reads.
READABLE: tuple[Format, ...] = tuple(Format)


def formats_of(processes: Iterable[LivingProcess]) -> frozenset[str]:
    """Return the forms that all of these processes read; none without any process."""
    known = [_said_by(one) for one in processes]
    return frozenset.intersection(*known) if known else frozenset()


def _said_by(process: LivingProcess) -> frozenset[str]:
    said = process.report.facts.get(FACT) if process.report else None
    return frozenset(one for one in said if isinstance(one, str)) if isinstance(said, list) else frozenset()


class FormatsNotice:
    """Writes now and then which forms the fleet reads. Raises BrokerUnavailable."""

    def __init__(self, client: "redis.Redis") -> None:
        """Write to this Redis."""
        self._client = client
        self._next = 0.0

    def renew(self) -> None:
        """Write it, unless that was done a moment ago."""
        if time.monotonic() < self._next:
            return
        names = formats_of(living_processes(self._client))
        with broker_errors():
            if not names or are_held(self._client):
                ask_when_full(self._client, "DEL", keys.FORMATS)
            else:
                ask_when_full(self._client, "SET", keys.FORMATS, _AND.join(sorted(names)), "EX", LASTS)
        self._next = time.monotonic() + EVERY


class KnownFormats:
    """What may be written, as Redis said a moment ago; may be shared between threads."""

    def __init__(self, client: "redis.Redis", clock: Callable[[], float] = time.monotonic) -> None:
        """Ask this Redis, at most every two seconds."""
        self._client = client
        self._clock = clock
        self._names: Collection[str] = ()
        self._next = 0.0
        self._may_set_chunks = False
        self._next_try = 0.0

    def has(self, one: Format) -> bool:
        """Whether all living processes read this form. Never raises: False if Redis does not say."""
        if self._clock() >= self._next:
            self._names = self._read()
            self._next = self._clock() + REMEMBERED
        return one.value in self._names

    def may_frame_chunks(self) -> bool:
        """Whether all processes read chunks that publishers write, and this client may write such.

        Never raises.
        """
        if not self.has(Format.FRAMED_CHUNKS):
            return False
        if self._clock() >= self._next_try:
            self._may_set_chunks = _may_set_chunk(self._client)
            self._next_try = self._clock() + _RIGHT_KNOWN
        return self._may_set_chunks

    def _read(self) -> Collection[str]:
        try:
            return written_formats(self._client)
        except BrokerUnavailable:
            # Also a publisher without the right to read it: the earlier form is right as well.
            return ()


def _may_set_chunk(client: "redis.Redis") -> bool:
    """Whether Redis lets this client write a chunk with its entry: it refuses to queue what is forbidden."""
    try:
        with broker_errors():
            replies = ask(client, ("MULTI",), ("SETNX", keys.chunk(new_framed_id()), b""), ("DISCARD",))
    except BrokerUnavailable:
        return False
    return not any(isinstance(one, NoPermissionError) for one in replies)


def written_formats(client: "redis.Redis") -> frozenset[str]:
    """Return the forms that may be written now. Raises BrokerUnavailable."""
    with broker_errors():
        value = client.get(keys.FORMATS)
    return frozenset(value.decode(errors="replace").split(_AND)) if isinstance(value, bytes) else frozenset()


def hold_formats(client: "redis.Redis", *, held: bool) -> None:
    """Have the earlier forms written from now on, or the new ones again. Raises BrokerUnavailable.

    Writers notice it within `EVERY` and `REMEMBERED` seconds: a sweeper may be about to write the notice.
    """
    with broker_errors():
        if held:
            ask_when_full(client, "SET", keys.FORMATS_HELD, redis_now_ms(client), "NX")
            ask_when_full(client, "DEL", keys.FORMATS)
        else:
            ask_when_full(client, "DEL", keys.FORMATS_HELD)


def are_held(client: "redis.Redis") -> bool:
    """Whether the earlier forms are to be written. Raises BrokerUnavailable."""
    with broker_errors():
        return bool(client.exists(keys.FORMATS_HELD))


def is_drained(client: "redis.Redis") -> bool:
    """Whether the new forms are held for so long that no one writes them, and nothing of them is left.

    Raises BrokerUnavailable.
    """
    with broker_errors():
        since = client.get(keys.FORMATS_HELD)
    noticed_ms = round((EVERY + REMEMBERED) * 1000) + _SPARE_MS
    if since is None or redis_now_ms(client) - whole(since) < noticed_ms:
        return False
    return not entries_left(client)


def entries_left(client: "redis.Redis") -> dict[str, int]:
    """Count what stands in backlogs of each form, those with nothing left out. Raises BrokerUnavailable."""
    with broker_errors():
        shared = int(client.hlen(keys.CHUNKS))
    return {Format.SHARED_CHUNKS.value: shared} if shared else {}
