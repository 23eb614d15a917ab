"""Every check of Redis, that of the ledger included: for readiness, metrics and the command line."""

from typing import Any

from worker.broker.ledger_claim import claim_holder
from worker.broker.redis_config import read_facts
from worker.ledger.identity import ledger_id
from worker.model.errors import LedgerUnavailable, SchemaOutdated
from worker.model.redis_checks import RedisCheck, judge_claim, judge_redis
from worker.settings import Settings


class RedisReport:
    """Asks Redis and the ledger; may be shared between threads."""

    def __init__(self, engine: Any, client: Any, config: Settings) -> None:
        """Ask these."""
        self._engine = engine
        self._client = client
        self._accepted = config.redis_accept

    def checks(self) -> list[RedisCheck]:
        """Return all checks; without the database, all but that of the ledger. Raises BrokerUnavailable."""
        checks = judge_redis(read_facts(self._client), self._accepted)
        try:
            own = ledger_id(self._engine)
        except (LedgerUnavailable, SchemaOutdated):
            return checks
        return [*checks, judge_claim(claim_holder(self._client), own)]
