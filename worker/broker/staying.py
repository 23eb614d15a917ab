"""What a worker waits for that stays with its integration: the next entry of a backlog that is all claimed.

While a few events trickle in, each would else need a work order of its own, which costs more than to send
it. The slot of a worker that stays is `ordered`, as if a work order were on its way through Celery: so it is
for routers, sweepers and all others, those of earlier releases included. `order_to_stay` in ordering.lua
leases it.
"""

from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError

from worker.broker import keys
from worker.broker.connection import broker_errors
from worker.broker.round_trips import Call, ask, call_of, run_script
from worker.model.orders import WorkOrder

if TYPE_CHECKING:
    import redis
    from redis.commands.core import Script

#: The claim reads the entry again, so this reads no more than one.
_READ = ("XREAD", "COUNT", 1, "BLOCK")


def claim_when_it_comes(
    client: "redis.Redis", order: WorkOrder, seconds: float, script: "Script", call: Call
) -> Any:
    """Wait until an entry comes to the backlog, for so long at most; return what `claim.lua` replies then.

    One round trip: Redis begins the claim once the read in front of it, which blocks, has an entry. It has a
    connection of its own for that time. What another slot has claimed by then is not waited for again.
    Raises BrokerUnavailable.
    """
    until = monotonic() + seconds
    behind: Sequence[bytes] = order.behind
    while True:
        reply = _claim_behind(client, order, behind, until - monotonic(), script, call)
        if reply[0] != b"nothing" or monotonic() >= until:
            return reply
        behind = reply[1:]


def _claim_behind(
    client: "redis.Redis",
    order: WorkOrder,
    behind: Sequence[bytes],
    seconds: float,
    script: "Script",
    call: Call,
) -> Any:
    lanes = keys.urgent(order.integration_id), keys.bulk(order.integration_id)
    read = (*_READ, max(1, round(seconds * 1000)), "STREAMS", *lanes, *behind)
    with broker_errors():
        # Whatever is wrong with a lane that cannot be read, the claim says, or puts right.
        _, reply = ask(client, read, call_of(script, call))
        if isinstance(reply, NoScriptError):
            return run_script(client, script, call)
        if isinstance(reply, Exception):
            raise reply
        return reply
