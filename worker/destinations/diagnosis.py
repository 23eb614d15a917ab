"""What is asked of each kind of SIEM, from its configuration to a real event: the steps of an examination.

Input: an integration, the guard and the senders of every delivery. Output: steps in the order in which
they are to be asked; `worker.background.doctor` asks them.
"""

import pkgutil
from functools import partial
from typing import Any, Protocol
from urllib.parse import urlsplit

from worker.destinations.checks import DiagnosisStep, StepResult, ok, warning
from worker.destinations.checks.network import NetworkChecks, Target
from worker.destinations.checks.test_event import TestEvent
from worker.destinations.registry import make_sender, named
from worker.integrations.integration import Integration
from worker.integrations.urls import host_error
from worker.model.errors import InvalidIntegration
from worker.transports.check_guards import WatchedGuard
from worker.transports.guard import Guard
from worker.transports.tls import client_context


class DestinationChecks(Protocol):
    """What is asked of one type of destination."""

    #: Where the integration leads.
    target: Target

    def summary(self) -> str:
        """Return what is configured, without secrets."""
        ...

    def steps(self) -> list[DiagnosisStep]:
        """Return the steps beyond those of `checks.network`; the first needs one of these."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class MakeChecks(Protocol):
    """A type's class of checks: dials nothing yet, and only through the guard."""

    def __call__(self, config: Any, guard: WatchedGuard, test_event: TestEvent) -> DestinationChecks:
        """Make the checks of one integration."""
        ...


class Diagnosis:
    """The steps for one integration; holds connections between them, so `close` it."""

    def __init__(self, integration: Integration, guard: Guard, *, send_seconds: float, send: bool) -> None:
        """Dial nothing yet. A delivery may take `send_seconds`; `send` is whether to send a real event."""
        config = integration.destination
        watched = WatchedGuard(guard)
        make: MakeChecks = pkgutil.resolve_name(named(integration.type).checks)
        self._integration = integration
        self._trial = TestEvent(
            integration, partial(make_sender, guard=watched, connections=1), send_seconds, wanted=send
        )
        self._own = make(config, watched, self._trial)
        self._way = NetworkChecks(guard, self._own.target, config, config.timeout_seconds)

    def steps(self) -> list[DiagnosisStep]:
        """Return all steps in their order."""
        return [
            DiagnosisStep("configuration", self._configuration, None),
            *self._way.steps(),
            *self._own.steps(),
        ]

    def peers(self) -> list[str]:
        """Return the places that the integration leads to, as "ip:port", once the name was looked up."""
        return self._way.peers()

    def close(self) -> None:
        """Let go of every connection."""
        for one in (self._way, self._trial, self._own):
            one.close()

    def _configuration(self) -> StepResult:
        """Find what can be found wrong without dialling. Raises InvalidIntegration."""
        integration = self._integration
        client_context(integration.destination)
        self._trial.prepare()
        if complaint := host_error(integration.destination.url):
            # Stored by a release that did not refuse it.
            raise InvalidIntegration("url", complaint, "nothing is ever delivered there")
        scheme = urlsplit(integration.destination.url).scheme
        # Not the whole url: that of a webhook may be a secret by itself.
        words = f"{integration.type}, {scheme}://{self._own.target}, {self._own.summary()}"
        if not integration.enabled:
            return warning(f"{words}; the integration is disabled", "enable it, or nothing is delivered")
        return ok(words)
