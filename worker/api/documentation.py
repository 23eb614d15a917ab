"""What /openapi.json says beside what FastAPI finds out by itself: problems, and when they come."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, Field

from worker.api.problems import MEDIA_TYPE, TITLES

_PROBLEM = {"$ref": "#/components/schemas/Problem"}


class FieldError(BaseModel):
    """One wrong field: where it stands in the body, what is wrong with it, and what would be right."""

    field: str
    pointer: str | None = Field(default=None, description="A JSON pointer (RFC 6901) into the body.")
    reason: str
    hint: str | None = None


class ProblemDocument(BaseModel):
    """Problem details (RFC 9457): what is wrong, with which field, and what would be right."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    field: str | None = Field(default=None, description="What is wrong: a field of the body, or a parameter.")
    reason: str | None = Field(default=None, description="What is wrong with it.")
    hint: str | None = Field(default=None, description="What would be right.")
    errors: list[FieldError] | None = Field(
        default=None,
        description="Everything that is wrong, the first one as above: a hundred at the most. For refused "
        "events, each names its `line`.",
    )
    limit: str | None = Field(default=None, description="The quota that would be passed.")
    most: int | None = Field(default=None, description="Its value.")


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Document that a route may answer these statuses with a problem; 422 and 500 are understood."""
    return {
        status: {"description": TITLES[status], "content": {MEDIA_TYPE: {"schema": _PROBLEM}}}
        for status in sorted({*statuses, 422, 500})
    }


def document_app(app: FastAPI, components: dict[str, Any]) -> None:
    """Have /openapi.json tell of these schemas too, beside those of the models."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            schemas = found["components"].setdefault("schemas", {})
            problem = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= {**problem.pop("$defs"), "ProblemDocument": problem, **components}
            app.openapi_schema = found
        return app.openapi_schema

    # FastAPI documents this as the way to change what it tells.
    app.openapi = openapi  # type: ignore[method-assign]  # so FastAPI's manual
