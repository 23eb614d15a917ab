"""Replays: which dead letters are meant, what state each is in, and the job that sends them again.

Times are milliseconds since 1970 UTC.
"""

from collections.abc import Callable, Iterable
from enum import StrEnum

import msgspec

from worker.model.errors import InvalidReplay
from worker.model.events import QueuedEvent

#: Events a second of one replay, by default.
DEFAULT_RATE = 200
FASTEST_RATE = 10_000
#: Who made a replay of an outage that is over, and one of what died while its destination was gone.
REDRIVE, ENABLED = "redrive", "enable"
#: Made by themselves, at most one of each kind for an integration.
AUTOMATIC = frozenset({REDRIVE, ENABLED})
#: Dead letters that one selection may name by their ids.
MOST_IDS = 500


class LetterState(StrEnum):
    """What has been done about a dead letter."""

    #: Nothing yet.
    WAITING = "waiting"
    #: Its event was put into a backlog again. If it dies once more, that is another dead letter.
    REPLAYED = "replayed"
    #: Sending it again was not needed: its event was delivered since, or replayed by another letter.
    SUPERSEDED = "superseded"
    #: A person decided that it is not to be sent.
    DISCARDED = "discarded"


class ReplayState(StrEnum):
    """Where a replay stands."""

    RUNNING = "running"
    #: Every letter was dealt with.
    DONE = "done"
    #: A person ended it, or there is nothing left to send to.
    CANCELLED = "cancelled"


class DeadLetterFilter(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which dead letters are meant: those to which all of this applies. Left out, all that wait.

    `since_ms` and `until_ms`, both inclusive, are about when the event died; `codes` are those of the
    failures; `most_deaths` leaves out events that died more often than that at their integration. `state` is
    None for any. A letter is of the tenant of its integration, or of the one that an invalid event named;
    with `only_invalid`, the latter alone.

    A replay is stored with it as JSON, which release 0.1.0 reads: a new field has a default, and no name
    changes.
    """

    ids: tuple[str, ...] = ()
    integration_id: str | None = None
    tenant_id: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    event_types: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    most_deaths: int | None = None
    event_id: str | None = None
    state: LetterState | None = LetterState.WAITING
    only_invalid: bool = False

    def __post_init__(self) -> None:
        """Refuse more ids than a statement can take."""
        if len(self.ids) > MOST_IDS:
            raise InvalidReplay("id", f"{len(self.ids)} are too many", f"name at most {MOST_IDS}")


class Replay(msgspec.Struct, frozen=True):
    """A job that puts dead letters into a backlog again.

    `target_id` is the integration that gets them, or None for each letter's own; `rate` is in events a
    second. Of the `total` letters at the start, `replayed` were handed over and `skipped` are superseded;
    `pages` counts the transactions so far. Letters that died after `upto_ms` are not meant.
    """

    id: str
    selection: DeadLetterFilter
    target_id: str | None
    state: ReplayState
    rate: int
    total: int
    replayed: int
    skipped: int
    pages: int
    upto_ms: int
    made_by: str
    created_ms: int
    ended_ms: int | None = None
    note: str | None = None


class ReplayedLetter(msgspec.Struct, frozen=True):
    """A dead letter on its way back: its id, the integration that gets its event, and the event."""

    id: str
    target_id: str
    event: QueuedEvent


class Page(msgspec.Struct, frozen=True, array_like=True):
    """What one transaction of a replay did, by ids of letters: proof that it did it.

    `number` counts the pages of the replay from 1; `handed_ms` is when, by the clock of Redis.
    """

    replay_id: str
    number: int
    replayed: list[str]
    superseded: list[str]
    handed_ms: int


class ReplayResult(msgspec.Struct, frozen=True):
    """What has become so far of the events that a replay handed over."""

    delivered: int = 0
    dead: int = 0
    under_way: int = 0


def check_rate(rate: int) -> int:
    """Return the rate (events a second). Raises InvalidReplay unless it is one."""
    if not 1 <= rate <= FASTEST_RATE:
        raise InvalidReplay("rate", f"is {rate}", f"give 1 to {FASTEST_RATE} events a second")
    return rate


class FairOrder:
    """Remembers when each replay had its last turn, counted in turns."""

    def __init__(self) -> None:
        """Begin with replays that had no turn yet."""
        self._turns = 0
        self._last: dict[str, int] = {}

    def round(self, replays: Iterable[Replay], tenant_of: Callable[[Replay], str]) -> list[Replay]:
        """Return one replay of each tenant, the one that waited longest; so come the tenants as well."""
        chosen: dict[str, Replay] = {}
        for one in self._waiting_longest(replays):
            chosen.setdefault(tenant_of(one), one)
        return list(chosen.values())

    def next_of(self, replays: Iterable[Replay]) -> list[Replay]:
        """Return the replay that waited longest, if there is any."""
        return self._waiting_longest(replays)[:1]

    def had_turn(self, replay: Replay) -> None:
        """Note that a replay had its turn."""
        self._turns += 1
        self._last[replay.id] = self._turns

    def forget_all_but(self, replays: Iterable[Replay]) -> None:
        """Keep no turns of replays that have ended."""
        running = {replay.id for replay in replays}
        self._last = {one: turn for one, turn in self._last.items() if one in running}

    def _waiting_longest(self, replays: Iterable[Replay]) -> list[Replay]:
        return sorted(replays, key=lambda one: self._last.get(one.id, 0))
