"""Steps of a diagnosis: each asks one question, and its result is for people.

What a step is called, and how it came out, is stable; words may change.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from worker.model.deliveries import Failure
from worker.model.errors import InvalidInput, TlsFailed, TransportError
from worker.model.failures import FailureCode
from worker.transports.failures import describe


class StepStatus(StrEnum):
    """How a step came out."""

    OK = "ok"
    #: Deliveries work, with something to look at.
    WARNING = "warning"
    FAILED = "failed"
    #: There was nothing to ask, or no way to ask it.
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step found, and, with a failure or a warning, a hint.

    `code` is that of a failure, where it has one.
    """

    result: StepStatus
    message: str
    hint: str | None = None
    code: FailureCode | None = None


@dataclass(frozen=True, slots=True)
class DiagnosisStep:
    """A question, asked only if the steps that it `needs` have not failed.

    `ask` may raise TransportError and InvalidInput: that is a failure of the step.
    """

    name: str
    ask: Callable[[], StepResult]
    needs: str | None


def ok(message: str) -> StepResult:
    """Return a step that passed."""
    return StepResult(StepStatus.OK, message)


def warning(message: str, hint: str) -> StepResult:
    """Return a step that passed with a warning."""
    return StepResult(StepStatus.WARNING, message, hint)


def failed(message: str, hint: str, code: FailureCode | None = None) -> StepResult:
    """Return a step that failed, with a hint."""
    return StepResult(StepStatus.FAILED, message, hint, code)


def skipped(message: str) -> StepResult:
    """Report that there was nothing to ask."""
    return StepResult(StepStatus.SKIPPED, message)


def failed_by(failure: Failure) -> StepResult:
    """Make a failure of what went wrong with a request."""
    return failed(failure.message, failure.hint, failure.code)


def failed_with(error: TransportError | InvalidInput) -> StepResult:
    """Make a failure of an error; many say themselves, behind a colon, what would fix it."""
    if isinstance(error, InvalidInput):
        return failed(f"{error.field}: {error.reason}", error.hint)
    if isinstance(error, TlsFailed):
        return failed(error.message, error.hint, describe(error).code)
    what, _, hint = str(error).partition(": ")
    if hint.startswith(_REQUESTS):
        return failed(what, hint, describe(error).code)
    return failed_by(describe(error))


#: How a sentence begins that asks the reader to do something; a system's reason does not begin so.
_REQUESTS = ("bring ", "check ", "give ", "renew ", "use ")
