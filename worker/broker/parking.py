"""Keeps backlogs below their caps and their budget of memory: parks the oldest events, and puts them back.

Input: a cap. Output: chunks in `siem:parked`, which a recorder moves into the ledger; and chunks of
the ledger in their backlogs again, each of them once, whichever process is killed in between.

Keeps all backlogs together within a budget of Redis' memory: the largest give up their oldest events.

What is urgent goes last within a tenant, and each tenant has its share (`worker.model.parking`). An earlier
release knows the cap of each backlog alone; what it does beside this needs nothing of it.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from worker.broker import keys
from worker.broker.backlog_looks import waiting_of
from worker.broker.connection import (
    appending_script,
    await_replica,
    broker_errors,
    shared_script,
    single_script,
)
from worker.broker.integration_documents import Subscription
from worker.broker.packing import checksum, whole
from worker.broker.redis_server import maxmemory
from worker.model.parking import (
    FILLED_UP_TO,
    PARKED_DOWN_TO,
    ROOM_BELOW,
    BacklogRoom,
    Cap,
    ParkedChunk,
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


#: Chunks that one script moves: Redis answers no other client meanwhile.
CHUNKS_AT_ONCE = 100
#: Lanes of which events are parked: the bulk lane alone, or the urgent lane as well, after it.
BULK, URGENT_TOO = "bulk", "any"
#: More than any backlog has.
_NO_LIMIT = 2**53
#: Between the names of a page's chunks.
_AND = ","


class Parking:
    """The backlogs of all integrations, and what they may hold. Raises BrokerUnavailable."""

    def __init__(self, client: "redis.Redis", cap: Cap) -> None:
        """Hold every integration to the same cap."""
        self._client = client
        self._cap = cap
        self._park = shared_script(client, "park")
        self._unpark = appending_script(client, "unpark")

    def is_over(self, events: int, size: int) -> bool:
        """Whether so many events, and bytes of them, are more than one backlog may hold."""
        return events > self._cap.events or size > self._cap.size

    def park(self, integration_id: str) -> int:
        """Park the oldest events of a backlog that passed its cap; return how many.

        Call it again until it returns 0: it moves no more at a time than Redis can do in a moment. What a
        slot has claimed stays.
        """
        most_events = round(self._cap.events * PARKED_DOWN_TO)
        return self._take(integration_id, most_events, round(self._cap.size * PARKED_DOWN_TO))

    def park_down_to(self, integration_id: str, memory: int, lanes: str) -> int:
        """Park the oldest events until no more than so many bytes of memory are taken; return how many.

        `lanes` is BULK or URGENT_TOO.
        """
        parked = 0
        while taken := self._take(integration_id, _NO_LIMIT, _NO_LIMIT, memory, lanes):
            parked += taken
        return parked

    def _take(
        self, integration_id: str, events: int, size: int, memory: int = _NO_LIMIT, lanes: str = URGENT_TOO
    ) -> int:
        with broker_errors():
            return int(
                self._park(
                    keys=[*_lanes(integration_id), keys.PARKED],
                    args=[
                        integration_id,
                        keys.slot_prefix(integration_id),
                        *(events, size, CHUNKS_AT_ONCE),
                        *(memory, memory_of(1, 0), memory_of(0, 1 << 20) / (1 << 20), lanes),
                    ],
                )
            )

    def room(self, integration_id: str) -> BacklogRoom:
        """Return how much may come back to a backlog: nothing, unless half of its cap is free."""
        with broker_errors():
            page: Any = self._client.hget(keys.state_key(integration_id), "unparked")
        last_page = tuple(page.decode(errors="replace").split(_AND)) if page else ()
        if last_page:
            await_replica(self._client)  # the ledger will forget it
        events, size = self._waiting(integration_id)
        if events >= self._cap.events * ROOM_BELOW or size >= self._cap.size * ROOM_BELOW:
            return BacklogRoom(0, 0, last_page)
        most_events, most_bytes = self._cap.events * FILLED_UP_TO, self._cap.size * FILLED_UP_TO
        return BacklogRoom(round(most_events) - events, round(most_bytes) - size, last_page)

    def unpark(self, room: BacklogRoom, page: Sequence[tuple[str, ParkedChunk]]) -> bool:
        """Put chunks of one integration back, each under its name in the ledger; say whether that was done.

        It was not when another page came first since `room` was asked.
        """
        integration_id = page[0][1].integration_id
        args: list[str | int | bytes] = [_AND.join(room.last_page), _AND.join(name for name, _ in page)]
        for _, chunk in page:
            lane = "urgent" if chunk.urgent else "bulk"
            args += [lane, chunk.events, chunk.size, chunk.packed, checksum(chunk.packed)]
        with broker_errors():
            done = bool(self._unpark(keys=_lanes(integration_id)[1:], args=args))
        if done:
            await_replica(self._client)
        return done

    def _waiting(self, integration_id: str) -> tuple[int, int]:
        """Count the events that no slot has claimed, and their bytes."""
        with broker_errors():
            found: Any = self._client.hmget(
                keys.state_key(integration_id), "unclaimed_events", "unclaimed_bytes"
            )
        return whole(found[0]), whole(found[1])


def _lanes(integration_id: str) -> list[str]:
    return [
        keys.LEASES,
        keys.state_key(integration_id),
        keys.urgent(integration_id),
        keys.bulk(integration_id),
    ]


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
        self._look = single_script(client, "waiting")

    def most(self) -> int:
        """Return the budget in bytes."""
        if not self._most or time.monotonic() >= self._next_ask:
            self._most = budget_of(self._setting, maxmemory(self._client))
            self._next_ask = time.monotonic() + _ASK_EVERY
        return self._most

    def present(self, subscriptions: Mapping[str, Subscription]) -> list[UnclaimedEvents]:
        """Return what waits for each integration for which any event is here, one on its way included."""
        found = waiting_of(self._client, self._look, list(subscriptions))
        return [
            UnclaimedEvents(one, _tenant_of(subscriptions[one]), *counts) for one, counts in found.items()
        ]

    def waiting(self, subscriptions: Mapping[str, Subscription]) -> list[UnclaimedEvents]:
        """Return what waits for each, nothing included."""
        found = {one.integration_id: one for one in self.present(subscriptions)}
        return [
            found.get(one.id) or UnclaimedEvents(one.id, _tenant_of(one), 0, 0)
            for one in subscriptions.values()
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
