"""How a step asks for work to be done, without knowing Celery."""

from collections.abc import Callable

from worker.model.deliveries import WorkOrder

#: Takes a work order and the type of its destination, and puts it into the queue of that type. An order
#: that could not be published is only logged: the sweeper issues it again.
Issue = Callable[[WorkOrder, str], None]
