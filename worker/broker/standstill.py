"""Why an integration takes no deliveries at present, for whoever was turned away."""

from typing import TYPE_CHECKING, Any

from worker.broker import keys
from worker.broker.connection import broker_errors
from worker.broker.numbers import whole
from worker.broker.redis_stats import opened_by

if TYPE_CHECKING:
    import redis


def why_not_sending(client: "redis.Redis", integration_id: str) -> tuple[str, int]:
    """Return why nothing is sent, in words, and how many events wait. Raises BrokerUnavailable.

    The reason may have gone since: then it is said to have been temporary.
    """
    with broker_errors():
        fields = ("held", "breaker", "opened_by", "backlog_events")
        found: Any = client.hmget(keys.state_key(integration_id), *fields)
    paused, breaker, cause, waiting = found
    if paused == b"1":
        reason = "paused or disabled"
    elif breaker == b"open":
        reason = f"circuit breaker open ({opened_by(cause).replace('_', ' ')})"
    else:
        reason = "it asked to be left alone for a moment"
    return reason, max(0, whole(waiting))
