"""From what a request says of an integration to the integration.

Comes in: a flat object, whole or as a JSON merge patch (RFC 7396), and the integration as it was. Goes out:
the integration as it is to be. A secret that is left out stays, and so does one whose mark is sent back,
unless it would go to another server than before (`worker.vault.places`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import SecretStr

from worker.integrations.integration import Integration, at_once, secrets_within
from worker.integrations.secrets import SecretUrl
from worker.model.errors import InvalidInput, InvalidIntegration
from worker.transports.tls import judged_whole
from worker.vault.places import require_again
from worker.views.integrations import COMMON, READ_ONLY

REMEDY = "see the schema and the examples in /openapi.json"
_MARK = frozenset({"set", "since", "ends_in", "readable"})


def created(given: Mapping[str, Any], integration_id: str, tenant_id: str) -> Integration:
    """Make an integration of a whole object. Raises InvalidIntegration, which names every wrong field."""
    wrong = list(_read_only_ones(given, {}))
    return _integration(lambda: _merged({}, given, {}, ""), integration_id, tenant_id, wrong)


def changed(old: Integration, patch: Mapping[str, Any], shown: Mapping[str, Any]) -> Integration:
    """Return the integration with the patch applied; `shown` is its document.

    Raises InvalidIntegration, which names every wrong field, or every secret that must be given again because
    it would go elsewhere.
    """
    wrong = list(_read_only_ones(patch, shown))
    if patch.get("type", old.type) != old.type:
        hint = "create another integration, and delete this one"
        wrong.append(InvalidIntegration("type", "cannot be changed", hint))
        # Judged as what it is: the fields of another type would all be strange to it.
        raise at_once(wrong)
    values = old.model_dump()
    before = {name: values[name] for name in COMMON} | values["destination"]
    kept: set[str] = set()

    def merge() -> dict[str, Any]:
        merged = _merged(before, patch, shown, "")
        # What a request brings is text.
        kept.update(path for path, _ in secrets_within(merged))
        return merged

    new = _integration(merge, old.id, old.tenant_id, wrong)
    require_again(old, new, kept)
    return new


def _read_only_ones(given: Mapping[str, Any], shown: Mapping[str, Any]) -> Iterator[InvalidIntegration]:
    for name in READ_ONLY:
        if name in given and given[name] != shown.get(name):
            yield InvalidIntegration(
                name, "is not for you to set", "leave it out, or as you have read it last"
            )


def _integration(
    merge: Callable[[], dict[str, Any]],
    integration_id: str,
    tenant_id: str,
    wrong: list[InvalidIntegration],
) -> Integration:
    try:
        flat = merge()
        common = {name: flat.pop(name) for name in COMMON if name in flat}
        whole = {**common, "id": integration_id, "tenant_id": tenant_id, "destination": flat}
        integration = judged_whole(whole, REMEDY)
    except InvalidIntegration as error:
        raise at_once([*wrong, *map(_without_commands, error.all)]) from None
    if wrong:
        raise at_once(wrong)
    return integration


def _without_commands(error: InvalidInput) -> InvalidIntegration:
    """Leave out which command helps, as a few reasons go on to say."""
    return InvalidIntegration(error.field, error.reason.partition(", as `siem ")[0], error.hint)


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
    if isinstance(before, SecretUrl) and isinstance(given, str):
        return before if given == shown else before.with_kept(given)
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
