"""Where a secret of an integration goes, and who can read it there.

A sealed secret is bound to its place, which is the integration, the field, the whole url, the other side's
proof of who it is, and, of a key in a header, that header: what was sealed for one place opens in no other.

A user who changes an integration may keep its secrets as long as they go to the same server, at whichever
of its paths, which proves who it is as it did before. Where that changes, every secret is given again: it is
write-only, and would else be read by sending it to a server of one's own.

Secrets that this process cannot open where they stand.

A change that keeps one writes its sealed text back as it is, so it opens later only where it stood before.
"""

import contextlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from worker.integrations import DestinationConfig
from worker.integrations.integration import Integration, at_once, moved_in, secrets_in, unreadable_in
from worker.integrations.secrets import SecretUrl, UnreadableUrl, is_secret_readable, masked_url
from worker.integrations.urls import with_ascii_host
from worker.model.errors import InvalidIntegration, SecretMoved, SecretUnreadable
from worker.vault.fields import sealed_in
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


#: Who the other side must prove to be: fields of any destination.
_PROOF = ("verify_tls", "ca_pem", "tls_server_name")
#: What a bearer token or an API key goes with.
_AUTH = ("kind", "header")

_AGAIN = "is kept for the server that it was given for, and {}"
_GIVE_AGAIN = "give it again with this change"


def place_of(document: Mapping[str, Any], path: str, url: str | None) -> str:
    """Return the place of the secret at `path` of the destination, such as `auth.value`, as text to compare.

    `document` is an integration as JSON values, in which secrets may be sealed; `url` is the destination's,
    in the clear, as it was given or with its host in ASCII: both are one place, for an earlier release stored
    it as given, and the next change stores it in ASCII. The url itself is bound to all but itself; all other
    secrets are bound to it.
    """
    destination = _object(document.get("destination"))
    parts = [document.get("id"), document.get("tenant_id", "default"), destination.get("type"), path]
    if path != "url":
        parts.append(url and _in_ascii(url))
    parts += [destination.get(field) for field in _PROOF]
    if path.startswith("auth."):
        parts += [_object(destination.get("auth")).get(field) for field in _AUTH]
    return json.dumps(parts)


def require_again(old: "Integration", new: "Integration", kept: Collection[str]) -> None:
    """Refuse to keep a secret that would go elsewhere than it did.

    `kept` are the paths of the secrets of the new integration that were not given with this change. Raises
    InvalidIntegration, which names every secret to give again, and why.
    """
    wrong = [
        InvalidIntegration(path, _AGAIN.format(why), _GIVE_AGAIN) for path, why in _moved(old, new, kept)
    ]
    if isinstance(new.destination.url, UnreadableUrl) and any(
        is_secret_readable(one) for _, one in secrets_in(new)
    ):
        wrong.append(url_first())
    if wrong:
        first, *others = wrong
        raise InvalidIntegration(first.field, first.reason, first.hint, others)


def url_first() -> InvalidIntegration:
    """Return what to say of secrets that would be bound to a url which cannot be opened."""
    return InvalidIntegration("url", "cannot be opened, and secrets belong to it", _GIVE_AGAIN)


def _moved(old: "Integration", new: "Integration", kept: Collection[str]) -> Iterator[tuple[str, str]]:
    everywhere = _other_server(old.destination, new.destination)
    for path, secret in secrets_in(new):
        if path not in kept:
            continue
        if why := everywhere or _other_header(old.destination, new.destination, path):
            yield path, why
        elif not is_secret_readable(secret) and _place_in(old, path) != _place_in(new, path):
            # What cannot be opened cannot be sealed for another place.
            yield path, "it cannot be opened, to be kept for another url"


def _other_server(old: DestinationConfig, new: DestinationConfig) -> str | None:
    """Return what sends secrets to another server, or lets another read them; None if nothing does."""
    if _server(old) != _server(new):
        return "url has another scheme, host or port"
    if new.SCHEMES.get(urlsplit(new.url).scheme) != "TLS" or not old.verify_tls:
        return None
    if not new.verify_tls:
        return "verify_tls is false: any server could impersonate that one"
    changed = [field for field in ("ca_pem", "tls_server_name") if getattr(old, field) != getattr(new, field)]
    return f"{' and '.join(changed)} let another server prove to be that one" if changed else None


def _server(config: DestinationConfig) -> tuple[str, str | None, int | None]:
    parts = urlsplit(config.url)
    return parts.scheme, parts.hostname, parts.port or config.PORTS.get(parts.scheme)


def _other_header(old: Any, new: Any, path: str) -> str | None:
    """Return that an API key would go in another header; their names know no case (RFC 9110, 5.1)."""
    headers = [getattr(getattr(one, "auth", None), "header", "") for one in (old, new)]
    if path == "auth.value" and headers[0].lower() != headers[1].lower():
        return "auth.header names another header, which others may read"
    return None


def _place_in(integration: "Integration", path: str) -> str:
    own = {"id": integration.id, "tenant_id": integration.tenant_id}
    destination = integration.destination
    return place_of({**own, "destination": destination.model_dump()}, path, destination.url)


def _in_ascii(url: str) -> str:
    with contextlib.suppress(ValueError):
        return with_ascii_host(url)
    return url


def _object(value: Any) -> Mapping[str, Any]:
    """Return it if it is one: a document in Redis may be anything."""
    return value if isinstance(value, Mapping) else {}


def stands_right(document: Mapping[str, Any], path: str, sealed: str, vault: Vault) -> bool:
    """Whether a sealed secret was sealed for this place, or for none. Raises SecretUnreadable."""
    url = open_url(document, vault)
    if isinstance(url, UnreadableUrl):
        if path == "url" and url.moved:
            return False
        raise SecretUnreadable
    try:
        vault.open(sealed, secret_place(document, path, url))
    except SecretMoved:
        return False
    return True


_LOST = "cannot be kept in another place: SIEM_SECRET_KEYS lacks the key that sealed it"
_MOVED = "cannot be kept in another place: it was sealed for another one already, and is not used"
_HINT = "give it again with this change, or take it out"


def require_places(
    before: Mapping[str, Any], after: Mapping[str, Any], new: Integration, vault: Vault
) -> None:
    """Refuse to write back a secret that cannot be opened, unless it stays where it was.

    `before` is the stored document, `after` the one of `new`, both sealed. A place is that of
    `worker.vault.places`. Raises InvalidIntegration, which names every secret to give again.
    """
    stood, stands, moved = _places(before, vault), _places(after, vault), moved_in(new)
    wrong = [path for path in unreadable_in(new) if stood.get(path) != stands[path]]
    if wrong:
        raise at_once([InvalidIntegration(path, _MOVED if path in moved else _LOST, _HINT) for path in wrong])


def opens_there(document: Mapping[str, Any], vault: Vault, path: str, sealed: str) -> bool:
    """Whether the secret at this path of a sealed document can be used: a key opens it, in its own place."""
    try:
        return stands_right(document, path, sealed, vault)
    except SecretUnreadable:
        return False


def _places(document: Mapping[str, Any], vault: Vault) -> dict[str, tuple[str, str]]:
    """Return sealed text and place of each secret, by its path."""
    url = open_url(document, vault)
    return {path: (sealed, secret_place(document, path, url)) for path, sealed in sealed_in(document).items()}
