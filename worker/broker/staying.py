"""What a worker waits for that stays with its integration: the next entry of an empty backlog.

While a few events trickle in, each would else need a work order of its own, which costs more than to send
it. The slot of a worker that stays is `ordered`, as if a work order were on its way through Celery: so it is
for routers, sweepers and all others, those of earlier releases included. `order_to_stay` in ordering.lua
leases it.
"""

from typing import TYPE_CHECKING

from redis.exceptions import ResponseError

from worker.broker import keys
from worker.broker.connection import broker_errors, send_command

if TYPE_CHECKING:
    import redis

#: The claim reads the entry again, so this reads no more than one.
_READ = ("XREAD", "COUNT", 1, "BLOCK")


def await_entry(client: "redis.Redis", integration_id: str, seconds: float) -> bool:
    """Wait until an entry stands in the backlog, for so long at most; return whether one does.

    A read that blocks: it has a connection of its own for that time. Raises BrokerUnavailable.
    """
    lanes = keys.urgent(integration_id), keys.bulk(integration_id)
    with broker_errors():
        try:
            found = send_command(client, *_READ, max(1, round(seconds * 1000)), "STREAMS", *lanes, 0, 0)
        except ResponseError:
            return True  # whatever is wrong with it, the claim that follows says, or puts right
        return bool(found)
