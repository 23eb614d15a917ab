"""The work order, and how a step issues one without knowing Celery."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


@dataclass(frozen=True, slots=True)
class WorkOrder:
    """All that a Celery message may say: whose backlog, which slot, which lease of it.

    `slow` is whether its destination took long for its last batch, as far as the issuer knows: orders of
    others may pass it in their queue. `stays`: nothing waits yet; who settled last bears it, for what comes
    in the urgent and the bulk lane `behind` these ids.
    """

    integration_id: str
    slot: int
    epoch: int
    slow: bool = field(default=False, compare=False)
    stays: bool = field(default=False, compare=False)
    behind: tuple[bytes, bytes] = field(default=(b"0-0", b"0-0"), compare=False)

    @classmethod
    def leased(cls, integration_id: str, reply: Sequence[Any]) -> "WorkOrder":
        """Make the order of a slot that a script has leased: {slot, epoch, slow}; to stay {…, 1, two ids}."""
        slot, epoch, slow, *staying = reply
        if not staying:
            return cls(integration_id, int(slot), int(epoch), bool(int(slow)))
        _, urgent, bulk = staying
        return cls(integration_id, int(slot), int(epoch), bool(int(slow)), stays=True, behind=(urgent, bulk))


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
    MessageFault.UNACKNOWLEDGED: "was among the unacknowledged messages, and is not a work order",
    MessageFault.BROADCAST: "was broadcast to workers, and is no command of Celery's",
}
