"""Events that count as delivered and may not be: written for the recorder without the claim that is over."""

from typing import TYPE_CHECKING

from worker.broker import keys
from worker.broker.clocks import redis_now_ms
from worker.broker.connection import broker_errors
from worker.broker.oom import execute_when_full
from worker.broker.packing import pack_dead, pack_outcomes
from worker.model.deliveries import Withdrawn
from worker.model.settlement import withdrawal

if TYPE_CHECKING:
    import redis


def withdraw(client: "redis.Redis", integration_id: str, withdrawn: Withdrawn) -> None:
    """Make dead letters of the events: both entries are written, or none. Raises BrokerUnavailable."""
    outcome, letter = withdrawal(integration_id, withdrawn, redis_now_ms(client))
    with broker_errors():
        pipeline = client.pipeline()
        pipeline.xadd(keys.OUTCOMES, {"outcomes": pack_outcomes([outcome])})
        pipeline.xadd(keys.DEAD_LETTERS, {"dead": pack_dead(letter)})
        execute_when_full(client, pipeline)
