"""Heartbeats: each process keeps a key alive, so that others can wait for it or miss it, and says how it is.

The reading side, and what a late heartbeat means, is in `worker.broker.fleet`. A release before this one
wrote `siem:alive:<role>:<host>:<pid>`, and takes what stands before the first colon for the role: keep that
so.

What each process reports with its heartbeats: what it is short of, where it is connected to.

Written by `worker.broker.heartbeat`, read here. A process of an earlier release reports neither.
"""

import logging
import platform
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import msgspec
import redis
from msgspec.structs import replace
from redis.exceptions import OutOfMemoryError, ResponseError

from worker import __version__
from worker.broker import formats, keys
from worker.broker.clocks import measure_skew
from worker.broker.connection import broker_errors, send_command
from worker.broker.fleet import (
    BROKEN_AFTER,
    EVERY,
    LASTS,
    REMEMBERED,
    LivingProcess,
    ProcessReport,
    living_processes,
)
from worker.broker.identity import ProcessIdentity, process_identity
from worker.broker.oom import ask_when_full
from worker.broker.round_trips import ask_by
from worker.integrations import destination_types
from worker.model.availability import together
from worker.model.clocks import TELLING_SKEW
from worker.model.errors import BrokerUnavailable
from worker.model.fleet_health import worker_role
from worker.model.log_events import (
    CLOCK_RECOVERED,
    CLOCK_SKEWED,
    HEARTBEAT_FAILED,
    HEARTBEAT_NOT_REMOVED,
    PROCESS_UNEXPECTED_ERROR,
)
from worker.model.outages import Resource
from worker.transports.budget import BUDGET
from worker.transports.shortages import SHORTAGES

#: While Redis is away, how often a heartbeat is tried, in seconds.
AGAIN = 0.5

log = logging.getLogger(__name__)


#: A fleet in which every event finds its way has a process of each.
ROLES = ("router", "recorder", *map(worker_role, destination_types()))
#: Events find their way without it.
API = "api"


class Heartbeat:
    """Keeps `siem:alive:<role>:<identity>` alive from a thread of its own until it is stopped.

    The heartbeats come by one connection, which is theirs alone and ends with the process: its number stands
    in `siem:process:<identity>`, beside the facts that others need to know of this process.
    """

    def __init__(
        self,
        client: redis.Redis,
        *roles: str,
        facts: Mapping[str, Any] | None = None,
        present: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        """Name the roles: `router`, `recorder`, `api`, or what `worker_role` gives. `facts` are JSON.

        What `process_facts` and `present` return is reported beside them, as it is at each heartbeat.
        """
        self._client = client
        self._facts = dict(facts or {})
        self._present = present
        self._connection: redis.Redis | None = None
        self._number = 0
        identity = str(process_identity())
        self._alive = [keys.alive(role, identity) for role in roles]
        self._process = keys.process(identity)
        self._report = ProcessReport(roles=roles, release=__version__, facts=self._facts)
        self._last_ms = 0
        self._is_off = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sign-of-life", daemon=True)

    def start(self) -> None:
        """Give the first sign soon, then every two seconds."""
        self._thread.start()

    def stop(self) -> None:
        """Give no further sign, and take back the last one."""
        self._stopping.set()
        self._thread.join(EVERY)
        try:
            with broker_errors():
                self._client.delete(*self._alive, self._process)
        except BrokerUnavailable:
            HEARTBEAT_NOT_REMOVED.log(log)

    def _run(self) -> None:
        while not self._stopping.is_set():
            # The first try after a connection was lost finds that out, and the second makes another.
            is_given = self._give() or self._give()
            self._stopping.wait(together(EVERY) if is_given else AGAIN)

    def _give(self) -> bool:
        """Give a sign; return False if there is no Redis, so that the next try should come sooner."""
        try:
            with broker_errors():
                self._beat()
        except BrokerUnavailable:
            HEARTBEAT_FAILED.log(log)
            self._hang_up()
            return False
        except Exception:  # noqa: BLE001 - it is logged with its traceback
            # Without its heartbeats a process that works would count as dead.
            PROCESS_UNEXPECTED_ERROR.log(log, task="heartbeat", retry_in=EVERY, exc_info=True)
        return True

    def _hang_up(self) -> None:
        """Let the next sign go by a new connection: this one comes back to the same server for ever."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _beat(self) -> None:
        if self._connection is None:
            made: redis.Redis = self._client.client()  # type: ignore[no-untyped-call]  # so is redis-py
            self._connection, self._number = made, _number_of(made)
        client = self._connection
        now_ms, text = self._read_clocks(client)
        self._report = replace(
            self._report,
            connection=self._number,
            since_ms=self._report.since_ms if self._is_unbroken(now_ms) else now_ms,
            facts={**self._facts, **process_facts(), **self._present()},
        )
        self._last_ms = now_ms
        report = msgspec.json.encode(self._report)
        alive = () if self._stopping.is_set() else self._alive
        _write(
            client,
            ("SET", self._process, report, "EX", REMEMBERED),
            *(("SET", key, text, "EX", LASTS) for key in alive),
        )

    def _is_unbroken(self, now_ms: int) -> bool:
        """Whether it follows the last heartbeat as it should; by the clock of Redis, which no pause stops."""
        return self._last_ms > 0 and 0 <= now_ms - self._last_ms <= BROKEN_AFTER * 1000

    def _read_clocks(self, client: redis.Redis) -> tuple[int, str]:
        """Return the time of Redis (ms), and that of this process with its skew, if that is known."""
        now_ms, skew = measure_skew(client)
        if skew is None:
            return now_ms, str(int(time.time()))
        if (off := abs(skew) >= TELLING_SKEW) != self._is_off:
            self._is_off = off
            if off:
                state = "ahead of" if skew > 0 else "behind"
                CLOCK_SKEWED.log(log, seconds=abs(skew), state=state, skew_seconds=skew)
            else:
                CLOCK_RECOVERED.log(log)
        return now_ms, f"{int(time.time())} {skew:.3f}"


def _number_of(client: redis.Redis) -> int:
    """Return the number of the connection; 0 where Redis does not say."""
    try:
        return int(send_command(client, "CLIENT ID"))
    except ResponseError:
        return 0


def _write(client: redis.Redis, *commands: tuple[Any, ...]) -> None:
    """Send all in one round trip, by the client's own connection."""
    for command, reply in zip(commands, ask_by(client.connection, commands), strict=True):
        if isinstance(reply, OutOfMemoryError):
            ask_when_full(client, *command)  # a process lives although Redis is full
        elif isinstance(reply, Exception):
            raise reply


def roles_alive(client: redis.Redis) -> set[str]:
    """Name the roles of which at least one process lives. Raises BrokerUnavailable."""
    return {process.role for process in living_processes(client)}


def forget_killed(client: redis.Redis, is_running: Callable[[int], bool]) -> None:
    """Take away heartbeats of processes whose ids mean something here, and are those of no process.

    Of another machine, or another container of the same host name, the ids say nothing here. Of an earlier
    release, the host name decides. Raises BrokerUnavailable.
    """
    with broker_errors():
        for key in client.scan_iter(match=keys.ALIVE_PREFIX + "*", count=1000):
            _, _, name = key.decode(errors="replace").removeprefix(keys.ALIVE_PREFIX).partition(":")
            identity = ProcessIdentity.read(name)
            if identity is None or is_running(identity.pid):
                continue
            if identity.is_in_sight if identity.place else identity.host == platform.node():
                client.delete(key)


def wait_for_roles(client: redis.Redis, roles: Collection[str], seconds: float) -> set[str]:
    """Wait until a process of every role lives; return the roles that are still missing in the end."""
    deadline = time.monotonic() + seconds
    while missing := set(roles) - roles_alive(client):
        if time.monotonic() >= deadline:
            return missing
        time.sleep(0.05)
    return set()


_SHORT_OF, _CONNECTIONS, _NOT_CONSUMED = "short_of", "connections", "not_consumed"
_THREADS, _BUSY = "threads", "busy_threads"
#: No more destinations than this are reported.
_MOST = 1000


def process_facts() -> Mapping[str, Any]:
    """Return the present state of this process; logs the end of a shortage."""
    peers = BUDGET.peers().most_common(_MOST)
    return {
        _SHORT_OF: [one.value for one in SHORTAGES.current()],
        _CONNECTIONS: dict(peers),
        formats.FACT: [one.value for one in formats.READABLE],
    }


def consuming_facts(started: Collection[str], consumed: Collection[str]) -> Mapping[str, Any]:
    """Return which queues a worker was started for and does not consume any more by remote control."""
    return {_NOT_CONSUMED: sorted(set(started) - set(consumed))}


def thread_facts(threads: int, busy: Mapping[str, int]) -> Mapping[str, Any]:
    """Return how many threads a worker has for all its queues, and how many are busy for each."""
    return {_THREADS: threads, _BUSY: dict(busy)}


def threads_by_queue(living: Iterable[LivingProcess]) -> tuple[Counter[str], Counter[str]]:
    """Return how many threads the workers of each queue have, and how many of these carry out its orders.

    The threads of a worker of several queues count in each. Of an earlier release nothing is known.
    """
    queues = {worker_role(kind): kind for kind in destination_types()}
    threads, busy = Counter[str](), Counter[str]()
    for one in living:
        if (queue := queues.get(one.role)) is not None:
            threads[queue] += _fact_of(one, _THREADS, int)
            held = _fact_of(one, _BUSY, dict).get(queue, 0)
            busy[queue] += held if isinstance(held, int) else 0
    return threads, busy


def consumes(process: LivingProcess) -> bool:
    """Whether it does the work of its role: a worker may leave the queue of one of its roles alone."""
    return process.role not in map(worker_role, _fact_of(process, _NOT_CONSUMED, list))


def short_processes(living: Iterable[LivingProcess]) -> Iterator[tuple[LivingProcess, Resource]]:
    """Yield each process in each of its roles with each resource that it is short of."""
    for one in living:
        report = _fact_of(one, _SHORT_OF, list)
        yield from ((one, resource) for resource in Resource if resource.value in report)


def connections_to(living: Iterable[LivingProcess], role: str, peers: Collection[str]) -> int:
    """Return how many connections the processes of that role have to any of these ("ip:port")."""
    held: Counter[str] = Counter()
    for one in living:
        if one.role == role:
            report = _fact_of(one, _CONNECTIONS, dict)
            held.update({peer: report[peer] for peer in peers if isinstance(report.get(peer), int)})
    return held.total()


def _fact_of(process: LivingProcess, fact: str, kind: type) -> Any:
    report = process.report.facts.get(fact) if process.report else None
    return report if isinstance(report, kind) else kind()
