"""Diagnoses one integration: why deliveries to it fail, or will, step by step, each with a hint.

Input: an integration and the guard. Output: a check for each step, as soon as it has ended. It dials
through the guard and sends with the sender of every delivery; nothing is settled, recorded or disabled.
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from worker.broker.connection import Client
from worker.broker.key_holders import unopened_secrets
from worker.destinations.checks import DiagnosisStep, StepResult, StepStatus, failed_with, skipped, warning
from worker.destinations.diagnosis import Diagnosis
from worker.integrations.integration import Integration, moved_in, unreadable_in
from worker.model.errors import BrokerUnavailable, InvalidInput, TransportError
from worker.model.failures import FailureCode
from worker.model.untrusted_text import in_one_line
from worker.transports.guard import Guard
from worker.vault.vault import Vault

__all__ = ["StepReport", "StepStatus", "examine", "examine_keys"]


@dataclass(frozen=True, slots=True)
class StepReport:
    """One step: how it came out, in words, a hint, and how long it took.

    `hint` goes with `failed` and `warning`.
    """

    step: str
    result: StepStatus
    message: str
    hint: str | None
    milliseconds: float

    def __post_init__(self) -> None:
        """Clean the words, of which some are a server's, of what cannot be printed."""
        object.__setattr__(self, "message", in_one_line(self.message))
        if self.hint is not None:
            object.__setattr__(self, "hint", in_one_line(self.hint))


_RESTART_WITH_KEY = (
    "restart these workers with that key in SIEM_SECRET_KEYS, or set the secret again with a key that they "
    "have"
)
#: Counts the connections that workers hold to any of these places ("ip:port").
CountConnections = Callable[[Collection[str]], int]
#: So fails what allows no further connection: it refuses, ends or ignores it, or says that it is busy.
_NO_FURTHER = frozenset(
    {
        FailureCode.CONNECT_FAILED,
        FailureCode.CONNECTION_LOST,
        FailureCode.CLOSED_UNCONFIRMED,
        FailureCode.TIMED_OUT,
        FailureCode.DESTINATION_BUSY,
    }
)


def examine(
    integration: Integration,
    guard: Guard,
    *,
    send_seconds: float,
    test_event: bool = True,
    held: CountConnections = lambda _peers: 0,
) -> Iterator[StepReport]:
    """Yield the checks in their order; what rests on a step that failed is skipped.

    Each question may take the integration's `timeout_seconds`, and the test event `send_seconds`, as a
    delivery may (SIEM_SEND_DEADLINE). That a secret cannot be opened is the only check then. No check
    holds a secret. Where workers hold connections that stand, a destination that takes no further one is
    warned of: nothing more can be known then. Raises nothing that the destination can cause.
    """
    if moved := moved_in(integration):
        yield StepReport("configuration", StepStatus.FAILED, *_moved(moved), 0.0)
        return
    if unreadable := unreadable_in(integration):
        yield StepReport("configuration", StepStatus.FAILED, *_sealed(unreadable), 0.0)
        return
    examination = Diagnosis(integration, guard, send_seconds=send_seconds, send=test_event)
    culprits: dict[str, str] = {}
    try:
        for step in examination.steps():
            culprit = culprits.get(step.needs or "")
            answer, seconds = (_unasked(culprit), 0.0) if culprit else _asked(step)
            if answer.code in _NO_FURTHER and (count := held(examination.peers())):
                culprit, answer = _TAKES_NO_MORE, _no_further(answer, count)
            if culprit or answer.result is StepStatus.FAILED:
                culprits[step.name] = culprit or f"{step.name} failed"
            yield _check(step, answer, seconds)
    finally:
        examination.close()


def examine_keys(
    client: Client, vault: Vault, integration: Integration, *, with_names: bool
) -> Iterator[StepReport]:
    """Yield a warning if running workers lack the key that sealed the integration's secrets.

    This process may have that key, so that every step of `examine` passes, and nothing is delivered. Without
    Redis no worker is known, and it yields nothing.
    """
    try:
        found = unopened_secrets(client, vault, integration.id, integration.type)
    except BrokerUnavailable:
        return
    if found is not None:
        words = f"{found.words(with_names=with_names)}: its events wait until every worker has that key"
        yield StepReport("secret keys", StepStatus.WARNING, words, _RESTART_WITH_KEY, 0.0)


def _sealed(unreadable: Sequence[str]) -> tuple[str, str]:
    """Return what is wrong with secrets that no key opens, and a hint."""
    return (
        f"{', '.join(unreadable)} cannot be opened: SIEM_SECRET_KEYS here lacks the key that sealed it",
        "test it with the keys of the workers; if they lack it, too, add it, or set the secret again",
    )


def _moved(paths: Sequence[str]) -> tuple[str, str]:
    """Return what is wrong with secrets that were sealed for another place, and a hint."""
    words = "sealed for another address or integration, and not used: it was modified outside of siem"
    return f"{', '.join(paths)}: {words}", "set the secret again, and find out who has changed it"


_OURS = "this very process could not ask, which says nothing of the destination"


def _raised(hint: str) -> str:
    """Add whose limit is to be raised: the hint is about deliveries, which workers make."""
    return hint.replace("of the workers", "of this process")


_TAKES_NO_MORE = "the destination takes no further connection"


def _no_further(answer: StepResult, count: int) -> StepResult:
    connections = "a connection" if count == 1 else f"{count} connections"
    return warning(
        f"{answer.message}; workers hold {connections} to it, so it may allow no further one",
        "if `siem health` says that deliveries go on, nothing is wrong; to test it alone, pause the "
        "integration, and wait until the workers have closed theirs (a minute or two)",
    )


def _unasked(culprit: str) -> StepResult:
    return skipped(f"not asked, because {culprit}")


def _asked(step: DiagnosisStep) -> tuple[StepResult, float]:
    began = time.monotonic()
    try:
        answer = step.ask()
    except (TransportError, InvalidInput) as error:
        answer = failed_with(error)
    if answer.code is FailureCode.OUT_OF_RESOURCES:
        answer = replace(answer, message=f"{_OURS}: {answer.message}", hint=_raised(answer.hint or ""))
    return answer, time.monotonic() - began


def _check(step: DiagnosisStep, answer: StepResult, seconds: float) -> StepReport:
    return StepReport(step.name, answer.result, answer.message, answer.hint, round(seconds * 1000, 1))
