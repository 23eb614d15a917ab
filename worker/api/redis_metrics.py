"""Tells Prometheus whether Redis suits. Comes in: checks. Goes out: their families of samples."""

from collections.abc import Sequence

from worker.api.exposition import Exposition, labels
from worker.model.redis_checks import RedisCheck, Standing


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
