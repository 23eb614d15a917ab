"""Which processes live, and what each reports of itself: the reading side of `worker.broker.heartbeat`.

A process lives while its heartbeat is fresh. Behind a heartbeat that is late, its connection counts: a
process that was killed has lost it at once, one that is slow or suspended still has it. So a killed
process is missed within FRESH seconds, and a slow one is not taken for dead. Where Redis does not say who
is connected (some providers forbid CLIENT), the heartbeat's expiry decides, after LASTS seconds. That also
holds for processes of an earlier release, and for hosts that vanished without closing their connections.
"""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

import msgspec
from redis.exceptions import ResponseError

from worker.broker import keys
from worker.broker.connection import broker_errors, send_command
from worker.broker.identity import ProcessIdentity
from worker.model.log_events import FLEET_CLIENTS_UNKNOWN
from worker.model.untrusted_json import DAMAGED

if TYPE_CHECKING:
    import redis


#: How long a heartbeat lasts, and how often it is given, in seconds.
LASTS = 10
EVERY = 2.0
#: A heartbeat that is younger than this needs no further proof, in seconds.
FRESH = 3.0
#: A heartbeat this long after the last one begins a new series, in seconds: the process was held up.
BROKEN_AFTER = 3 * EVERY
#: How long what a process reports outlasts its last heartbeat, in seconds: who finds a batch that
#: it left behind can still ask whether it is connected.
REMEMBERED = 24 * 3600

log = logging.getLogger(__name__)


class ProcessReport(msgspec.Struct, frozen=True):
    """What a process reports of itself with each heartbeat, as JSON under `siem:process:<identity>`.

    `connection` is the number of the connection that its heartbeats come by (CLIENT ID), 0 where that is not
    known. `since_ms` (by the clock of Redis) is when the present unbroken series of heartbeats began: a
    process that was suspended, or cut off from Redis, begins a new one. `release` is `worker.__version__`.
    `facts` is what the process was started with that others need to know. Fields that a later release adds
    are skipped.
    """

    connection: int = 0
    since_ms: int = 0
    roles: tuple[str, ...] = ()
    release: str = ""
    facts: Mapping[str, Any] = msgspec.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LivingProcess:
    """A process in one role; an earlier release's has no `report`. `skew`: its seconds ahead of Redis."""

    role: str
    name: str
    skew: float | None
    report: ProcessReport | None

    @property
    def identity(self) -> ProcessIdentity | None:
        """Who it is; None if its name cannot be read."""
        return ProcessIdentity.read(self.name)

    @property
    def host(self) -> str:
        """The name of its host; its whole name if that cannot be read."""
        return self.identity.host if self.identity else self.name


def living_processes(client: "redis.Redis") -> list[LivingProcess]:
    """Return every living process, once for each of its roles, by role and name. Raises BrokerUnavailable."""
    with broker_errors():
        # A scan may name a key twice.
        found = sorted(set(client.scan_iter(match=keys.ALIVE_PREFIX + "*", count=1000)))
        heartbeats = _heartbeats(client, [name.decode(errors="replace") for name in found])
        late = {one.report.connection for one in heartbeats if one.is_late and one.report}
        connected = _connected(client, late - {0})
    return [
        one.process
        for one in heartbeats
        if not one.is_late
        or one.report is None
        or connected is None
        or one.report.connection in {0, *connected}
    ]


@dataclass(frozen=True, slots=True)
class _LastBeat:
    process: LivingProcess
    age: float

    @property
    def report(self) -> ProcessReport | None:
        return self.process.report

    @property
    def is_late(self) -> bool:
        return self.age > FRESH


def _heartbeats(client: "redis.Redis", names: Collection[str]) -> list[_LastBeat]:
    """Read the heartbeats of these keys in one round trip; one that expired meanwhile is left out."""
    pipeline = client.pipeline(transaction=False)
    labels = [name.removeprefix(keys.ALIVE_PREFIX) for name in names]
    for name, label in zip(names, labels, strict=True):
        pipeline.get(name)
        pipeline.pttl(name)
        pipeline.get(keys.process(label.partition(":")[2]))
    replies = pipeline.execute() if names else []
    found = []
    for label, value, ttl, report in zip(labels, replies[::3], replies[1::3], replies[2::3], strict=True):
        if value is not None:
            role, _, name = label.partition(":")
            process = LivingProcess(role, name, _skew(value), read_process_report(report))
            found.append(_LastBeat(process, age_of(ttl, LASTS)))
    return found


def age_of(ttl_ms: int, lasts: float) -> float:
    """Return how many seconds ago a key was written that expires after `lasts`; 0 if it never expires."""
    return lasts - ttl_ms / 1000 if ttl_ms >= 0 else 0.0


def read_process_report(value: bytes | None) -> ProcessReport | None:
    """Return what a process reported; None where nothing can be read."""
    try:
        return msgspec.json.decode(value, type=ProcessReport) if value else None
    except DAMAGED:
        return None


def _connected(client: "redis.Redis", connections: Collection[int]) -> set[int] | None:
    """Return those of these connections that are open; None where Redis does not say."""
    if not connections:
        return set()
    try:
        reply = send_command(client, "CLIENT LIST", "ID", *connections)
    except ResponseError as error:
        FLEET_CLIENTS_UNKNOWN.log(log, error=str(error))
        return None
    return {int(one["id"]) for one in reply}


def _skew(value: bytes) -> float | None:
    """Read `<time> <skew>`; a process may report no skew."""
    _, _, skew = value.partition(b" ")
    try:
        return float(skew)
    except ValueError:
        return None


class Presence(Enum):
    """What is known of a process, whatever its role."""

    RUNNING = "running"
    #: It is connected, and gives no heartbeat: it is suspended, or its host is.
    SILENT = "silent"
    #: It gave a heartbeat a moment ago, and is not connected: it has ended, or connects again.
    UNCERTAIN = "uncertain"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Sighting:
    """What is known of a process, and since when (ms, by the clock of Redis) it beats without a gap."""

    presence: Presence
    since_ms: int = 0


def sightings(client: "redis.Redis", identities: Collection[str]) -> dict[str, Sighting]:
    """Return what is known of these processes. Raises BrokerUnavailable."""
    names = list(identities)
    with broker_errors():
        pipeline = client.pipeline(transaction=False)
        for name in names:
            pipeline.get(keys.process(name))
            pipeline.pttl(keys.process(name))
        replies = pipeline.execute() if names else []
        reports = [read_process_report(value) for value in replies[::2]]
        connected = _connected(client, {one.connection for one in reports if one} - {0})
    ages = [age_of(ttl, REMEMBERED) for ttl in replies[1::2]]
    return {
        name: Sighting(_presence(one, age, connected), one.since_ms if one else 0)
        for name, one, age in zip(names, reports, ages, strict=True)
    }


def _presence(report: ProcessReport | None, age: float, connected: Collection[int] | None) -> Presence:
    if report is None:
        return Presence.ENDED
    if connected is None or not report.connection:
        return Presence.RUNNING if age <= LASTS else Presence.ENDED
    if report.connection in connected:
        return Presence.RUNNING if age <= BROKEN_AFTER else Presence.SILENT
    return Presence.UNCERTAIN if age <= FRESH else Presence.ENDED
