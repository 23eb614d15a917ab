"""The work order, and how a step issues one without knowing Celery."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class WorkOrder:
    """All that a Celery message may say: whose backlog, which slot, which lease of it."""

    integration_id: str
    slot: int
    epoch: int


#: Takes a work order and the type of its destination, and puts it into the queue of that type. An order
#: that could not be published is only logged: the sweeper issues it again.
Issue = Callable[[WorkOrder, str], None]


class MessageFault(StrEnum):
    """Why a message that stood in Redis for a worker was dropped; the value is that of the metric's label."""

    TOO_LONG = "too_long"
    MALFORMED = "malformed"
    NO_ORDER = "no_order"
    OTHER_QUEUE = "other_queue"
    UNACKNOWLEDGED = "unacknowledged"
    BROADCAST = "broadcast"

    @property
    def words(self) -> str:
        """What is wrong with it, as the end of a sentence that begins with the message."""
        return _WORDS[self]


_WORDS = {
    MessageFault.TOO_LONG: "is longer than any work order",
    MessageFault.MALFORMED: "is not one as Celery writes them",
    MessageFault.NO_ORDER: "is no work order",
    MessageFault.OTHER_QUEUE: "stood in a queue that is not for work orders",
    MessageFault.UNACKNOWLEDGED: "stood among those that nobody acknowledged, and is no work order",
    MessageFault.BROADCAST: "was broadcast to workers, and is no command of Celery's",
}
