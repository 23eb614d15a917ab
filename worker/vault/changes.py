"""What a change of an integration has changed, field by field, for the audit trail; no secret is in it.

Input: an integration before and after. Output: changes, in which a secret is `{"set": true}`, and a url
has `…` for each value of its query.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from worker.integrations.integration import Integration, secrets_in
from worker.integrations.secrets import SecretUrl
from worker.model.audit import Action, Actor, AuditRecord, Change, audit_record
from worker.vault.fields import concealed

#: What names the integration, and never changes.
_NAMES = frozenset({"id", "tenant_id", "type"})
#: What it is called when it is set, and when it is not any more.
_SWITCHES = {
    "paused": (Action.INTEGRATION_PAUSED, Action.INTEGRATION_RESUMED),
    "enabled": (Action.INTEGRATION_ENABLED, Action.INTEGRATION_DISABLED),
}


@dataclass(frozen=True, slots=True)
class _Hidden:
    """A secret: `value` is compared, `shown` stands in the record."""

    value: Any
    shown: Any


def integration_changes(old: Integration | None, new: Integration | None) -> list[Change]:
    """Return what differs; of one that was created or deleted, all that is not as by default."""
    before, after = _flat(old, whole=new is not None), _flat(new, whole=old is not None)
    return [
        _change(field, before.get(field), after.get(field))
        for field in sorted(before.keys() | after.keys())
        if before.get(field) != after.get(field)
    ]


def action_of(changes: list[Change]) -> Action:
    """Return what these changes of one integration are called."""
    if len(changes) == 1 and (switch := _SWITCHES.get(changes[0].field)):
        return switch[0] if changes[0].after else switch[1]
    if changes and all(one.secret for one in changes):
        return Action.INTEGRATION_SECRETS_CHANGED
    return Action.INTEGRATION_CHANGED


def integration_test_record(
    by: Actor, integration: Integration, tenant_id: str, *, saved: bool = True, test_event: bool
) -> AuditRecord:
    """Return the record of a test, of one that is `saved`, or as a form says that it would be."""
    url = integration.destination.model_dump()["url"]
    shown = url.masked if isinstance(url, SecretUrl) else str(url)
    return audit_record(
        Action.INTEGRATION_TESTED,
        by,
        tenant_id=tenant_id,
        subject=integration.id if saved else None,
        subject_name=integration.name,
        integration_id=integration.id if saved else None,
        details={"type": integration.type, "url": shown, "saved": saved, "test_event": test_event},
    )


def _change(field: str, before: Any, after: Any) -> Change:
    is_secret = isinstance(before, _Hidden) or isinstance(after, _Hidden)
    return Change(field, _shown(before), _shown(after), is_secret)


def _shown(value: Any) -> Any:
    return value.shown if isinstance(value, _Hidden) else value


def _flat(integration: Integration | None, *, whole: bool) -> dict[str, Any]:
    """Return each field by its path, those of the destination beside the others; `whole`: defaults, too."""
    if integration is None:
        return {}
    values = concealed(integration, _hide)
    destination = values.pop("destination")
    if not whole:
        given = integration.model_dump(exclude_defaults=True)
        inner = integration.destination.model_dump(exclude_defaults=True)
        values = {name: value for name, value in values.items() if name in given}
        destination = {name: value for name, value in destination.items() if name in inner}
    secret = {path.partition(".")[0] for path, _ in secrets_in(integration)}
    flat = dict(_leaves("", values)) | dict(_leaves("", destination))
    # A list of secrets is one field: which of them is new is told by no place in it.
    for name in secret:
        if isinstance(destination.get(name), list):
            held = destination[name]
            flat[name] = _Hidden(held, [_shown(one) for one in held])
    return {path: value for path, value in flat.items() if path not in _NAMES}


def _hide(_path: str, secret: SecretStr | SecretUrl) -> Any:
    if isinstance(secret, SecretUrl):
        # As text two urls that no key opens are alike.
        value = getattr(secret, "sealed", str(secret))
        return _Hidden(value, secret.masked) if secret.has_query else str(secret)
    return _Hidden(secret, {"set": True})


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from _leaves(f"{path}.{name}" if path else str(name), item)
    elif path and value is not None:
        yield path, value
