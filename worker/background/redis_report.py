"""Every check of Redis, that of the ledger included, and what is missing in it.

For readiness, metrics and the command line.
"""

from typing import Any

from worker.broker.locks import claim_holder
from worker.broker.redis_server import read_facts
from worker.ledger.engine import ledger_id
from worker.ledger.redis_losses import LossStore
from worker.model.errors import LedgerUnavailable, SchemaOutdated
from worker.model.fleet_health import Part
from worker.model.redis_checks import (
    CheckStatus,
    RedisCheck,
    config_part,
    judge_claim,
    judge_doors,
    judge_redis,
)
from worker.model.redis_marks import LOSSES_PART, Loss, losses_part
from worker.settings import Settings

#: Why the check of the ledger is unknown.
WITHOUT_DATABASE = "the database cannot be asked which ledger this is"


class RedisReport:
    """Asks Redis and the ledger; may be shared between threads."""

    def __init__(self, engine: Any, client: Any, config: Settings) -> None:
        """Ask these."""
        self._engine = engine
        self._client = client
        self._accepted = config.redis_accept
        self._plan = config.memory_plan
        self._losses = LossStore(engine)

    def checks(self) -> list[RedisCheck]:
        """Return all; that of the ledger is unknown without the database. Raises BrokerUnavailable."""
        checks = judge_redis(read_facts(self._client), self._accepted, self._plan)
        try:
            own = ledger_id(self._engine)
        except (LedgerUnavailable, SchemaOutdated):
            return [*checks, RedisCheck("ledger", CheckStatus.UNKNOWN, "whose Redis it is", WITHOUT_DATABASE)]
        return [*checks, judge_claim(claim_holder(self._client), own)]

    def doors(self) -> list[RedisCheck]:
        """Return what matters where not all who may publish are to be trusted. Raises BrokerUnavailable."""
        return judge_doors(read_facts(self._client))

    def losses(self) -> list[Loss]:
        """Return what is missing in Redis and not acknowledged. Raises LedgerUnavailable, SchemaOutdated."""
        return [one.loss for one in self._losses.list(unacknowledged=True)]

    def parts(self) -> list[Part]:
        """Return what readiness tells: of the checks, and of what is missing. Raises BrokerUnavailable."""
        return [config_part(self.checks()), self._losses_part()]

    def _losses_part(self) -> Part:
        try:
            return losses_part(self.losses())
        except (LedgerUnavailable, SchemaOutdated):
            words = "not known without the database"
            return Part(LOSSES_PART, ok=False, words=words, public=words)
