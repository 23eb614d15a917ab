"""What each process tells of its state with its heartbeats: what it is short of, whom it is connected to.

Written by `worker.broker.heartbeat`, read here. A process of an earlier release tells neither.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from worker.broker.fleet import LivingProcess
from worker.model.fleet_health import worker_role
from worker.model.outages import Resource
from worker.transports.budget import BUDGET
from worker.transports.shortages import SHORTAGES

_SHORT_OF, _CONNECTIONS, _NOT_CONSUMED = "short_of", "connections", "not_consumed"
#: Of more destinations than this nobody is told.
_MOST = 1000


def process_facts() -> Mapping[str, Any]:
    """Return the present state of this process; logs the end of a shortage."""
    peers = BUDGET.peers().most_common(_MOST)
    return {_SHORT_OF: [one.value for one in SHORTAGES.current()], _CONNECTIONS: dict(peers)}


def consuming_facts(started: Collection[str], consumed: Collection[str]) -> Mapping[str, Any]:
    """Return which queues a worker was started for and has been told to leave alone since."""
    return {_NOT_CONSUMED: sorted(set(started) - set(consumed))}


def consumes(process: LivingProcess) -> bool:
    """Whether it does the work of its role: a worker may leave the queue of one of its roles alone."""
    return process.role not in map(worker_role, _told(process, _NOT_CONSUMED, list))


def short_processes(living: Iterable[LivingProcess]) -> Iterator[tuple[LivingProcess, Resource]]:
    """Yield each process in each of its roles with each resource that it is short of."""
    for one in living:
        told = _told(one, _SHORT_OF, list)
        yield from ((one, resource) for resource in Resource if resource.value in told)


def connections_to(living: Iterable[LivingProcess], role: str, peers: Collection[str]) -> int:
    """Return how many connections the processes of that role have to any of these ("ip:port")."""
    held: Counter[str] = Counter()
    for one in living:
        if one.role == role:
            told = _told(one, _CONNECTIONS, dict)
            held.update({peer: told[peer] for peer in peers if isinstance(told.get(peer), int)})
    return held.total()


def _told(process: LivingProcess, fact: str, kind: type) -> Any:
    told = process.told.facts.get(fact) if process.told else None
    return told if isinstance(told, kind) else kind()
