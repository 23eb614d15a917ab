"""An integration as the API shows it: one flat object, in which a secret is a mark that it is set.

Input: a MaskedIntegration. Output: JSON values, such as

    {"id": "int_1", "type": "…", "name": "siem", "url": "https://…",
     "token": {"set": true, "since": "2026-11-19T10:11:12.345Z", "ends_in": "f3", "readable": true}, …}
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from worker.integrations import CONFIGS
from worker.integrations.integration import Integration
from worker.model.time import rfc3339
from worker.vault.marks import SecretMark
from worker.vault.masking import MaskedIntegration
from worker.views.cursors import cut_page

#: What every type of integration has, beside the fields of its destination.
COMMON = ("name", "enabled", "paused", "event_types", "max_retries", "redrive")
#: What is shown, and cannot be set.
READ_ONLY = ("id", "tenant_id", "disabled_reason", "disabled_at", "created_at", "updated_at")


def integration_document(one: MaskedIntegration) -> dict[str, Any]:
    """Return it as JSON values; what an earlier release did not store yet has its default."""
    stored, model = one.document, CONFIGS[one.type]
    return {
        "id": one.id,
        "type": one.type,
        "tenant_id": stored["tenant_id"],
        **{name: _field(Integration, stored, name) for name in COMMON},
        **{name: _field(model, stored["destination"], name) for name in model.model_fields},
        "disabled_reason": one.disabled_reason,
        "disabled_at": rfc3339(one.disabled_ms),
        "created_at": rfc3339(one.created_ms),
        "updated_at": rfc3339(one.updated_ms),
    }


def integration_page(found: Sequence[MaskedIntegration], limit: int) -> dict[str, Any]:
    """Return a page of integrations; `found` has one more than `limit` if there are more."""
    shown, following = cut_page(found, limit, lambda one: one.place)
    return {"items": [integration_document(one) for one in shown], "next": following}


def etag(one: MaskedIntegration) -> str:
    """Return what stands for this version in ETag and If-Match."""
    return f'"{one.revision}"'


def _shown(value: Any) -> Any:
    match value:
        case SecretMark(set_ms, tail, readable):
            return {"set": True, "since": rfc3339(set_ms), "ends_in": tail, "readable": readable}
        case Mapping():
            return {name: _shown(item) for name, item in value.items()}
        case list():
            return [_shown(item) for item in value]
        case _:
            return value


def _field(model: type[BaseModel], stored: Mapping[str, Any], name: str) -> Any:
    if name in stored:
        return _shown(stored[name])
    default = model.model_fields[name].get_default(call_default_factory=True)
    return sorted(default) if isinstance(default, frozenset) else to_jsonable_python(default)
