"""Integrations as sealed documents: sealed, opened, shown, forgotten.

A url with a query is sealed as a whole in its own field, which release 0.1.0 opens as well: its workers
deliver, and its API changes it, but shows a mark in its place, and its page with the list fails. So recorders
leave urls as they are while an API of that release runs; what this release saves, it seals at once.
"""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from worker.integrations.integration import Integration, parse_integration, require_readable_secrets
from worker.integrations.secrets import SecretUrl, UnreadableSecret, UnreadableUrl, masked_url
from worker.model.errors import SecretMoved, SecretUnreadable
from worker.vault.fields import concealed, replaced, require_sealed
from worker.vault.places import has_clear_query, open_url, secret_place, server_in, url_first
from worker.vault.vault import Vault

#: What a sealed secret is the only value of.
_SEALED = "$sealed"


#: A field of a deleted integration that is longer as JSON is not kept; of a url, its server is.
_LARGE = 1000


def seal_document(integration: Integration, vault: Vault) -> dict[str, Any]:
    """Return the integration as plain JSON values, every secret sealed; one that no key opens stays so.

    A secret is known by its type, so a new kind of destination changes nothing here. Raises
    InvalidIntegration if the url cannot be opened and a secret would have to be bound to it.
    """
    plain = concealed(integration, lambda _path, secret: secret)
    url = plain["destination"].get("url")

    def sealed(path: str, secret: SecretStr | SecretUrl) -> Any:
        if isinstance(secret, UnreadableSecret | UnreadableUrl):
            return {_SEALED: secret.sealed}
        if isinstance(secret, SecretUrl):
            return (
                {_SEALED: vault.seal(secret, secret_place(plain, path, url))}
                if secret.has_query
                else str(secret)
            )
        if isinstance(url, UnreadableUrl):
            raise url_first()
        return {_SEALED: vault.seal(secret.get_secret_value(), secret_place(plain, path, url))}

    return concealed(integration, sealed)


def open_document(document: Mapping[str, Any], vault: Vault) -> Integration:
    """Return the integration of a sealed document, to send with.

    Raises SecretUnreadable, naming the integration and its fields, when one of its secrets cannot be opened
    with the keys at hand or was sealed for another place (SecretMoved), and InvalidIntegration when this
    release cannot read the document.
    """
    integration = read_document(document, vault)
    require_readable_secrets(integration)
    return integration


def read_document(document: Mapping[str, Any], vault: Vault) -> Integration:
    """Return the integration of a sealed document, to show and to change.

    What cannot be opened is an UnreadableSecret. A secret is opened as a SecretStr, which no field takes that
    holds none. Raises InvalidIntegration when this release cannot read the document, or a secret of it stands
    unsealed.
    """
    url = open_url(document, vault)

    def opened(path: str, sealed: str) -> SecretStr | str | None:
        if path == "url":
            return url
        if isinstance(url, UnreadableUrl):
            return UnreadableSecret(sealed)
        try:
            return SecretStr(vault.open(sealed, secret_place(document, path, url)))
        except SecretUnreadable as error:
            return UnreadableSecret(sealed, moved=isinstance(error, SecretMoved))

    integration = parse_integration(replaced(document, opened), stored=True)
    require_sealed(document, integration)
    return integration


def reseal_document(document: Mapping[str, Any], vault: Vault, *, keep_keys: bool = False) -> dict[str, Any]:
    """Return the sealed document, bound, with every secret that an older key opens sealed with the first one.

    With `keep_keys`, each is sealed with the key that opens it. What cannot be opened stays as it is. A url
    with a query that stands in the clear, as the release before left it, is sealed.
    """
    url = open_url(document, vault)

    def seal_again(path: str, sealed: str) -> dict[str, str]:
        key, place = vault.key_of(sealed), secret_place(document, path, url)
        if (
            isinstance(url, UnreadableUrl)
            or key is None
            or (vault.is_bound(sealed) and (key == 0 or keep_keys))
        ):
            return {_SEALED: sealed}
        try:
            text = vault.open(sealed, place)
        except SecretMoved:
            return {_SEALED: sealed}
        return {_SEALED: vault.seal(text, place, key=key if keep_keys else 0)}

    new = replaced(document, seal_again)
    if has_clear_query(document):
        sealed = {_SEALED: vault.seal(str(url), secret_place(document, "url", url))}
        new["destination"] = {**new["destination"], "url": sealed}
    return new


def forget_secrets(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sealed document with null for every secret, and for what is large. Needs no key.

    What was deleted is kept for its name: its certificates, or the path of its url, would fill the ledger of
    a tenant that creates and deletes again and again.
    """
    forgotten = replaced(document, lambda _path, _sealed: None)
    fields = forgotten["destination"]
    if has_clear_query(document):
        fields = {**fields, "url": masked_url(fields["url"])}
    large = {name for name, value in fields.items() if len(json.dumps(value)) > _LARGE}
    short = {name: None if name in large else value for name, value in fields.items()}
    if "url" in large and isinstance(fields["url"], str):
        short["url"] = server_in(fields["url"])[:_LARGE]
    return {**forgotten, "destination": short}
