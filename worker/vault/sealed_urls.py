"""The url of a sealed document, which is sealed itself if it has a query."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from worker.integrations.secret_urls import SecretUrl, UnreadableUrl, masked_url
from worker.model.errors import SecretMoved, SecretUnreadable
from worker.vault.places import place_of

if TYPE_CHECKING:
    from worker.vault.vault import Vault

_BEHIND_SERVER = re.compile("[/?#]")


def secret_place(document: Mapping[str, Any], path: str, url: str | None) -> str:
    """Return the place of the secret at this path (`worker.vault.places`); `url` is in the clear."""
    return place_of(document, path, None if path == "url" else url)


def open_url(document: Mapping[str, Any], vault: "Vault") -> str | None:
    """Return the url in the clear; an UnreadableUrl if it cannot be opened, None if there is none.

    No release has sealed a url for any place.
    """
    destination = document.get("destination")
    url = destination.get("url") if isinstance(destination, Mapping) else None
    match url:
        case {"$sealed": str() as sealed}:
            try:
                return vault.open_bound(sealed, secret_place(document, "url", None))
            except SecretUnreadable as error:
                return UnreadableUrl(sealed, moved=isinstance(error, SecretMoved))
        case str():
            return url
        case _:
            return None


def shown_url(document: Mapping[str, Any], vault: "Vault") -> str | None:
    """Return the url of a sealed document as it may be shown; None if it cannot be opened."""
    url = open_url(document, vault)
    return None if url is None or isinstance(url, UnreadableUrl) else masked_url(url)


def has_clear_query(document: Mapping[str, Any]) -> bool:
    """Whether the url has a query and stands in the clear, as the release before left it."""
    destination = document.get("destination")
    url = destination.get("url") if isinstance(destination, Mapping) else None
    return isinstance(url, str) and SecretUrl(url).has_query


def server_in(url: str) -> str:
    """Return scheme, host and port of a url, whatever else is wrong with it (RFC 3986, 3.2)."""
    scheme, mark, rest = url.partition("://")
    return scheme + mark + _BEHIND_SERVER.split(rest, maxsplit=1)[0]
