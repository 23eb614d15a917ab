"""Tells Prometheus whether Redis suits, and what is missing in it."""

from collections.abc import Sequence

from worker.api import figures
from worker.api.exposition import Exposition
from worker.model.redis_checks import CheckStatus, RedisCheck
from worker.model.redis_marks import Loss


def redis_config_samples(told: Exposition, checks: Sequence[RedisCheck]) -> None:
    """Tell of each check whether it is well, and whether Redis told enough to know."""
    figures.REDIS_CONFIG_OK.tell(told, {one.name: int(one.standing is CheckStatus.OK) for one in checks})
    figures.REDIS_CONFIG_UNKNOWN.tell(
        told, {one.name: int(one.standing is CheckStatus.UNKNOWN) for one in checks}
    )


def redis_loss_samples(told: Exposition, losses: Sequence[Loss]) -> None:
    """Tell of the losses that nobody has acknowledged."""
    figures.REDIS_LOSSES.tell(told, len(losses))
    figures.REDIS_LOST_EVENTS.tell(told, sum(one.events for one in losses))
