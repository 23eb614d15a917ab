"""What /openapi.json says: descriptions, schemas of integrations, whole, as a change, and as shown.

Input: the models of `worker.model`. Output: JSON schemas and examples. They are made of the models, so
that they cannot say anything else.
"""

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, Field

from worker.api.problems import MEDIA_TYPE, status_phrase
from worker.destinations.registry import DESTINATIONS
from worker.integrations import CONFIGS
from worker.integrations.integration import Integration
from worker.views.integrations import COMMON

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
        status: {"description": status_phrase(status), "content": {MEDIA_TYPE: {"schema": _PROBLEM}}}
        for status in sorted({*statuses, 422, 500})
    }


def document_app(app: FastAPI, components: dict[str, Any]) -> None:
    """Have /openapi.json describe these schemas too, beside those of the models."""

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

    # FastAPI documents this as the way to change what it says.
    app.openapi = openapi  # type: ignore[method-assign]  # so FastAPI's manual


_MARK = {"$ref": "#/components/schemas/SecretMark"}
_SECRET_MARK = {
    "type": "object",
    "description": (
        "A secret is never shown: only since when it is set, and the end of a long one. One that is not "
        "`readable` was sealed with a key that is gone, or for another address, TLS option or integration: "
        "nothing is delivered until it is set again."
    ),
    "required": ["set", "since", "ends_in", "readable"],
    "additionalProperties": False,
    "properties": {
        "set": {"const": True},
        "since": {"type": ["string", "null"], "format": "date-time"},
        "ends_in": {"type": ["string", "null"]},
        "readable": {"type": "boolean"},
    },
}
_MOMENT = {"type": "string", "format": "date-time"}
_SHOWN_ONLY: dict[str, Any] = {
    "id": {"type": "string"},
    "tenant_id": {"type": "string"},
    "disabled_reason": {
        "type": ["string", "null"],
        "description": (
            "Why its destination had it disabled. `enabled: true` sends again what met that answer."
        ),
    },
    "disabled_at": {"type": ["string", "null"], "format": "date-time"},
    "created_at": _MOMENT,
    "updated_at": _MOMENT,
}

#: The header that says of a new or changed integration what keeps the workers from it.
WARNING = "SIEM-Warning"

Convert = Callable[[dict[str, Any]], dict[str, Any]]


def _resolved(schema: Any, definitions: Mapping[str, Any], secret: Convert) -> Any:
    """Return the schema with what it refers to in its place, and each secret as it is wanted."""
    match schema:
        case {"$ref": str(place)}:
            return _resolved(definitions[place.rpartition("/")[2]], definitions, secret)
        case {"writeOnly": True}:
            return secret(schema)
        case Mapping():
            kept = {name: part for name, part in schema.items() if name not in {"discriminator", "title"}}
            return {name: _resolved(part, definitions, secret) for name, part in kept.items()}
        case list():
            return [_resolved(part, definitions, secret) for part in schema]
        case _:
            return schema


def _properties(kind: str, secret: Convert) -> dict[str, Any]:
    whole = Integration.model_json_schema()
    common = {name: whole["properties"][name] for name in COMMON}
    # A set has no order, and the document should not change by itself.
    common["event_types"] = {**common["event_types"], "default": sorted(common["event_types"]["default"])}
    own = CONFIGS[kind].model_json_schema()
    properties = {
        **_resolved(common, whole["$defs"], secret),
        **_resolved(own["properties"], own.get("$defs", {}), secret),
    }
    return {"type": {"const": kind}, **{name: properties[name] for name in properties if name != "type"}}


def _object(kind: str, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {
        "type": "object",
        "description": " ".join((CONFIGS[kind].__doc__ or "").partition("\n\n")[0].split()),
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _creation(kind: str) -> dict[str, Any]:
    required = ["type", *CONFIGS[kind].model_json_schema()["required"]]
    return _object(kind, _properties(kind, lambda secret: secret), required)


def _change(kind: str) -> dict[str, Any]:
    properties = _properties(kind, lambda secret: {"anyOf": [secret, _MARK]})
    nullable = {
        name: schema if name == "type" else {"anyOf": [_without_default(schema), {"type": "null"}]}
        for name, schema in properties.items()
    }
    as_read = {name: {**schema, "readOnly": True} for name, schema in _SHOWN_ONLY.items()}
    return _object(kind, nullable | as_read, [])


def _shown(kind: str) -> dict[str, Any]:
    properties = _properties(kind, lambda _secret: _MARK)
    known = {name: _without_default(schema) for name, schema in properties.items()} | _SHOWN_ONLY
    return _object(kind, known, list(known))


def _without_default(schema: dict[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in schema.items() if name != "default"}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


_NAMES = {kind: config.__name__ for kind, config in CONFIGS.items()}


def _one_of(role: str) -> dict[str, Any]:
    mapping = {kind: _ref(f"{name}{role}")["$ref"] for kind, name in _NAMES.items()}
    choice = {"oneOf": [_ref(f"{name}{role}") for name in _NAMES.values()]}
    return {**choice, "discriminator": {"propertyName": "type", "mapping": mapping}}


COMPONENTS: dict[str, Any] = {
    "SecretMark": _SECRET_MARK,
    **{f"{name}Creation": _creation(kind) for kind, name in _NAMES.items()},
    **{f"{name}Change": _change(kind) for kind, name in _NAMES.items()},
    **{f"{name}Integration": _shown(kind) for kind, name in _NAMES.items()},
    "Integration": _one_of("Integration"),
    "IntegrationPage": {
        "type": "object",
        "required": ["items", "next"],
        "properties": {
            "items": {"type": "array", "items": _ref("Integration")},
            "next": {"type": ["string", "null"], "description": "The cursor of the next page, if any."},
        },
    },
}


def _body(schema: dict[str, Any], examples: dict[str, Any], kind: str) -> dict[str, Any]:
    content = {kind: {"schema": schema, "examples": examples}}
    return {"requestBody": {"required": True, "content": content}}


_EXAMPLES = {
    example.key: {"summary": example.summary, "value": example.document}
    for destination in DESTINATIONS.values()
    for example in destination.examples
}
_EXAMPLES_OF_CHANGES = {
    "event_types": {"summary": "Other events", "value": {"event_types": ["policy.deny", "policy.allow"]}},
    "secret": {"summary": "Another token", "value": {"token": "your-new-token"}},
    "default": {"summary": "Back to the default", "value": {"event_types": None, "timeout_seconds": None}},
}
CREATION = _body(_one_of("Creation"), _EXAMPLES, "application/json")
CHANGE = _body(
    {"anyOf": [_ref(f"{name}Change") for name in _NAMES.values()]},
    _EXAMPLES_OF_CHANGES,
    "application/merge-patch+json",
)
PAGE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A page of integrations",
        "content": {"application/json": {"schema": _ref("IntegrationPage")}},
    }
}


def one(status: int) -> dict[int | str, dict[str, Any]]:
    """Document that a route answers with an integration and its ETag."""
    headers: dict[str, Any] = {
        "ETag": {"description": "For If-Match.", "schema": {"type": "string"}},
        WARNING: {
            "description": "Behind a change: why the workers will not send to this address, if that is so.",
            "schema": {"type": "string"},
        },
    }
    if status == 201:  # noqa: PLR2004 - Created
        headers["Location"] = {"description": "Where it is now.", "schema": {"type": "string"}}
    content = {"application/json": {"schema": _ref("Integration")}}
    return {status: {"description": "The integration", "headers": headers, "content": content}}
