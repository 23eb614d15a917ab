"""What Splunk's HTTP Event Collector is asked: is it well, does it know the token, does an event arrive.

`/health` answers whatever the token is, so the token is tried with an empty request: Splunk judges it before
the body, and "No data" (code 5) means that it is good. Only a real event shows whether the index is.
"""

import time
from urllib.parse import urljoin

from worker.destinations.checks import DiagnosisStep, StepResult, failed_by, failed_with, ok, skipped, warning
from worker.destinations.checks.http import HttpProbe, http_target
from worker.destinations.checks.test_event import UNWANTED, TestEvent, arrived
from worker.destinations.splunk_hec.client import HecClient, event_url
from worker.destinations.splunk_hec.verdict import HecVerdict, hec_verdict
from worker.integrations.splunk_hec import SplunkHec
from worker.model.deliveries import DeliveryResult, Verdict
from worker.model.errors import ConnectionLost
from worker.model.failures import FailureCode
from worker.transports.guard import Guard

_HEALTHY = 17
#: Splunk has looked beyond the token (codes 0, 24 and 25: success; 5: no data; the others: the event).
_BEYOND_TOKEN = frozenset({0, 5, 6, 12, 13, 15, 24, 25})
_ACK_DISABLED = 14
#: Failures of a sending that say: Splunk took the event, but whether it is indexed stays unknown.
_UNCONFIRMED = frozenset({"ack_missing", "ack_disabled", "not_indexed"})

_LISTENS = (
    "check host and port (8088 unless Splunk's was changed), that HEC is enabled in Splunk, "
    "Settings > Data inputs > HTTP Event Collector > Global Settings"
)
_HEALTH_HIDDEN = "if the steps below succeed, a proxy hides /health, and nothing is wrong; else look at these"
_UNASKED = (
    "switch the integration's `use_ack` on, or indexer acknowledgement off for this token in Splunk: "
    "else Splunk refuses events once a million of them wait to be asked about"
)
_SEARCHES = "Splunk shows events at the time that they carry, and searches of the last minutes miss them"


class HecChecks:
    """The steps of one collector beyond the way there."""

    def __init__(self, config: SplunkHec, guard: Guard, test_event: TestEvent) -> None:
        """Ask nothing yet."""
        self.target = http_target(config.url, _LISTENS, has_secret=True)
        self._config = config
        self._questions = HttpProbe(guard, self.target, config, config.timeout_seconds)
        self._trial = test_event
        self._client = HecClient(config, guard)
        self._result: DeliveryResult | None = None

    def summary(self) -> str:
        """Return what is configured, as far as the steps depend on it."""
        config = self._config
        index = f"index {config.index}" if config.index else "the token's own index"
        ack = "with" if config.use_ack else "without"
        return f"{index}, sourcetype {config.source_type}, {ack} indexer acknowledgement"

    def steps(self) -> list[DiagnosisStep]:
        """Return the steps in their order."""
        return [
            DiagnosisStep("health", self._health, "mutual tls"),
            DiagnosisStep("token", self._token, "health"),
            DiagnosisStep("test event", self._test_event, "token"),
            DiagnosisStep("acknowledgement", self._acknowledgement, "token"),
            DiagnosisStep("clock", lambda: self._questions.clock(_SEARCHES), "health"),
        ]

    def close(self) -> None:
        """Let go of connections."""
        self._questions.close()
        self._client.close()

    def _health(self) -> StepResult:
        try:
            # Without the token, which is not needed there.
            reply = self._questions.get(urljoin(event_url(self._config.url), "health"), {})
        except ConnectionLost as error:
            return self._questions.tls_instead() or failed_with(error)
        verdict = hec_verdict(reply.status, reply.headers, reply.body, 0)
        if verdict.code == _HEALTHY:
            return ok("Splunk says that HEC is healthy")
        failure = verdict.failure
        if failure is not None and failure.code == FailureCode.DESTINATION_BUSY:
            return warning(failure.message, failure.hint)
        # What waits for TLS may also say in plain text, as nginx does, that the request is bad.
        instead = self._questions.tls_instead() if verdict.code is None else None
        words = failure.message if failure is not None else f"HTTP {reply.status}"
        return instead or warning(words, _HEALTH_HIDDEN)

    def _token(self) -> StepResult:
        with self._client.channel() as channel:
            verdict = self._client.post(channel, b"", 0, self._soon())
        self._client.close()
        if verdict.code in _BEYOND_TOKEN:
            return ok("Splunk knows the token, and it is enabled")
        if verdict.failure is None:
            return skipped("Splunk did not say what it makes of the token")
        return failed_by(verdict.failure)

    def _test_event(self) -> StepResult:
        if not self._trial.is_wanted:
            return UNWANTED
        self._result = result = self._trial.send()
        self._trial.close()
        if _is_unconfirmed(result):
            return ok(f"accepted, under the id {self._trial.event.id}, but not confirmed: see below")
        return arrived(result, self._trial.event)

    def _acknowledgement(self) -> StepResult:
        result = self._result
        if self._config.use_ack and result is not None:
            if _is_unconfirmed(result) and result.failure is not None:
                return failed_by(result.failure)
            if result.verdict is Verdict.ACCEPTED:
                return ok("Splunk confirms what it has indexed: delivered means that it can be found")
        with self._client.channel() as channel:
            answer = self._client.ask_indexed(channel, [0], self._soon())
        return _wanted(answer) if self._config.use_ack else _unwanted(answer)

    def _soon(self) -> float:
        return time.monotonic() + self._config.timeout_seconds


def _wanted(answer: frozenset[int] | HecVerdict) -> StepResult:
    if isinstance(answer, HecVerdict) and answer.failure is not None:
        return failed_by(answer.failure)
    return ok("the token has indexer acknowledgement: delivered means that it can be found")


def _unwanted(answer: frozenset[int] | HecVerdict) -> StepResult:
    if not isinstance(answer, HecVerdict):
        return warning("the token has indexer acknowledgement, but the integration does not use it", _UNASKED)
    if answer.code == _ACK_DISABLED:
        return ok("neither wanted nor offered: delivered means that Splunk has accepted, not yet indexed")
    return skipped("not wanted, and Splunk does not say whether the token has it")


def _is_unconfirmed(result: DeliveryResult) -> bool:
    return result.failure is not None and result.failure.code in _UNCONFIRMED
