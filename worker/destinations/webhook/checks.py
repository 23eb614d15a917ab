"""What a webhook's endpoint is asked: does it take a real event, and what time it is there.

An endpoint owes nothing to any other request than the events themselves, so only these are tried in earnest.
"""

from dataclasses import replace
from urllib.parse import urlsplit

from worker.destinations.checks import DiagnosisStep, StepResult, skipped
from worker.destinations.checks.http import HttpProbe, http_target
from worker.destinations.checks.test_event import UNWANTED, TestEvent, arrived
from worker.integrations.webhook import NoAuth, Webhook
from worker.model.deliveries import Verdict
from worker.model.errors import TransportError
from worker.model.failures import FailureCode
from worker.transports.guard import Guard

_LISTENS = "check host and port (443 for https unless the url names one), that the endpoint runs there"
_BRING_BACK = (
    "correct the integration's `url`, or have the endpoint brought back: it says that it is gone for good, "
    "at which a delivery would have switched the integration off, and this examination does not"
)
_SIGNED_LATE = (
    "receivers refuse signatures that are five minutes off (Standard Webhooks), and searches by time err"
)


class WebhookChecks:
    """The steps of one endpoint beyond the way there."""

    def __init__(self, config: Webhook, guard: Guard, test_event: TestEvent) -> None:
        """Ask nothing yet."""
        has_secret = bool(config.headers) or config.url.has_query or not isinstance(config.auth, NoAuth)
        self.target = http_target(config.url, _LISTENS, has_secret=has_secret)
        self._config = config
        self._questions = HttpProbe(guard, self.target, config, config.timeout_seconds)
        self._trial = test_event

    def summary(self) -> str:
        """Return what is configured, as far as the steps depend on it."""
        config = self._config
        auth = {"none": "no authentication", "bearer": "a bearer token", "api_key": "an API key"}
        return f"{auth[config.auth.kind]}, {self._signature()}, body: {config.body}"

    def steps(self) -> list[DiagnosisStep]:
        """Return the steps in their order."""
        return [
            DiagnosisStep("test event", self._test_event, "mutual tls"),
            DiagnosisStep("clock", self._clock, "mutual tls"),
        ]

    def close(self) -> None:
        """Let go of connections."""
        self._questions.close()

    def _signature(self) -> str:
        count = len(self._config.signing_secrets)
        if not count:
            return "not signed"
        return "signed" if count == 1 else f"signed with {count} secrets"

    def _test_event(self) -> StepResult:
        if not self._trial.is_wanted:
            return UNWANTED
        result = self._trial.send()
        self._trial.close()
        answer = arrived(result, self._trial.event)
        if result.verdict is Verdict.ACCEPTED:
            # Deliveries go over connections that are kept open: those may hang where this one did not.
            return replace(answer, message=f"{answer.message}; {self._signature()}; over a new connection")
        if result.failure is not None and result.failure.code == FailureCode.ENDPOINT_GONE:
            return replace(answer, hint=_BRING_BACK)
        if result.http_status is None:
            return self._questions.tls_instead() or answer
        return answer

    def _clock(self) -> StepResult:
        parts = urlsplit(self._config.url)
        try:
            # No secret goes there, and no other endpoint is touched: every answer has a date.
            self._questions.get(f"{parts.scheme}://{parts.netloc}/", {})
        except TransportError as error:
            return skipped(f"no answer had a date: {error}")
        return self._questions.clock(_SIGNED_LATE)
