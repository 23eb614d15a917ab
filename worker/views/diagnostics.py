"""Tests of integrations and of the installation as JSON, step by step."""

from collections.abc import Iterable, Sequence

from pydantic import BaseModel

from worker.background.doctor import StepReport, StepStatus
from worker.integrations.integration import Integration


class StepDocument(BaseModel):
    """One step of a test; `hint` goes with `failed` and `warning`."""

    step: str
    result: StepStatus
    message: str
    hint: str | None
    milliseconds: float


class TestDocument(BaseModel):
    """All steps; `failed` is whether one of them did."""

    __test__ = False

    id: str
    name: str
    type: str
    failed: bool
    steps: list[StepDocument]


class InstallationDocument(BaseModel):
    """The steps that examine Redis and the database; `failed` is whether one of them did."""

    failed: bool
    installation: list[StepDocument]


class DoctorDocument(TestDocument):
    """A test of an integration, and what was found out about the installation, for operators alone."""

    installation: list[StepDocument]


def step_document(one: StepReport) -> StepDocument:
    """Return a step."""
    return StepDocument(
        step=one.step,
        result=one.result,
        message=one.message,
        hint=one.hint,
        milliseconds=one.milliseconds,
    )


def test_document(integration: Integration, steps: Sequence[StepReport]) -> TestDocument:
    """Return a test of an integration that has ended."""
    return TestDocument(
        id=integration.id,
        name=integration.name,
        type=integration.type,
        failed=has_failed(steps),
        steps=[step_document(one) for one in steps],
    )


def installation_document(steps: Sequence[StepReport]) -> InstallationDocument:
    """Return what was found out about the installation."""
    return InstallationDocument(failed=has_failed(steps), installation=[step_document(one) for one in steps])


def doctor_document(
    integration: Integration, steps: Sequence[StepReport], installation: Sequence[StepReport]
) -> DoctorDocument:
    """Return a test of an integration, and the steps that examined the installation before it."""
    tested = test_document(integration, steps).model_dump()
    return DoctorDocument(**tested, installation=[step_document(one) for one in installation])


def has_failed(steps: Iterable[StepReport]) -> bool:
    """Return whether a step has failed."""
    return any(one.result is StepStatus.FAILED for one in steps)
