"""What is asked of each kind of SIEM, from its configuration to a real event: the steps of an examination.

Comes in: an integration, the guard and the senders of every delivery. Goes out: steps in the order in which
they are to be asked; `worker.background.doctor` asks them.
"""

from typing import Protocol
from urllib.parse import urlsplit

from worker.destinations.checks import DiagnosisStep, StepResult, ok, warning
from worker.destinations.checks.http import HttpProbe
from worker.destinations.checks.network import NetworkChecks, Target
from worker.destinations.checks.test_event import TestEvent
from worker.destinations.splunk_hec.checks import HecDiagnosis, hec_target
from worker.destinations.syslog_cef.checks import SyslogDiagnosis, syslog_target
from worker.destinations.webhook.checks import WebhookDiagnosis, webhook_target
from worker.integrations import SplunkHec, SyslogCef, Webhook
from worker.integrations.integration import Integration
from worker.integrations.urls import host_error
from worker.model.errors import InvalidIntegration
from worker.transports.check_guards import WatchedGuard
from worker.transports.guard import Guard
from worker.transports.tls import client_context


class _OneKind(Protocol):
    """What differs between the kinds of SIEM."""

    def summary(self) -> str:
        """Say what is configured, without secrets."""
        ...

    def steps(self) -> list[DiagnosisStep]:
        """Return the steps beyond the way to the SIEM."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class Diagnosis:
    """The steps for one integration; holds connections between them, so `close` it."""

    def __init__(self, integration: Integration, guard: Guard, *, send_seconds: float, send: bool) -> None:
        """Dial nothing yet. A delivery may take `send_seconds`; `send` is whether to send a real event."""
        config = integration.destination
        seconds = config.timeout_seconds
        watched = WatchedGuard(guard)
        self._integration = integration
        self._target = target = _target(integration)
        self._way = NetworkChecks(guard, target, config, seconds)
        self._questions = HttpProbe(guard, target, config, seconds)
        self._trial = TestEvent(integration, watched, send_seconds, wanted=send)
        self._kind = self._of_its_kind(watched)

    def steps(self) -> list[DiagnosisStep]:
        """Return all steps in their order."""
        return [
            DiagnosisStep("configuration", self._configuration, None),
            *self._way.steps(),
            *self._kind.steps(),
        ]

    def peers(self) -> list[str]:
        """Return the places that the integration leads to, as "ip:port", once the name was looked up."""
        return self._way.peers()

    def close(self) -> None:
        """Let go of every connection."""
        for one in (self._way, self._questions, self._trial, self._kind):
            one.close()

    def _of_its_kind(self, guard: WatchedGuard) -> _OneKind:
        match self._integration.destination:
            case SplunkHec() as splunk:
                return HecDiagnosis(splunk, guard, self._questions, self._trial)
            case SyslogCef() as syslog:
                return SyslogDiagnosis(syslog, self._target, guard, self._trial)
            case Webhook() as webhook:
                return WebhookDiagnosis(webhook, self._questions, self._trial)

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
        words = f"{integration.type}, {scheme}://{self._target}, {self._kind.summary()}"
        if not integration.enabled:
            return warning(f"{words}; the integration is disabled", "switch it on, or nothing is delivered")
        return ok(words)


def _target(integration: Integration) -> Target:
    match integration.destination:
        case SplunkHec() as splunk:
            return hec_target(splunk)
        case SyslogCef() as syslog:
            return syslog_target(syslog)
        case Webhook() as webhook:
            return webhook_target(webhook)
