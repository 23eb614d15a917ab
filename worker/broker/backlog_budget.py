"""Keeps all backlogs together within a budget of Redis' memory: the largest give up their oldest events.

What is urgent goes last within a tenant, and each tenant has its share (`worker.model.parking`). An earlier
release knows the cap of each backlog alone; what it does beside this needs nothing of it.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from worker.broker import keys
from worker.broker.connection import broker_errors
from worker.broker.integration_documents import Subscription
from worker.broker.numbers import whole
from worker.broker.parking import BULK, URGENT_TOO, Parking
from worker.broker.redis_server import maxmemory
from worker.model.parking import (
    PARKED_DOWN_TO,
    BacklogRoom,
    UnclaimedEvents,
    budget_of,
    by_tenant,
    memory_of,
    memory_shares,
    room_of,
    total,
)

if TYPE_CHECKING:
    import redis

#: How often Redis is asked for its `maxmemory`, in seconds.
_ASK_EVERY = 10.0


class BacklogBudget:
    """The budget of one Redis; one thread at a time. Every method raises BrokerUnavailable."""

    def __init__(self, client: "redis.Redis", parking: Parking, setting: int) -> None:
        """Hold all backlogs to `setting` bytes of memory; 0 is half of `maxmemory`, or 2 GB without one."""
        self._client = client
        self._parking = parking
        self._setting = setting
        self._most = 0
        self._next_ask = 0.0

    def most(self) -> int:
        """Return the budget in bytes."""
        if not self._most or time.monotonic() >= self._next_ask:
            self._most = budget_of(self._setting, maxmemory(self._client))
            self._next_ask = time.monotonic() + _ASK_EVERY
        return self._most

    def waiting(self, subscriptions: Mapping[str, Subscription]) -> list[UnclaimedEvents]:
        """Return what waits for each, in one round trip."""
        ones = list(subscriptions.values())
        with broker_errors():
            pipeline = self._client.pipeline(transaction=False)
            for one in ones:
                pipeline.hmget(keys.state_key(one.id), "unclaimed_events", "unclaimed_bytes")
            replies: list[Any] = pipeline.execute() if ones else []
        return [
            UnclaimedEvents(one.id, _tenant_of(one), max(0, whole(events)), max(0, whole(size)))
            for one, (events, size) in zip(ones, replies, strict=True)
        ]

    def park(self, waiting: Sequence[UnclaimedEvents]) -> dict[str, int]:
        """Park what is too much; return how many events of which integrations."""
        if total(waiting) <= self.most():
            return {}
        kept = memory_shares(waiting, round(self.most() * PARKED_DOWN_TO))
        parked: dict[str, int] = {}
        for ones in by_tenant(waiting).values():
            parked |= self._park_of_tenant(ones, kept)
        return parked

    def bounded(
        self, room: BacklogRoom, integration_id: str, waiting: Mapping[str, UnclaimedEvents]
    ) -> BacklogRoom:
        """Return the room of a backlog, as far as its share of the budget leaves any.

        `waiting` is what waits for each integration, by its id.
        """
        wanted = memory_of(room.events, room.size)
        if wanted <= 0:
            return room
        tenant_id = waiting[integration_id].tenant_id if integration_id in waiting else ""
        left = room_of(integration_id, tenant_id, list(waiting.values()), self.most())
        part = min(1.0, left / wanted)
        return replace(room, events=int(room.events * part), size=int(room.size * part))

    def _park_of_tenant(self, ones: Sequence[UnclaimedEvents], kept: Mapping[str, int]) -> dict[str, int]:
        """Park down to the share of the tenant: first what may wait, then of the largest what is urgent."""
        too_much = sum(one.memory - kept[one.integration_id] for one in ones)
        now = {one.integration_id: one.memory for one in ones}
        parked = dict.fromkeys(now, 0)
        for lanes, floors in ((BULK, kept), (BULK, None), (URGENT_TOO, kept)):
            if too_much <= 0:
                break
            for one in sorted(now, key=now.__getitem__, reverse=True):
                floor = floors[one] if floors else max(0, now[one] - too_much)
                if now[one] > floor:
                    parked[one] += self._parking.park_down_to(one, floor, lanes)
                    before, now[one] = now[one], self._memory(one)
                    too_much -= before - now[one]
        return {one: events for one, events in parked.items() if events}

    def _memory(self, integration_id: str) -> int:
        with broker_errors():
            found: Any = self._client.hmget(
                keys.state_key(integration_id), "unclaimed_events", "unclaimed_bytes"
            )
        return memory_of(max(0, whole(found[0])), max(0, whole(found[1])))


def _tenant_of(one: Subscription) -> str:
    """Name the tenant; "" for a deleted integration, whose document in Redis does not say whose it was."""
    return "" if one.deleted else one.tenant_id
