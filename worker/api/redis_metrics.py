"""Tells Prometheus whether Redis suits, and what is missing in it, as families of samples."""

from collections.abc import Sequence

from worker.api.exposition import Exposition, labels
from worker.model.redis_checks import RedisCheck, Standing
from worker.model.redis_marks import Loss


def tell_redis_config(told: Exposition, checks: Sequence[RedisCheck]) -> None:
    """Tell of each check whether it is well, and whether Redis told enough to know."""
    told.gauge(
        "siem_redis_config_ok",
        "Whether this check of Redis is well: neither a warning nor a failure, nor unknown.",
        [(labels(check=one.name), int(one.standing is Standing.OK)) for one in checks],
    )
    told.gauge(
        "siem_redis_config_unknown",
        "Whether Redis does not tell what this check needs.",
        [(labels(check=one.name), int(one.standing is Standing.UNKNOWN)) for one in checks],
    )


def tell_redis_losses(told: Exposition, losses: Sequence[Loss] | None) -> None:
    """Tell of the losses that nobody has acknowledged; None, while the database is away, tells nothing."""
    if losses is None:
        return
    told.gauge(
        "siem_redis_losses",
        "Losses of data in Redis that are not acknowledged yet.",
        [("", len(losses))],
    )
    told.gauge(
        "siem_redis_lost_events",
        "Deliveries and unrouted events that these are known to have cost.",
        [("", sum(one.events for one in losses))],
    )
