"""Parked events, and which backlogs give events up when Redis runs out of memory. Pure.

How much of Redis' memory all backlogs may take together, and which of them give up what. Pure.

Fair first between tenants, then between the integrations of one: who has less than an equal share keeps
all of it, and what it leaves goes to the others. So it is the largest that give up their oldest events, and
no number of integrations gets a tenant more than its share.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

#: A backlog that passed its cap gives up events until so much of it is left: no more than it must, but so
#: much that it does not pass it again at once.
PARKED_DOWN_TO = 0.9
#: Below this much of the cap there is room for what was parked,
ROOM_BELOW = 0.5
#: and it is filled up to this much.
FILLED_UP_TO = 0.75


@dataclass(frozen=True, slots=True)
class Cap:
    """How many events of one integration, and how many of their bytes, may wait in Redis."""

    events: int
    size: int


class ParkedChunk(msgspec.Struct, frozen=True, gc=False):
    """Events of one integration that were appended to one lane of its backlog together.

    `position` orders the chunks of a lane as the backlog had them: `milliseconds << 20 | sequence` of their
    entry; `size` counts the bytes of the events, and `packed` is what that entry held.
    """

    integration_id: str
    urgent: bool
    position: int
    events: int
    size: int
    packed: bytes


@dataclass(frozen=True, slots=True)
class BacklogRoom:
    """How many events may come back, how many of their bytes, and which page of them came last."""

    events: int
    size: int
    last_page: tuple[str, ...]


#: Without SIEM_WAITING_BYTES: this part of `maxmemory`, or so many bytes where that is not set.
PART_OF_REDIS, OTHERWISE = 0.5, 2_000_000_000
#: Measured on Valkey 9 with chunks of 1 to 500 events of 100 to 2 000 bytes: beside its own bytes an event
#: takes 25 to 130 bytes of memory, and the allocator rounds up by a quarter at the most.
_BYTES_AN_EVENT = 100


def memory_of(events: int, size: int) -> int:
    """Return about how many bytes of Redis' memory so many events take whose own bytes are `size`."""
    return size * 5 // 4 + events * _BYTES_AN_EVENT


def budget_of(setting: int, maxmemory: int | None) -> int:
    """Return how much memory all backlogs may take, in bytes; a `setting` of 0 is none."""
    return setting or round((maxmemory or 0) * PART_OF_REDIS) or OTHERWISE


@dataclass(frozen=True, slots=True)
class UnclaimedEvents:
    """What waits for one integration and is claimed by no slot: events, and their own bytes."""

    integration_id: str
    tenant_id: str
    events: int
    size: int

    @property
    def memory(self) -> int:
        """About how many bytes of memory it takes."""
        return memory_of(self.events, self.size)


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """How much memory one backlog may take at its cap, and SIEM_WAITING_BYTES, both in bytes."""

    one_backlog: int
    setting: int


def total(waiting: Iterable[UnclaimedEvents]) -> int:
    """Return about how much memory all of it takes."""
    return sum(one.memory for one in waiting)


def by_tenant(waiting: Iterable[UnclaimedEvents]) -> dict[str, list[UnclaimedEvents]]:
    """Sort by tenant."""
    found: defaultdict[str, list[UnclaimedEvents]] = defaultdict(list)
    for one in waiting:
        found[one.tenant_id].append(one)
    return dict(found)


def fair_level(demands: Sequence[int], budget: int) -> int:
    """Return the level at which all demands, cut off there, fit into the budget; that is max-min fair."""
    left = budget
    for place, demand in enumerate(sorted(demands)):
        share = left // (len(demands) - place)
        if demand > share:
            return share
        left -= demand
    return budget


def memory_shares(waiting: Sequence[UnclaimedEvents], budget: int) -> dict[str, int]:
    """Return how much memory each integration may keep so that all of it fits into the budget."""
    tenants = by_tenant(waiting)
    level = fair_level([total(ones) for ones in tenants.values()], budget)
    kept: dict[str, int] = {}
    for ones in tenants.values():
        own = fair_level([one.memory for one in ones], level)
        kept |= {one.integration_id: min(one.memory, own) for one in ones}
    return kept


def room_of(integration_id: str, tenant_id: str, waiting: Sequence[UnclaimedEvents], budget: int) -> int:
    """Return how much memory of parked events may come back to an integration.

    Nothing, unless half of its share is free. Its share is what it could have if it wanted all there is.
    """
    tenants = by_tenant(waiting)
    others = [total(ones) for tenant, ones in tenants.items() if tenant != tenant_id]
    level = fair_level([*others, budget], budget)
    mine = [one for one in tenants.get(tenant_id, []) if one.integration_id != integration_id]
    share = fair_level([*(one.memory for one in mine), level], level)
    has = total(one for one in tenants.get(tenant_id, []) if one.integration_id == integration_id)
    return 0 if has >= share * ROOM_BELOW else max(0, round(share * FILLED_UP_TO) - has)
