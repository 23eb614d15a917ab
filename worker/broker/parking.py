"""Keeps each backlog below its cap: parks its oldest events, and puts them back when there is room.

Comes in: a cap. Goes out: chunks in `siem:parked`, which a recorder moves into the ledger; and chunks of
the ledger in their backlogs again, each of them once, whoever is killed in between.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from worker.broker import keys
from worker.broker.connection import await_replica, broker_errors
from worker.broker.numbers import whole
from worker.broker.packing import checksum
from worker.broker.scripting import appending_script, shared_script
from worker.model.parking import (
    FILLED_UP_TO,
    PARKED_DOWN_TO,
    ROOM_BELOW,
    BacklogRoom,
    Cap,
    ParkedChunk,
    memory_of,
)

if TYPE_CHECKING:
    import redis

#: Chunks that one script moves: Redis answers nobody else meanwhile.
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
        """Say whether so many events, and bytes of them, are more than one backlog may hold."""
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
        """Say how much may come back to a backlog: nothing, unless half of its cap is free."""
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
