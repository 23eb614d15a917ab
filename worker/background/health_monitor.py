"""Publishes every change of health of an integration: on `siem:health`, and to a webhook if so set.

Reads the health of all every few seconds; publishes each change of state once, with its reason. Runs beside
every recorder; a lock in Redis lets one of them work at a time, and what was published is in Redis, so that
none repeats it. The webhook is called from a thread of its own: nothing waits for a slow one.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

from worker.broker.health_events import HealthEvents
from worker.broker.locks import LeaderLock
from worker.integrations.tls import TlsOptions
from worker.model.availability import Dependencies, run_forever_pausing
from worker.model.errors import InvalidIntegration, TransportError
from worker.model.health import IntegrationHealth, State, StateChange
from worker.model.log_events import HEALTH_WEBHOOK_FAILED, INTEGRATION_HEALTH_CHANGED
from worker.settings import Settings
from worker.transports.guard import Guard
from worker.transports.http import HttpTransport

log = logging.getLogger(__name__)

#: Another process takes over when the one at work was silent for so many intervals.
TURN_INTERVALS = 3
#: The webhook may take so long to answer, and after a failure it has so long a rest, at first and at most,
#: in seconds.
POST_SECONDS, FIRST_REST, LONGEST_REST = 10.0, 1.0, 60.0
#: How often the notifier looks whether there is something to send, in seconds.
LOOK_EVERY = 1.0

#: States in which an integration that is new need not be announced.
_AS_EXPECTED = frozenset({State.HEALTHY, State.IDLE})

#: States that are logged as warnings. That an integration recovers, or that a user pauses it, is no
#: trouble: an alert on warnings must not fire for it. The default level, INFO, shows both.
_NEEDS_ATTENTION = frozenset({State.DEGRADED, State.FAILING})

#: The health of all integrations. Raises BrokerUnavailable, LedgerUnavailable.
JudgeAll = Callable[[], Sequence[IntegrationHealth]]
#: Calls the webhook, or returns why that failed, in words without a secret.
Post = Callable[[bytes], str | None]


class StateDebouncer:
    """Which states have held for long enough to be published."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Ask for so many seconds, by this clock."""
        self._seconds = seconds
        self._clock = clock
        self._since: dict[str, tuple[State, float]] = {}

    def steady(
        self, healths: Iterable[IntegrationHealth], known: Mapping[str, StateChange]
    ) -> list[StateChange]:
        """Return the changes that are to be published now; an open breaker is at once."""
        now = self._clock()
        before, self._since = self._since, {}
        changes = []
        for health in healths:
            mark_sent = known.get(health.integration_id)
            # An unknown state is no change that was seen; and release 0.1.0 does not know that state.
            if health.state is State.UNKNOWN or (mark_sent is not None and mark_sent.state is health.state):
                continue
            state, since = before.get(health.integration_id, (None, now))
            since = since if state is health.state else now
            self._since[health.integration_id] = (health.state, since)
            if _is_certain(health) or now - since >= self._seconds:
                changes.append(_change(health, mark_sent))
        return changes


class HealthMonitor:
    """Watches; runs in one thread, and in a second one that calls the webhook."""

    def __init__(
        self,
        judge_all: JudgeAll,
        announcements: HealthEvents,
        turn: LeaderLock,
        steadiness: StateDebouncer,
        post: Post | None = None,
        *,
        interval: float = 5.0,
    ) -> None:
        """Look every `interval` seconds; `post` is None when there is no webhook."""
        self._judge_all = judge_all
        self._announcements = announcements
        self._turn = turn
        self._steadiness = steadiness
        self._interval = interval
        self._notifier = HealthNotifier(post, announcements, turn) if post else None

    def run(self, stopping: threading.Event, dependencies: Dependencies | None = None) -> None:
        """Watch until stopped; outlive any absence of Redis or the database."""
        shared = dependencies or Dependencies(log)
        notifier = self._notifier
        thread = threading.Thread(
            target=notifier.run if notifier else lambda *_: None, args=[stopping, shared], name="notifier"
        )
        thread.start()
        with self._turn.passed_on_at_the_end():
            run_forever_pausing(self.step, stopping, shared, log)
            thread.join()

    def step(self) -> float:
        """Look once, and publish what has changed; return for how many seconds to rest then.

        Raises BrokerUnavailable, LedgerUnavailable; nothing was published then.
        """
        if not self._turn.is_mine():
            return self._interval
        healths = self._judge_all()
        known = self._announcements.known()
        changes = self._steadiness.steady(healths, known)
        news = [one for one in changes if one.previous is not None or one.state not in _AS_EXPECTED]
        self._announcements.keep([one for one in changes if one not in news])
        self._announcements.announce(news, to_webhook=self._notifier is not None)
        self._announcements.forget(known.keys() - {one.integration_id for one in healths})
        by_id = {one.integration_id: one for one in healths}
        for change in news:
            _report(change, by_id[change.integration_id])
        return self._interval


class HealthNotifier:
    """Sends the latest of each integration to the webhook, again and again until it takes it."""

    def __init__(self, post: Post, announcements: HealthEvents, turn: LeaderLock) -> None:
        """Work while it is the watch's turn."""
        self._post = post
        self._announcements = announcements
        self._turn = turn
        self._rest = FIRST_REST
        self._complained = False

    def run(self, stopping: threading.Event, dependencies: Dependencies) -> None:
        """Send until stopped."""
        run_forever_pausing(lambda: self.step(stopping), stopping, dependencies, log)

    def step(self, stopping: threading.Event) -> float:
        """Send what is unsent, once; return for how many seconds to pause then. Raises BrokerUnavailable."""
        failures = []
        if self._turn.is_mine():
            for integration_id, encoded in self._announcements.unsent().items():
                if stopping.is_set():
                    break
                if failure := self._post(encoded):
                    failures.append(failure)
                else:
                    self._announcements.mark_sent(integration_id, encoded)
        return self._rest_after(failures)

    def _rest_after(self, failures: Sequence[str]) -> float:
        if not failures:
            self._rest, self._complained = FIRST_REST, False
            return LOOK_EVERY
        if not self._complained:
            HEALTH_WEBHOOK_FAILED.log(log, error=failures[0])
            self._complained = True
        rest, self._rest = self._rest, min(LONGEST_REST, 2 * self._rest)
        return rest


def webhook(config: Settings) -> Post | None:
    """Return how to call the webhook of the settings; None when there is none.

    It is dialled through the guard, as a customer's SIEM is: a private address must be allowed.
    """
    url = config.health_webhook_url.get_secret_value()
    if not url:
        return None
    transport = HttpTransport(Guard(config.allowed_networks), TlsOptions(), connections=1)
    headers = {"Content-Type": "application/json"}

    def post(encoded: bytes) -> str | None:
        try:
            reply = transport.post(url, headers, encoded, POST_SECONDS)
        except (TransportError, InvalidIntegration) as error:
            return str(error)
        return None if reply.status // 100 == 2 else f"it answers HTTP {reply.status}"  # noqa: PLR2004 - 2xx

    return post


def _report(change: StateChange, health: IntegrationHealth) -> None:
    """Log it by codes: the reason in words may hold a destination's own, which may repeat an event."""
    INTEGRATION_HEALTH_CHANGED.log(
        log,
        level=logging.WARNING if change.state in _NEEDS_ATTENTION else logging.INFO,
        integration=change.integration_id,
        name=change.name,
        tenant=change.tenant_id,
        type=change.type,
        state=change.state,
        previous=change.previous,
        reason=health.breaker.cause if health.breaker else None,
        last_error=health.last_error.code if health.last_error else None,
    )


def _is_certain(health: IntegrationHealth) -> bool:
    """Whether waiting would show no more: a breaker does not open for a moment."""
    return health.breaker_open and health.state is State.FAILING


def _change(health: IntegrationHealth, mark_sent: StateChange | None) -> StateChange:
    return StateChange(
        integration_id=health.integration_id,
        tenant_id=health.tenant_id,
        name=health.name,
        type=health.type,
        state=health.state,
        previous=mark_sent.state if mark_sent else None,
        reason=health.reason,
        at=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    )
