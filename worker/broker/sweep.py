"""What the one sweeper does: reissues orders whose lease expired, and removes what readers left behind.

Takes batches from processes that did not settle them in time: only once it is known what became of that
process.

A batch counts as lost, and so becomes a suspect of ending workers, only if the process that claimed it has
ended, or has run without a gap since and still did not settle: then it hangs. A process that is suspended, or
was meanwhile, has lost nothing: its batch is sent again, and is not suspected. A claim of an earlier release
does not say whose it is; it counts as lost, as it did there.
"""

import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import redis

from worker.broker import keys, outcomes
from worker.broker.clocks import Renumbering
from worker.broker.connection import broker_errors, script_text, send_command, single_script
from worker.broker.fleet import Presence, Sighting, sightings
from worker.broker.formats import FormatsNotice
from worker.broker.identity import ProcessIdentity
from worker.broker.oom import ask_when_full, report_displaced
from worker.broker.shared_chunks import ChunkSweep
from worker.broker.streams import forget_idle_consumers
from worker.model.log_events import BACKLOG_CHUNKS_MISSING, BACKLOG_CHUNKS_RECOUNTED
from worker.model.orders import WorkOrder

log = logging.getLogger(__name__)

#: How many slots one sweep leases again.
MOST = 1000
#: Sweeps that are further apart than so many intervals have a gap between them.
GAP_INTERVALS = 5


class UnsettledReason(Enum):
    """Why a batch was not settled in time."""

    #: The process that had claimed it has ended.
    WORKER_ENDED = "worker_ended"
    #: That process does not answer: it is suspended or cut off.
    WORKER_SILENT = "worker_silent"
    #: That process runs.
    NOT_SETTLED = "not_settled"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who had claimed a batch, and what became of it; None and WORKER_ENDED for an earlier release's."""

    process: ProcessIdentity | None
    fault: UnsettledReason


class Reissued(NamedTuple):
    """An order that is to be issued again, the state that its slot was in, and of a batch: who had it."""

    order: WorkOrder
    state: str
    holder: Holder | None


class Reissuing:
    """Leases again the slots whose lease ran out. Raises BrokerUnavailable."""

    def __init__(self, client: "redis.Redis", lease: float, order_lease: float) -> None:
        """Take how long a batch and an order may take, in seconds."""
        self._client = client
        self._lease = lease
        self._order_lease = order_lease
        self._script = single_script(client, "reissue")

    def step(self, sweep_interval: float) -> list[Reissued]:
        """Lease again what may be; a slot whose holder has just lost its connection is left for next time."""
        reissued, unknown = self._run(sweep_interval, {})
        found = [_reissued(one, None) for one in reissued]
        if not unknown:
            return found
        seen = sightings(self._client, {_process(holder) for holder in unknown})
        judged = {holder: one for holder in unknown if (one := _judge(holder, seen[_process(holder)]))}
        reissued, _ = self._run(sweep_interval, judged)
        return found + [_reissued(one, judged.get(one[4])) for one in reissued]

    def _run(self, sweep_interval: float, judged: "Mapping[bytes, _Finding]") -> Any:
        counts = [word for holder, one in judged.items() for word in (holder, int(one.counts))]
        with broker_errors():
            return self._script(
                keys=[keys.LEASES, keys.SWEPT],
                args=[
                    *(keys.SLOT_PREFIX, _ms(self._order_lease), MOST, keys.STATE_PREFIX),
                    *(_ms(self._lease), _ms(GAP_INTERVALS * sweep_interval)),
                    *counts,
                ],
            )


@dataclass(frozen=True, slots=True)
class _Finding:
    holder: Holder
    counts: bool


def _judge(holder: bytes, seen: Sighting) -> _Finding | None:
    """Return what became of a claim's process; None while that is not certain."""
    process = ProcessIdentity.read(_process(holder))
    since_ms = int(holder.partition(b" ")[0])
    match seen.presence:
        case Presence.ENDED:
            return _Finding(Holder(process, UnsettledReason.WORKER_ENDED), counts=True)
        case Presence.SILENT:
            return _Finding(Holder(process, UnsettledReason.WORKER_SILENT), counts=False)
        case Presence.RUNNING:
            # It hangs, unless it was held up itself since it claimed the batch.
            return _Finding(Holder(process, UnsettledReason.NOT_SETTLED), counts=seen.since_ms <= since_ms)
        case _:
            return None


def _process(holder: bytes) -> str:
    return holder.partition(b" ")[2].decode(errors="replace")


def _reissued(found: Sequence[Any], judged: _Finding | None) -> Reissued:
    integration, slot, epoch, state, _ = found
    order = WorkOrder(integration.decode(), int(slot), int(epoch))
    holder = judged.holder if judged else Holder(None, UnsettledReason.WORKER_ENDED)
    return Reissued(order, state.decode(), holder if state == b"sending" else None)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


#: A reader that held nothing and was silent for this long is gone, in seconds.
GONE_AFTER = 3600.0
#: How often to look for such readers, in seconds.
LOOK_EVERY = 300.0
#: How many keys that were moved away are reported at a time.
_MOST_REPORTED = 1000
#: The set of their names may be of a wrong type itself.
_DISPLACED = script_text("make_way") + (
    "local moved = make_way(KEYS[1], true, 'set')\n"
    "local names = redis.call('SPOP', KEYS[1], ARGV[1])\n"
    "return moved and {KEYS[1]} or names"
)


class Housekeeping:
    """One sweeper's right to sweep. Raises BrokerUnavailable."""

    def __init__(self, client: redis.Redis) -> None:
        """Sweep under a name of its own."""
        self._client = client
        self._name = uuid.uuid4().hex
        self._next_look = 0.0
        self._renumbering = Renumbering(client)
        self._formats = FormatsNotice(client)
        self._chunks = ChunkSweep(client)

    def may_sweep(self, interval: float) -> bool:
        """Take the lock, or keep it; another may have it once this one was silent for three intervals."""
        expires_ms = max(1, round(interval * 3000))
        with broker_errors():
            if ask_when_full(self._client, "SET", keys.SWEEPER_LOCK, self._name, "NX", "PX", expires_ms):
                return True
            if self._client.get(keys.SWEEPER_LOCK) != self._name.encode():
                return False
            return bool(self._client.pexpire(keys.SWEEPER_LOCK, expires_ms))

    def renumber(self) -> None:
        """Bring the ids of the ingress back to the clock, if a publisher has chosen one ahead of it."""
        self._renumbering.step()

    def renew_formats(self) -> None:
        """Now and then, write which forms of entries all processes read."""
        self._formats.renew()

    def check_chunks(self) -> None:
        """Go on looking for wrong counts of shared chunks; log what was set right."""
        found = self._chunks.step()
        if found.recounted or found.removed:
            BACKLOG_CHUNKS_RECOUNTED.log(log, count=found.recounted, chunks=found.removed)
        if found.missing:
            BACKLOG_CHUNKS_MISSING.log(log, chunks=found.missing)

    def report_displaced(self) -> None:
        """Log which keys scripts have moved away since it was last called."""
        with broker_errors():
            report_displaced(
                send_command(self._client, "EVAL", _DISPLACED, 1, keys.DISPLACED, _MOST_REPORTED)
            )

    def forget_dead_consumers(self) -> None:
        """Now and then, remove readers that hold nothing and have long been silent."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_EVERY
        forget_idle_consumers(self._client, keys.EVENTS, keys.ROUTER_GROUP, GONE_AFTER)
        for stream in outcomes.STREAMS:
            forget_idle_consumers(self._client, stream, keys.RECORDER_GROUP, GONE_AFTER)
