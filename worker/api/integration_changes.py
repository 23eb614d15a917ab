"""Saves what a request says of an integration, as a new one or as a change, and publishes it.

From what a request says of an integration to the integration.

Input: a flat object, whole or as a JSON merge patch (RFC 7396), and the integration as it was. Output:
the integration as it is to be. A secret that is left out stays, and so does one whose mark is sent back,
unless it would go to another server than before (`worker.vault.places`).
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from worker.api.resources import Resources
from worker.broker.locks import check_claim
from worker.broker.snapshot import publish_integrations, publish_some
from worker.integrations.integration import Integration, at_once, secrets_within
from worker.integrations.secrets import SecretUrl
from worker.ledger.engine import ledger_id
from worker.ledger.integrations import IntegrationStore
from worker.model.errors import (
    BrokerUnavailable,
    InvalidInput,
    InvalidIntegration,
    NotFoundError,
    RevisionConflict,
)
from worker.model.log_events import INTEGRATION_ANNOUNCE_DEFERRED
from worker.transports.tls import judged_whole
from worker.vault.places import require_again
from worker.views.integrations import COMMON, READ_ONLY, integration_document

SCHEMA_HINT = "see the schema and the examples in /openapi.json"
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
        integration = judged_whole(whole, SCHEMA_HINT)
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
    return InvalidIntegration(path, "does not say which secret to keep", "give the secret itself")


_MOST_NUMBERED = 20
#: A name has 200 characters at the most; some are left for a number.
_LONGEST_HOST = 80


def names_for(given: dict[str, Any], integration_id: str) -> Iterator[str]:
    """Yield names that no other has: its type and host, then with a number, at last with its id."""
    kind, url = given.get("type"), given.get("url")
    try:
        host = urlsplit(url).hostname if isinstance(url, str) else None
    except ValueError:
        host = None
    name = " ".join(str(part)[:_LONGEST_HOST] for part in (kind, host) if _is_fit(part)) or "integration"
    yield name
    yield from (f"{name} {number}" for number in range(2, _MOST_NUMBERED))
    yield f"{name} {integration_id}"


def _is_fit(part: object) -> bool:
    return isinstance(part, str) and part.isprintable() and part != ""


#: How often a change is tried again that another one has overtaken.
_TRIES = 5


def create_integration_of_tenant(
    integrations: IntegrationStore, tenant_id: str, given: dict[str, Any], integration_id: str, *, again: bool
) -> None:
    """Create it under this id; nothing is done if that was done `again`. Raises InvalidIntegration."""
    if again and _is_there(integrations, integration_id):
        return
    names = list(_names(given, integration_id))
    for name in names:
        integration = created({**given, "name": name}, integration_id, tenant_id)
        try:
            integrations.create(integration)
        except InvalidIntegration as error:
            if error.field != "name" or name is names[-1]:
                raise
        else:
            return


def change(
    integrations: IntegrationStore, integration_id: str, patch: dict[str, Any], seen: Collection[int] | None
) -> None:
    """Apply a merge patch to one. Raises NotFoundError, ChangedMeanwhile, InvalidIntegration."""
    for left in reversed(range(_TRIES)):
        shown = integrations.show(integration_id)
        if seen is not None and shown.revision not in seen:
            raise RevisionConflict
        apply = partial(changed, patch=patch, shown=integration_document(shown))
        try:
            integrations.change(integration_id, apply, {shown.revision})
        except RevisionConflict:
            if seen is not None or not left:
                raise
        else:
            return


def _names(given: dict[str, Any], integration_id: str) -> Iterator[Any]:
    if given.get("name") is None:
        yield from names_for(given, integration_id)
    else:
        yield given["name"]


def _is_there(integrations: IntegrationStore, integration_id: str) -> bool:
    try:
        integrations.show(integration_id)
    except NotFoundError:
        return False
    return True


log = logging.getLogger(__name__)


def refresh_integration(resources: Resources, integration_id: str) -> None:
    """Publish the change to the fleet; while Redis is away, it is saved, and a recorder publishes it later.

    Reads and writes this one integration, unless Redis has none yet.
    """
    store, slots = resources.all_integrations(), resources.config.slots
    records = store.records([integration_id])
    try:
        check_claim(resources.client, ledger_id(resources.engine))
        if publish_some(resources.client, records, slots) is None:
            publish_integrations(resources.client, store.records(), slots)
    except BrokerUnavailable as error:
        INTEGRATION_ANNOUNCE_DEFERRED.log(log, error=str(error))
