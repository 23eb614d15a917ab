"""What is asked of each kind of SIEM, from its configuration to a real event: the steps of an examination.

Comes in: an integration, the guard and the senders of every delivery. Goes out: steps in the order in which
they are to be asked; `worker.doctor` asks them.
"""

from typing import Protocol
from urllib.parse import urlsplit

from worker.destinations.examine_answers import Answer, Step, ok, warning
from worker.destinations.examine_event import Trial
from worker.destinations.examine_hec import HecExamination, hec_target
from worker.destinations.examine_http import Questions
from worker.destinations.examine_syslog import SyslogExamination, syslog_target
from worker.destinations.examine_way import Target, Way
from worker.destinations.examine_webhook import WebhookExamination, webhook_target
from worker.model.destinations import SplunkHec, SyslogCef, Webhook
from worker.model.destinations.hosts import complaint_about_host
from worker.model.errors import InvalidIntegration
from worker.model.integrations import Integration
from worker.transports.guard import Guard
from worker.transports.tls import client_context
from worker.transports.watched_guard import WatchedGuard


class _OneKind(Protocol):
    """What differs between the kinds of SIEM."""

    def summary(self) -> str:
        """Say what is configured, without secrets."""
        ...

    def steps(self) -> list[Step]:
        """Return the steps beyond the way to the SIEM."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class Examination:
    """The steps for one integration; holds connections between them, so `close` it."""

    def __init__(self, integration: Integration, guard: Guard, *, send_seconds: float, send: bool) -> None:
        """Dial nothing yet. A delivery may take `send_seconds`; `send` is whether to send a real event."""
        config = integration.destination
        seconds = config.timeout_seconds
        watched = WatchedGuard(guard)
        self._integration = integration
        self._target = target = _target(integration)
        self._way = Way(guard, target, config, seconds)
        self._questions = Questions(guard, target, config, seconds)
        self._trial = Trial(integration, watched, send_seconds, wanted=send)
        self._kind = self._of_its_kind(watched)

    def steps(self) -> list[Step]:
        """Return all steps in their order."""
        return [Step("configuration", self._configuration, None), *self._way.steps(), *self._kind.steps()]

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
                return HecExamination(splunk, guard, self._questions, self._trial)
            case SyslogCef() as syslog:
                return SyslogExamination(syslog, self._target, guard, self._trial)
            case Webhook() as webhook:
                return WebhookExamination(webhook, self._questions, self._trial)

    def _configuration(self) -> Answer:
        """Find what can be found wrong without dialling. Raises InvalidIntegration."""
        integration = self._integration
        client_context(integration.destination)
        self._trial.prepare()
        if complaint := complaint_about_host(integration.destination.url):
            # Stored by a release that did not refuse it.
            raise InvalidIntegration("url", complaint, "nothing is ever delivered there")
        scheme = urlsplit(integration.destination.url).scheme
        # Not the whole url: that of a webhook may be a secret by itself.
        words = f"{integration.type}, {scheme}://{self._target}, {self._kind.summary()}"
        if not integration.enabled:
            return warning(
                f"{words}; the integration is switched off", "switch it on, or nothing is delivered"
            )
        return ok(words)


def _target(integration: Integration) -> Target:
    match integration.destination:
        case SplunkHec() as splunk:
            return hec_target(splunk)
        case SyslogCef() as syslog:
            return syslog_target(syslog)
        case Webhook() as webhook:
            return webhook_target(webhook)
