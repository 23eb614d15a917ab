"""Tells Prometheus whether Redis suits, and what is missing in it."""

from collections.abc import Sequence

from worker.api import metric_definitions
from worker.api.exposition import Exposition
from worker.model.redis_checks import CheckStatus, RedisCheck
from worker.model.redis_marks import Loss


def redis_config_samples(told: Exposition, checks: Sequence[RedisCheck]) -> None:
    """Tell of each check whether it is well, and whether Redis told enough to know."""
    metric_definitions.REDIS_CONFIG_OK.tell(
        told, {one.name: int(one.standing is CheckStatus.OK) for one in checks}
    )
    metric_definitions.REDIS_CONFIG_UNKNOWN.tell(
        told, {one.name: int(one.standing is CheckStatus.UNKNOWN) for one in checks}
    )


def redis_loss_samples(told: Exposition, losses: Sequence[Loss]) -> None:
    """Tell of the losses that nobody has acknowledged."""
    metric_definitions.REDIS_LOSSES.tell(told, len(losses))
    metric_definitions.REDIS_LOST_EVENTS.tell(told, sum(one.events for one in losses))
