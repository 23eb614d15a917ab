"""The values of an integration's document, of which secrets are visited with their path in the destination.

A path is that of the API, such as `token`, `auth.value`, `headers.X-Team` or `signing_secrets.0`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import SecretStr
from pydantic_core import to_jsonable_python

from worker.integrations.integration import Integration, at_once, secrets_in
from worker.integrations.secrets import SecretUrl
from worker.model.errors import InvalidIntegration

#: Says what stands for a secret at its path, or for a url, which may hold one.
Conceal = Callable[[str, SecretStr | SecretUrl], Any]

_CLEAR = "is not sealed, so the stored integration was modified outside of siem"
_RENEWED = "a recorder renews the copy in Redis within seconds; in the database, take it out"


def concealed(integration: Integration, conceal: Conceal) -> dict[str, Any]:
    """Return the integration as plain JSON values; `conceal` says what stands for a secret at its path."""
    values = integration.model_dump(mode="python")
    destination = values.pop("destination")
    whole = _jsonable("", values, conceal)
    return {**whole, "destination": _jsonable("", destination, conceal)}


def _jsonable(path: str, value: Any, conceal: Conceal) -> Any:
    match value:
        case SecretStr() | SecretUrl():
            return conceal(path, value)
        case Mapping():
            return {str(key): _jsonable(_below(path, key), item, conceal) for key, item in value.items()}
        case set() | frozenset():
            return sorted(_jsonable(path, item, conceal) for item in value)
        case list() | tuple():
            return [_jsonable(_below(path, place), item, conceal) for place, item in enumerate(value)]
        case _:
            return to_jsonable_python(value)


def replaced(document: Mapping[str, Any], replace: Callable[[str, str], Any]) -> dict[str, Any]:
    """Return the document with each sealed secret of its destination replaced, by its path there."""
    return {**document, "destination": _replaced_within("", document.get("destination"), replace)}


def sealed_in(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the sealed text of each secret by its path in the destination, as `auth.value`."""
    found: dict[str, str] = {}
    replaced(document, found.__setitem__)
    return found


def require_sealed(document: Mapping[str, Any], integration: Integration) -> None:
    """Refuse a secret of the integration that stands unsealed in its document.

    Who can write to Redis could set a `Host` header, which goes out beside the token that is sealed. The
    release before seals every secret, too, but leaves a url with a query in the clear. Raises
    InvalidIntegration.
    """
    sealed = sealed_in(document)
    clear = [path for path, _ in secrets_in(integration) if path != "url" and path not in sealed]
    if clear:
        raise at_once([InvalidIntegration(path, _CLEAR, _RENEWED) for path in clear])


def _replaced_within(path: str, value: Any, replace: Callable[[str, str], Any]) -> Any:
    match value:
        case {"$sealed": str() as sealed, **others} if not others:
            return replace(path, sealed)
        case Mapping():
            return {key: _replaced_within(_below(path, key), item, replace) for key, item in value.items()}
        case list():
            return [_replaced_within(_below(path, place), item, replace) for place, item in enumerate(value)]
        case _:
            return value


def _below(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)
