"""The parts of an examination: a step asks one question, and its answer is for people.

What a step is called, and how it came out, is stable; words may change.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from worker.model.deliveries import Finding
from worker.model.errors import InvalidInput, TlsFailed, TransportError
from worker.model.failures import FailureCode
from worker.transports.failures import describe


class Result(StrEnum):
    """How a step came out."""

    OK = "ok"
    #: Deliveries work, but somebody should know.
    WARNING = "warning"
    FAILED = "failed"
    #: There was nothing to ask, or no way to ask it.
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a step found, and, with a failure or a warning, the sentence that mends it.

    `code` is that of a failure, where it has one.
    """

    result: Result
    message: str
    remedy: str | None = None
    code: FailureCode | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A question, asked only if the steps that it `needs` have not failed.

    `ask` may raise TransportError and InvalidInput: that is a failure of the step.
    """

    name: str
    ask: Callable[[], Answer]
    needs: str | None


def ok(message: str) -> Answer:
    """Say that all is well."""
    return Answer(Result.OK, message)


def warning(message: str, remedy: str) -> Answer:
    """Say that it works, but somebody should know."""
    return Answer(Result.WARNING, message, remedy)


def failed(message: str, remedy: str, code: FailureCode | None = None) -> Answer:
    """Say that it does not work, and what would mend it."""
    return Answer(Result.FAILED, message, remedy, code)


def skipped(message: str) -> Answer:
    """Say that there was nothing to ask."""
    return Answer(Result.SKIPPED, message)


def failed_by(finding: Finding) -> Answer:
    """Make a failure of what went wrong with a request."""
    return failed(finding.message, finding.hint, finding.code)


def failed_with(error: TransportError | InvalidInput) -> Answer:
    """Make a failure of an error; many say themselves, behind a colon, what would mend it."""
    if isinstance(error, InvalidInput):
        return failed(f"{error.field}: {error.reason}", error.remedy)
    if isinstance(error, TlsFailed):
        return failed(error.message, error.hint, describe(error).code)
    what, _, remedy = str(error).partition(": ")
    if remedy.startswith(_REQUESTS):
        return failed(what, remedy, describe(error).code)
    return failed_by(describe(error))


#: How a sentence begins that asks the reader to do something; a system's reason does not begin so.
_REQUESTS = ("bring ", "check ", "give ", "renew ", "use ")
