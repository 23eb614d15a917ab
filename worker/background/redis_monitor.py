"""Looks whether Redis suits, at the start of every process and then every minute; says what does not.

Comes in: a client. Goes out: a line in the log for each check that is not well, once, and again when it
changes. A Redis that no process can work with is refused at the start, and ends the process later.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

from worker.broker.connection import check_answers
from worker.broker.redis_server import read_facts
from worker.model.availability import Dependencies, run_forever_pausing
from worker.model.errors import BrokerUnavailable, InvalidSetting
from worker.model.parking import MemoryPlan
from worker.model.redis_checks import CheckStatus, RedisCheck, judge_redis

log = logging.getLogger(__name__)

#: How often to look at the configuration, and whether Redis answers, in seconds.
LOOK_EVERY, ASK_EVERY = 60.0, 2.0

_LEVELS = {
    CheckStatus.OK: logging.WARNING,  # it is told only when it was not well before
    CheckStatus.WARNING: logging.WARNING,
    CheckStatus.UNKNOWN: logging.WARNING,
    CheckStatus.FAILED: logging.ERROR,
}


def refuse_unfit(client: Any, accepted: Collection[str] = ()) -> None:
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
        client: Any,
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
        self._told: dict[str, RedisCheck] = {}
        self._next_look = 0.0

    def run(self, stopping: threading.Event, dependencies: Dependencies | None = None) -> None:
        """Look until told to stop; note in `dependencies` when Redis is lost, and when it is back.

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
        if not self._told:
            self._say_first(checks)
        for check in checks:
            self._say_change(check)
        self._told = {check.name: check for check in checks}
        if _fatal(checks):
            self._end()
        return checks

    def _say_first(self, checks: Sequence[RedisCheck]) -> None:
        well = ", ".join(check.words for check in checks if check.standing is CheckStatus.OK)
        log.info("Redis was checked: %s", well or "nothing is as it should be")

    def _say_change(self, check: RedisCheck) -> None:
        told = self._told.get(check.name)
        before = told.standing if told else CheckStatus.OK
        if check.standing is before:
            return
        known = "cannot be checked: " if check.standing is CheckStatus.UNKNOWN else ""
        log.log(_LEVELS[check.standing], "Redis, check %s: %s%s", check.name, known, check.sentence)


def _fatal(checks: Sequence[RedisCheck]) -> RedisCheck | None:
    return next((check for check in checks if check.fatal), None)
