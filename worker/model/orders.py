"""The work order, and how a step issues one without knowing Celery."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WorkOrder:
    """All that a Celery message may say: whose backlog, which slot, which lease of it."""

    integration_id: str
    slot: int
    epoch: int


#: Takes a work order and the type of its destination, and puts it into the queue of that type. An order
#: that could not be published is only logged: the sweeper issues it again.
Issue = Callable[[WorkOrder, str], None]
