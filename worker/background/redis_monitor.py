"""Checks Redis at the start of every process and then every minute, and reports what does not suit.

Input: a client. Output: a line in the log for each check that is not ok, once, and again when it
changes. A Redis that no process can work with is refused at the start, and ends the process later.

Every check of Redis, that of the ledger included, and what is missing in it.

For readiness, metrics and the command line.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence

from worker.broker.connection import Client, check_answers
from worker.broker.locks import claim_holder
from worker.broker.redis_server import read_facts
from worker.ledger.engine import Ledger, ledger_id
from worker.ledger.redis_losses import LossStore
from worker.model.availability import Dependencies, run_forever_pausing
from worker.model.errors import BrokerUnavailable, InvalidSetting, LedgerUnavailable, SchemaOutdated
from worker.model.fleet_health import Part
from worker.model.log_events import REDIS_CHECK_CHANGED, REDIS_CHECKED
from worker.model.parking import MemoryPlan
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

log = logging.getLogger(__name__)

#: How often to look at the configuration, and whether Redis answers, in seconds.
LOOK_EVERY, ASK_EVERY = 60.0, 2.0

_LEVELS = {
    CheckStatus.OK: logging.WARNING,  # it is logged only when it was not ok before
    CheckStatus.WARNING: logging.WARNING,
    CheckStatus.UNKNOWN: logging.WARNING,
    CheckStatus.FAILED: logging.ERROR,
}


def refuse_unfit(client: Client, accepted: Collection[str] = ()) -> None:
    """Raise InvalidSetting if no process can work with this Redis; one that is away is looked at later."""
    try:
        checks = judge_redis(read_facts(client), accepted)
    except BrokerUnavailable:
        return
    if fatal := _fatal(checks):
        raise InvalidSetting("SIEM_REDIS_URL", fatal.words, fatal.hint)


class RedisWatch:
    """Watches the configuration of Redis; runs in one thread."""

    def __init__(
        self,
        client: Client,
        accepted: Collection[str],
        end: Callable[[], None],
        *,
        interval: float = LOOK_EVERY,
        plan: MemoryPlan | None = None,
    ) -> None:
        """Take the checks whose failure is accepted, and what ends the process if it cannot work.

        With a `plan`, watch whether what may wait fits into the memory.
        """
        self._client = client
        self._accepted = accepted
        self._end = end
        self._interval = interval
        self._plan = plan
        self._logged: dict[str, RedisCheck] = {}
        self._next_look = 0.0

    def run(self, stopping: threading.Event, dependencies: Dependencies | None = None) -> None:
        """Look until stopped; note in `dependencies` when Redis is lost, and when it is back.

        So every process notices within seconds, also one that has nothing to do.
        """
        run_forever_pausing(self._ask, stopping, dependencies or Dependencies(log), log)

    def _ask(self) -> float:
        """See whether Redis answers, and now and then how it is configured. Raises BrokerUnavailable."""
        # Whatever comes back after an absence may be another Redis.
        next_look, self._next_look = self._next_look, 0.0
        check_answers(self._client)
        if time.monotonic() >= next_look:
            self.step()
            next_look = time.monotonic() + self._interval
        self._next_look = next_look
        return ASK_EVERY

    def step(self) -> list[RedisCheck]:
        """Look once, and say what has changed; return all checks. Raises BrokerUnavailable."""
        checks = judge_redis(read_facts(self._client), self._accepted, self._plan)
        if not self._logged:
            self._say_first(checks)
        for check in checks:
            self._say_change(check)
        self._logged = {check.name: check for check in checks}
        if _fatal(checks):
            self._end()
        return checks

    def _say_first(self, checks: Sequence[RedisCheck]) -> None:
        well = ", ".join(check.words for check in checks if check.standing is CheckStatus.OK)
        REDIS_CHECKED.log(log, details=well or "no check passed")

    def _say_change(self, check: RedisCheck) -> None:
        logged = self._logged.get(check.name)
        before = logged.standing if logged else CheckStatus.OK
        if check.standing is before:
            return
        known = "cannot be checked: " if check.standing is CheckStatus.UNKNOWN else ""
        details, level = known + check.sentence, _LEVELS[check.standing]
        REDIS_CHECK_CHANGED.log(
            log, level=level, check=check.name, details=details, state=check.standing.value
        )


def _fatal(checks: Sequence[RedisCheck]) -> RedisCheck | None:
    return next((check for check in checks if check.fatal), None)


#: Why the check of the ledger is unknown.
WITHOUT_DATABASE = "the database cannot be asked which ledger this is"


class RedisReport:
    """Asks Redis and the ledger; may be shared between threads."""

    def __init__(self, engine: Ledger, client: Client, config: Settings) -> None:
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
        """Return what readiness shows: of the checks, and of what is missing. Raises BrokerUnavailable."""
        return [config_part(self.checks()), self._losses_part()]

    def _losses_part(self) -> Part:
        try:
            return losses_part(self.losses())
        except (LedgerUnavailable, SchemaOutdated):
            words = "not known without the database"
            return Part(LOSSES_PART, ok=False, words=words, public=words)
