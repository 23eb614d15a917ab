"""Where a secret of an integration goes, and who can read it there.

A sealed secret is bound to its place, which is the integration, the field, the whole url, the other side's
proof of who it is, and, of a key in a header, that header: what was sealed for one place opens in no other.

Whoever changes an integration may keep its secrets as long as they go to the same server, at whichever of its
paths, which proves who it is as it did before. Where that changes, every secret is given again: it is
write-only, and would else be read by sending it to a server of one's own.
"""

import contextlib
import json
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from worker.integrations.secret_urls import UnreadableUrl
from worker.integrations.secrets import is_secret_readable, secrets_in
from worker.integrations.urls import with_ascii_host
from worker.model.errors import InvalidIntegration

if TYPE_CHECKING:
    from worker.integrations.integration import Integration

#: Who the other side must prove to be: fields of any destination.
_PROOF = ("verify_tls", "ca_pem", "tls_server_name")
#: What a bearer token or an API key goes with.
_AUTH = ("kind", "header")
#: The ports of urls that name none.
_PORTS = {"http": 80, "https": 443, "syslog": 514, "syslog+udp": 514, "syslog+tls": 6514}
_ENCRYPTED = frozenset({"https", "syslog+tls"})

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

    `kept` are the paths of the secrets of the new integration that nobody has given with this change. Raises
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


def _other_server(old: Any, new: Any) -> str | None:
    """Say what has secrets go to, or be read by, somebody else; None if nothing does."""
    if _server(old.url) != _server(new.url):
        return "url has another scheme, host or port"
    if urlsplit(new.url).scheme not in _ENCRYPTED or not old.verify_tls:
        return None
    if not new.verify_tls:
        return "verify_tls is off: anybody could pretend to be that server"
    changed = [field for field in ("ca_pem", "tls_server_name") if getattr(old, field) != getattr(new, field)]
    return f"{' and '.join(changed)} let another server prove to be that one" if changed else None


def _server(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def _other_header(old: Any, new: Any, path: str) -> str | None:
    """Say that an API key would stand in another header; names of headers know no case (RFC 9110, 5.1)."""
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
