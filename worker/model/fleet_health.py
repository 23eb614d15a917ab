"""What Redis shows of the fleet itself, and how each part of it is judged by that. Pure."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from worker.integrations import DESTINATION_TYPES
from worker.model.health import Part
from worker.model.time_words import span


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """Entries of a stream or queue that are still to do, and when the oldest came (ms since 1970 UTC)."""

    entries: int
    oldest_ms: int | None

    def seconds(self, now_ms: int) -> float:
        """Say how long the oldest has waited; 0 without any."""
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

    What waits for longer than `longest_lag` seconds is not well, whoever is running.
    """
    yield _stream(
        "router", f"{signs.to_route.entries} events to be routed", signs.to_route, signs, longest_lag
    )
    words = f"{signs.to_record.entries} batches to be recorded"
    yield _with_set_aside(_stream("recorder", words, signs.to_record, signs, longest_lag), signs.unrecordable)
    for kind in DESTINATION_TYPES:
        yield _workers(kind, signs, kind in types, longest_lag)


def roles() -> list[str]:
    """Name the roles that `parts` judges."""
    return ["router", "recorder", *map(worker_role, DESTINATION_TYPES)]


def open_part(name: str, ok: bool, words: str) -> Part:  # noqa: FBT001 - as in Part
    """Return a part whose words anybody may read."""
    return Part(name, ok=ok, words=words, public=words)


def queue_trouble(kind: str, signs: FleetStats, longest_lag: float) -> str:
    """Return what keeps work orders of this type from being taken, and what to do; empty if nothing does."""
    role = worker_role(kind)
    living, idle = signs.processes[role], signs.not_consuming[role]
    late = signs.queues[kind].seconds(signs.now_ms) >= longest_lag
    if idle:
        whom = "it does not consume" if living == 1 else f"{idle} of these do not consume"
        return (
            f"{whom} the queue {kind}, as after `cancel_consumer`: "
            f"`celery -A worker control add_consumer {kind}`, or a restart, ends that"
        )
    if late and living:
        return (
            f"nobody takes the work orders of the queue {kind} in time: restart its workers, or start more, "
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
    """Return the part as it is while nothing is set aside; else it is not well, and says so."""
    if not unrecordable:
        return recorder
    words = f"{recorder.words}; {unrecordable} could not be recorded: see `siem unrecordable list`"
    return open_part(recorder.name, ok=False, words=words)


def _running(alive: int) -> str:
    return f"{alive} running" if alive else "none runs"
