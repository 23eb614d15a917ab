"""Parked events: what a backlog had no room for, kept in the ledger until it has."""

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
