"""Events under a key of their own, once for all who want them; the sweep that proves that none is lost.

So stand events that several integrations want, and many events of one integration. Publishers write some of
them, with an entry of `siem:events` that refers to them (`worker.broker.framed_chunks`): the hand-over then
counts, and writes no events.

The hand-over of a router, or of a replay, writes a chunk's packed events as `siem:chunk:<id>`, how many
entries refer to it as a count in `siem:chunks`, and the entries: all of it in one transaction. Whatever
deletes an entry (`settle`, `aside`, `park`) takes one off the count in the same script, and the last takes
the events with it (`payloads.lua`). So counts are exact, whatever is killed. What damage, or a person with
`redis-cli`, has made of them, the sweep finds.

**How it proves a count wrong** while others hand over and settle: after its hand-over no further entry ever
refers to a chunk, so both the count and the number of entries only fall. A look reads the count, then every
lane from its beginning to its end, then the count again: what it saw lies between both. If not, the count is
wrong. One without a count is in use while it waits in the ingress. A chunk that two looks, some time apart,
find wrong is counted again in one script, which sees which of the entries are still there.

Until then a count that is too high keeps events too long. One that is missing deletes none. One that is too
low by damage may delete events for which an integration still waits; it makes dead letters that say so.

What waits is weighed (`worker.model.parking`) as if each integration had its own copy: parking writes one for
each. So shared events are parked earlier than they must be, and never too late.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from worker.broker import keys
from worker.broker.connection import broker_errors, joined_script, script_text, send_command, single_script
from worker.broker.framed_chunks import ID_BEGINS
from worker.broker.oom import report_displaced
from worker.model.untrusted_text import number_in

if TYPE_CHECKING:
    import redis

#: Stands in the place of `events` where the events are under a key of their own; its value is their id.
EVENTS, SHARED = b"events", b"shared"
#: Smaller chunks, in bytes, are written for each: to claim and settle one takes Redis about 14 µs more, and a
#: copy of few events less. Measured with four integrations: 1.5 times the CPU for one event, 1.06 for five,
#: 0.7 for fifty.
LEAST_SHARED = 4096
#: Chunks of so many bytes are written so for one integration, too: else what claims them copies them twice
#: within Redis, and sends them as a whole.
LEAST_ALONE = 64 << 10
#: Between two looks in seconds, and between two of which the first has found something.
LOOK_EVERY, LOOK_AGAIN = 300.0, 30.0
#: Entries of one round trip, bytes of these that are enough, and round trips of one step: Redis serves others
#: between two of them.
_ENTRIES, _BYTES, _TRIPS = 500, 4 << 20, 40
#: Keys of one SCAN, fields of one HSCAN and of one HMGET.
_KEYS = 1000
#: `siem:backlog:` and `siem:chunk:`.
_PATTERN = "siem:[bc]*"
#: The counts may be of a wrong type themselves.
_MAKE_WAY = script_text("make_way") + "return make_way(KEYS[1], true, 'hash') and {KEYS[1]} or {}"


def is_shared(length: int, integrations: int) -> bool:
    """Whether events that take `length` bytes, packed, are written under a key of their own."""
    return length >= (LEAST_SHARED if integrations > 1 else LEAST_ALONE)


def new_chunk_id() -> str:
    """Return the id of a chunk, which no other has."""
    return token_hex(8)


@dataclass(slots=True)
class ChunkFindings:
    """What a look has set right: counts, unused events; and chunks whose events are not there."""

    recounted: int = 0
    removed: int = 0
    missing: int = 0

    def __bool__(self) -> bool:
        """Whether anything was wrong."""
        return bool(self.recounted or self.removed or self.missing)


@dataclass(slots=True)
class _Look:
    """One look: what is there, and which entries refer to it; `places` only of what is suspected."""

    server: str
    names: set[str] = field(default_factory=set)
    lanes: list[str] = field(default_factory=list)
    before: dict[str, int] = field(default_factory=dict)
    #: The counts as they stand there, by damage perhaps none.
    counted: dict[str, bytes] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)
    places: defaultdict[str, list[str | bytes]] = field(default_factory=lambda: defaultdict(list))
    #: Those that publishers wrote and no router has handed over.
    unrouted: set[str] = field(default_factory=set)


class ChunkSweep:
    """Looks for wrong counts; one thread at a time. Raises BrokerUnavailable: then a look begins again."""

    def __init__(
        self, client: "redis.Redis", look_every: float = LOOK_EVERY, look_again: float = LOOK_AGAIN
    ) -> None:
        """Look every `look_every` seconds, and `look_again` seconds after something was found."""
        self._client = client
        self._look_every = look_every
        self._look_again = look_again
        self._references = joined_script(client, "payloads", "references")
        self._recount = joined_script(client, "payloads", "recount")
        self._framed = single_script(client, "framed")
        self._suspects: set[str] = set()
        self._known_missing: set[str] = set()
        self._steps: Generator[None, None, ChunkFindings] | None = None
        self._next_look = 0.0

    def step(self) -> ChunkFindings:
        """Go on with a look, for at most some tens of milliseconds; return what its end has found."""
        if self._steps is None:
            if time.monotonic() < self._next_look:
                return ChunkFindings()
            self._steps = self._look()
        try:
            with broker_errors():
                for _ in range(_TRIPS):
                    next(self._steps)
        except StopIteration as end:
            self._rest()
            found: ChunkFindings = end.value
            return found
        except BaseException:
            self._rest()
            raise
        return ChunkFindings()

    def is_looking(self) -> bool:
        """Whether a look has begun that is not at its end."""
        return self._steps is not None

    def _rest(self) -> None:
        self._steps = None
        self._next_look = time.monotonic() + (self._look_again if self._suspects else self._look_every)

    def _look(self) -> Generator[None, None, ChunkFindings]:
        """Look once at everything; a step of it is one round trip, or two."""
        report_displaced(send_command(self._client, "EVAL", _MAKE_WAY, 1, keys.CHUNKS))
        look = _Look(self._server())
        # In this order: the lanes of what is counted are known.
        yield from self._counts(look)
        yield from self._names(look)
        if look.names or look.before:
            yield from self._lanes(look)
        yield from self._ingress(look)
        found = yield from self._suspicious(look)
        # One that another server took the place of has gone back in time meanwhile.
        if self._server() != look.server:
            return ChunkFindings()
        self._known_missing &= found
        confirmed, self._suspects = found & self._suspects, found - self._suspects
        return self._repair(look, confirmed)

    def _server(self) -> str:
        found: Any = self._client.info("server")
        return str(found.get("run_id"))

    def _names(self, look: _Look) -> Generator[None, None, None]:
        cursor = -1
        while cursor:
            found: Any = self._client.scan(max(0, cursor), match=_PATTERN, count=_KEYS)
            cursor, names = found
            for name in (one.decode(errors="replace") for one in names):
                if name.startswith(keys.CHUNK_PREFIX):
                    look.names.add(name.removeprefix(keys.CHUNK_PREFIX))
                elif name.startswith(keys.BACKLOG_PREFIX):
                    look.lanes.append(name)
            yield

    def _counts(self, look: _Look) -> Generator[None, None, None]:
        cursor = -1
        while cursor:
            found: Any = self._client.hscan(keys.CHUNKS, max(0, cursor), count=_KEYS)
            cursor, counts = found
            look.counted |= {one.decode(errors="replace"): counts[one] for one in counts}
            look.before |= {one.decode(errors="replace"): _count(counts[one]) for one in counts}
            yield

    def _lanes(self, look: _Look) -> Generator[None, None, None]:
        for lane in dict.fromkeys(look.lanes):
            cursor: Any = b"0-0"
            while cursor:
                reply: Any = self._references(keys=[lane], args=[cursor, _ENTRIES, _BYTES])
                cursor, chunks, entries = reply
                for chunk, entry in zip(chunks, entries, strict=True):
                    name = chunk.decode(errors="replace")
                    look.seen[name] += 1
                    if name in self._suspects:
                        look.places[name] += [lane, entry]
                yield

    def _ingress(self, look: _Look) -> Generator[None, None, None]:
        """Find out which chunks without a count wait in the ingress, or in what of it stands aside."""
        uncounted = {one for one in look.names if one.startswith(ID_BEGINS) and one not in look.before}
        if not uncounted:
            return
        aside = self._aside()
        streams: list[Any] = [*aside[0], keys.EVENTS]
        for stream in streams:
            cursor: Any = b"0-0"
            while cursor:
                reply: Any = self._framed(keys=[stream], args=[cursor, _ENTRIES, _BYTES])
                cursor, chunks = reply
                look.unrouted.update(one.decode(errors="replace") for one in chunks)
                yield
        if self._aside() != aside:
            # Entries went from one stream to another meanwhile: the next look sees where they are.
            look.unrouted |= uncounted

    def _aside(self) -> tuple[list[Any], bytes | None]:
        """Return the streams that stand aside, and when the latest of them was moved there."""
        aside: Any = self._client.lrange(keys.EVENTS_ASIDE, 0, -1)
        moved: Any = self._client.get(keys.RENUMBERED)
        return aside, moved

    def _suspicious(self, look: _Look) -> Generator[None, None, set[str]]:
        """Return the ids of chunks of which something cannot be right."""
        ids = sorted(look.names | look.before.keys())
        suspects: set[str] = set()
        for some in (ids[start : start + _KEYS] for start in range(0, len(ids), _KEYS)):
            # No transaction: a full Redis 6.2 takes none. What goes meanwhile is not there at the next look.
            pipeline = self._client.pipeline(transaction=False)
            pipeline.hmget(keys.CHUNKS, some)
            for one in some:
                pipeline.exists(keys.chunk(one))
            after, *there = pipeline.execute()
            for one, now, is_there in zip(some, after, there, strict=True):
                low, high = _count(now), look.before.get(one, 0)
                # It waits for a router, or was handed over during this look: the next one sees its count.
                if one in look.unrouted or (low > 0 and one not in look.before):
                    continue
                is_left = is_there if not low else not is_there
                if low < 0 or is_left or not low <= look.seen[one] <= high:
                    suspects.add(one)
            yield
        return suspects

    def _repair(self, look: _Look, confirmed: Iterable[str]) -> ChunkFindings:
        found = ChunkFindings()
        for one in sorted(confirmed):
            reply: Any = self._recount(args=[one, look.counted.get(one, b""), *look.places[one]])
            word = reply[0]
            found.recounted += word == b"recounted"
            found.removed += word == b"removed"
            # Until it is claimed, each look finds it again.
            found.missing += word == b"missing" and one not in self._known_missing
            if word == b"missing":
                self._known_missing.add(one)
        return found


def _count(value: bytes | None) -> int:
    """Return a count; 0 where there is none, -1 for what is none."""
    if value is None:
        return 0
    count = number_in(value)
    return -1 if count is None else count
