"""What Redis shows of the fleet itself, and how each part of it is judged by that. Pure."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from worker.model.outages import Resource
from worker.model.time import span
from worker.model.untrusted_text import plain


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the fleet: whether it does its work, and what there is to say of it.

    `words` are for operators. `public` are for all who reach the API: they name no host, file, user or
    release. With `holds_events` False, events find their way all the same: the fleet stays ready.
    """

    name: str
    ok: bool
    words: str
    holds_events: bool = True
    public: str = ""


@dataclass(frozen=True, slots=True)
class FleetHealth:
    """The fleet: ready when all of its parts are."""

    parts: Sequence[Part]

    @property
    def ok(self) -> bool:
        """Whether every event finds its way."""
        return all(part.ok or not part.holds_events for part in self.parts)


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """Entries of a stream or queue that are still to do, and when the oldest came (ms since 1970 UTC).

    `events` is how many events those of the ingress hold; None of others.
    """

    entries: int
    oldest_ms: int | None
    events: int | None = None

    @property
    def held(self) -> int:
        """How many events, where an entry may hold several; else entries."""
        return self.entries if self.events is None else self.events

    def seconds(self, now_ms: int) -> float:
        """Return how long the oldest has waited; 0 without any."""
        return 0.0 if self.oldest_ms is None else max(0, now_ms - self.oldest_ms) / 1000


@dataclass(frozen=True, slots=True)
class FleetStats:
    """How many processes of each role live, and what waits between them, also in each queue of Celery.

    `not_consuming` counts those of the processes that are workers and leave the queue of their role alone.
    """

    now_ms: int
    processes: Counter[str]
    to_route: QueueDepth
    to_record: QueueDepth
    unrecordable: int
    queues: Mapping[str, QueueDepth]
    not_consuming: Counter[str]


def worker_role(kind: str) -> str:
    """Name the role of a worker that delivers to this type of destination."""
    return f"worker-{kind}"


def parts(signs: FleetStats, types: Collection[str], longest_lag: float) -> Iterator[Part]:
    """Yield the router, the recorder, and the workers of each type of destination; `types` are in use.

    What waits for longer than `longest_lag` seconds is not ok, even if its processes run.
    """
    yield _stream("router", f"{signs.to_route.held} events to be routed", signs.to_route, signs, longest_lag)
    words = f"{signs.to_record.entries} batches to be recorded"
    yield _with_set_aside(_stream("recorder", words, signs.to_record, signs, longest_lag), signs.unrecordable)
    for kind in signs.queues:
        yield _workers(kind, signs, kind in types, longest_lag)


def roles(types: Iterable[str]) -> list[str]:
    """Name the roles that `parts` judges, with a worker for each type of destination."""
    return ["router", "recorder", *map(worker_role, types)]


def open_part(name: str, ok: bool, words: str) -> Part:  # noqa: FBT001 - as in Part
    """Return a part whose words are public."""
    return Part(name, ok=ok, words=words, public=words)


def queue_trouble(kind: str, signs: FleetStats, longest_lag: float) -> str:
    """Return what keeps work orders of this type from being taken, and a hint; empty if nothing does."""
    role = worker_role(kind)
    living, idle = signs.processes[role], signs.not_consuming[role]
    late = signs.queues[kind].seconds(signs.now_ms) >= longest_lag
    if idle:
        who = "it does not consume" if living == 1 else f"{idle} of them do not consume"
        return (
            f"{who} the queue {kind}, as after `cancel_consumer`: "
            f"`celery -A worker control add_consumer {kind}`, or a restart, ends that"
        )
    if late and living:
        return (
            f"no worker takes orders from the queue {kind} in time: restart its workers, or start more, "
            f"by the line worker-{kind} of the Procfile"
        )
    return ""


def _stream(role: str, words: str, waiting: QueueDepth, signs: FleetStats, longest_lag: float) -> Part:
    alive, waited = signs.processes[role], waiting.seconds(signs.now_ms)
    is_ok = alive > 0 and waited < longest_lag
    return open_part(role, is_ok, f"{_running(alive)}; {words} wait{_since(waiting, signs.now_ms)}")


def _workers(kind: str, signs: FleetStats, is_needed: bool, longest_lag: float) -> Part:  # noqa: FBT001 - one of the facts
    role, waiting = worker_role(kind), signs.queues[kind]
    alive = signs.processes[role]
    consumes = alive > signs.not_consuming[role]
    is_late = waiting.seconds(signs.now_ms) >= longest_lag
    words = (
        f"{_running(alive)}; {waiting.entries} work orders wait in its queue{_since(waiting, signs.now_ms)}"
    )
    notes = [queue_trouble(kind, signs, longest_lag), "" if is_needed else "no integration needs one"]
    return open_part(
        role, (consumes or not is_needed) and not is_late, "; ".join([words, *filter(None, notes)])
    )


def _since(waiting: QueueDepth, now_ms: int) -> str:
    known = waiting.entries and waiting.oldest_ms is not None
    return f", the oldest for {span(waiting.seconds(now_ms) * 1000)}" if known else ""


def _with_set_aside(recorder: Part, unrecordable: int) -> Part:
    """Return the part as it is while nothing is set aside; else it is not ok, and says so."""
    if not unrecordable:
        return recorder
    words = f"{recorder.words}; {unrecordable} could not be recorded: see `siem unrecordable list`"
    return open_part(recorder.name, ok=False, words=words)


def _running(alive: int) -> str:
    return f"{alive} running" if alive else "none runs"


#: So many tenants are named.
_NAMED = 5


def invalid_part(found: Mapping[str | None, int], seconds: float) -> Part:
    """Return the part `events`: so many were invalid in the last seconds, by tenant, where that is known.

    It names tenants to operators alone. It holds up no event: nothing that a tenant publishes makes the fleet
    unready.
    """
    count = sum(found.values())
    if not count:
        words = f"no invalid one in the last {span(seconds * 1000)}"
        return Part("events", ok=True, words=words, holds_events=False, public=words)
    is_one = count == 1
    public = f"{count} in the last {span(seconds * 1000)} {'was' if is_one else 'were'} not valid"
    largest = sorted(found, key=lambda tenant: -found[tenant])
    named = ", ".join(plain(one) if one else "no known tenant" for one in largest[:_NAMED])
    more = f" and {len(largest) - _NAMED} more" if len(largest) > _NAMED else ""
    words = f"{public}, of {named}{more}: see `siem dead-letters list --cause invalid`"
    return Part("events", ok=False, words=words, holds_events=False, public=public)


RESOURCES_PART = "resources"


def resources_parts(short: Iterable[tuple[str, Resource]]) -> list[Part]:
    """Return a part on the processes, each by its name, that are short of something; nothing if none is."""
    by_resource: dict[Resource, set[str]] = {}
    for process, one in short:
        by_resource.setdefault(one, set()).add(process)
    if not by_resource:
        return []
    words = "; ".join(
        f"{', '.join(sorted(processes))} short of {one.words}: {one.hint}"
        for one, processes in sorted(by_resource.items())
    )
    words = f"{words}; unsent events wait, and count no attempt"
    public = f"processes are short of {', '.join(one.words for one in sorted(by_resource))}"
    return [Part(RESOURCES_PART, ok=False, words=words, holds_events=False, public=public)]
