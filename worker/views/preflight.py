"""What `siem preflight` has found, as JSON."""

from pydantic import BaseModel, Field

from worker.background.preflight import Preflight
from worker.model.preflight import is_fit
from worker.model.redis_checks import CheckStatus


class CheckDocument(BaseModel):
    """One check; `hint` is null where nothing need be done."""

    name: str
    status: CheckStatus
    reason: str
    hint: str | None


class PreflightDocument(BaseModel):
    """All checks, in a fixed order."""

    fit: bool | None = Field(description="null while `unasked` holds what does not answer")
    unasked: list[str]
    checks: list[CheckDocument]


def preflight_document(found: Preflight) -> PreflightDocument:
    """Return the checks, and whether the installation is fit for production."""
    return PreflightDocument(
        fit=None if found.unasked else is_fit(found.checks),
        unasked=list(found.unasked),
        checks=[
            CheckDocument(name=one.name, status=one.status, reason=one.reason, hint=one.hint or None)
            for one in found.checks
        ],
    )
