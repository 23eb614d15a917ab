"""From what a request says of an integration to the integration.

Comes in: a flat object, whole or as a JSON merge patch (RFC 7396), and the integration as it was. Goes out:
the integration as it is to be. A secret that is left out stays, and so does one whose mark is sent back.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import SecretStr

from worker.api.documents import COMMON, READ_ONLY
from worker.model.errors import InvalidIntegration
from worker.model.integrations import Integration, parse_integration
from worker.transports.tls import check_tls

REMEDY = "see the schema and the examples in /openapi.json"
_MARK = frozenset({"set", "since", "ends_in", "readable"})


def created(given: Mapping[str, Any], integration_id: str, tenant_id: str) -> Integration:
    """Make an integration of a whole object. Raises InvalidIntegration."""
    _refuse_read_only(given, {})
    return _integration(_merged({}, given, {}, ""), integration_id, tenant_id)


def changed(old: Integration, patch: Mapping[str, Any], shown: Mapping[str, Any]) -> Integration:
    """Return the integration with the patch applied; `shown` is its document. Raises InvalidIntegration."""
    _refuse_read_only(patch, shown)
    if patch.get("type", old.type) != old.type:
        raise InvalidIntegration(
            "type", "cannot be changed", "create another integration, and delete this one"
        )
    values = old.model_dump()
    before = {name: values[name] for name in COMMON} | values["destination"]
    return _integration(_merged(before, patch, shown, ""), old.id, old.tenant_id)


def _refuse_read_only(given: Mapping[str, Any], shown: Mapping[str, Any]) -> None:
    for name in READ_ONLY:
        if name in given and given[name] != shown.get(name):
            raise InvalidIntegration(
                name, "is not for you to set", "leave it out, or as you have read it last"
            )


def _integration(flat: dict[str, Any], integration_id: str, tenant_id: str) -> Integration:
    common = {name: flat.pop(name) for name in COMMON if name in flat}
    whole = {**common, "id": integration_id, "tenant_id": tenant_id, "destination": flat}
    try:
        integration = parse_integration(whole, REMEDY)
        check_tls(integration.destination)
    except InvalidIntegration as error:
        # A few reasons go on to say which command helps.
        reason = error.reason.partition(", as `siem ")[0]
        raise InvalidIntegration(error.field, reason, error.remedy) from None
    return integration


def _merged(
    before: Mapping[str, Any], patch: Mapping[str, Any], shown: Mapping[str, Any], path: str
) -> dict[str, Any]:
    """Apply a merge patch; null takes away, and so brings back the default."""
    merged = dict(before)
    for name, value in patch.items():
        if path == "" and name in READ_ONLY:
            continue
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _value(merged.get(name), value, shown.get(name), f"{path}{name}")
    return merged


def _value(before: Any, given: Any, shown: Any, path: str) -> Any:
    if _is_mark(given):
        if not isinstance(before, SecretStr):
            raise _no_secret(path)
        return before
    match given:
        case Mapping():
            was = before if isinstance(before, Mapping) and not _is_of_another_kind(before, given) else {}
            return _merged(was, given, shown if isinstance(shown, Mapping) else {}, f"{path}.")
        case list():
            return _list(before, given, shown, path)
        case _:
            return given


def _list(before: Any, given: list[Any], shown: Any, path: str) -> list[Any]:
    """Replace a list; a mark in it stands for the secret that was shown so."""
    if not any(map(_is_mark, given)):
        return given
    if given == shown:
        return list(before)
    return [
        _of_mark(before, one, shown, f"{path}.{place}") if _is_mark(one) else one
        for place, one in enumerate(given)
    ]


def _of_mark(before: Any, mark: Any, shown: Any, path: str) -> Any:
    if not isinstance(shown, Sequence) or shown.count(mark) != 1:
        raise _no_secret(path)
    return before[shown.index(mark)]


def _is_of_another_kind(before: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Whether nothing of the old object fits the new one, as with another way to prove who we are."""
    return "kind" in before and given.get("kind", before["kind"]) != before["kind"]


def _is_mark(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get("set") is True and value.keys() <= _MARK


def _no_secret(path: str) -> InvalidIntegration:
    return InvalidIntegration(path, "does not tell which secret stays", "give the secret itself")
