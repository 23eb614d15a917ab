"""The examination of one integration: why deliveries to it fail, or will, step by step, each with its remedy.

Comes in: an integration and the guard. Goes out: a check for each step, as soon as it has ended. It dials
through the guard and sends with the sender of every delivery; nothing is settled, recorded or switched off.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from worker.destinations.examine import Examination
from worker.destinations.examine_answers import Answer, Result, Step, failed_with, skipped
from worker.model.errors import InvalidInput, TransportError
from worker.model.integrations import Integration
from worker.model.secrets import unreadable_in
from worker.transports.guard import Guard

__all__ = ["Check", "Result", "examine"]


@dataclass(frozen=True, slots=True)
class Check:
    """One step: how it came out, in words, what would mend it, and how long it took.

    `remedy` goes with `failed` and `warning`.
    """

    step: str
    result: Result
    message: str
    remedy: str | None
    milliseconds: float


def examine(
    integration: Integration, guard: Guard, *, send_seconds: float, test_event: bool = True
) -> Iterator[Check]:
    """Yield the checks in their order; what rests on a step that failed is skipped.

    Each question may take the integration's `timeout_seconds`, and the test event `send_seconds`, as a
    delivery may (SIEM_SEND_DEADLINE). That a secret cannot be opened is the only check then. No check
    holds a secret. Raises nothing that the destination can cause.
    """
    if unreadable := unreadable_in(integration):
        yield Check("configuration", Result.FAILED, *_sealed(unreadable), 0.0)
        return
    examination = Examination(integration, guard, send_seconds=send_seconds, send=test_event)
    culprits: dict[str, str] = {}
    try:
        for step in examination.steps():
            culprit = culprits.get(step.needs or "")
            check = _unasked(step, culprit) if culprit else _asked(step)
            if culprit or check.result is Result.FAILED:
                culprits[step.name] = culprit or step.name
            yield check
    finally:
        examination.close()


def _sealed(unreadable: Sequence[str]) -> tuple[str, str]:
    """Return what is wrong with secrets that no key opens, and what mends it."""
    return (
        f"{', '.join(unreadable)} cannot be opened: the key that sealed it is not there any more",
        "set the secret anew, or have that key added to SIEM_SECRET_KEYS again",
    )


def _unasked(step: Step, culprit: str) -> Check:
    return _check(step, skipped(f"not asked, because {culprit} failed"), 0.0)


def _asked(step: Step) -> Check:
    began = time.monotonic()
    try:
        answer = step.ask()
    except (TransportError, InvalidInput) as error:
        answer = failed_with(error)
    return _check(step, answer, time.monotonic() - began)


def _check(step: Step, answer: Answer, seconds: float) -> Check:
    return Check(step.name, answer.result, answer.message, answer.remedy, round(seconds * 1000, 1))
