"""Where a secret of an integration goes, and who can read it there.

A sealed secret is bound to its place, which is the integration, the field, the whole url, the other side's
proof of who it is, and, of a key in a header, that header: what was sealed for one place opens in no other.
"""

import json
from collections.abc import Mapping
from typing import Any

#: Who the other side must prove to be: fields of any destination.
_PROOF = ("verify_tls", "ca_pem", "tls_server_name")
#: What a bearer token or an API key goes with.
_AUTH = ("kind", "header")


def place_of(document: Mapping[str, Any], path: str, url: str | None) -> str:
    """Return the place of the secret at `path` of the destination, such as `auth.value`, as text to compare.

    `document` is an integration as JSON values, in which secrets may be sealed; `url` is the destination's,
    in the clear. The url itself is bound to its integration alone: all other secrets are bound to it.
    """
    destination = _object(document.get("destination"))
    parts = [document.get("id"), document.get("tenant_id", "default"), destination.get("type"), path]
    if path != "url":
        parts += [url, *(destination.get(field) for field in _PROOF)]
    if path.startswith("auth."):
        parts += [_object(destination.get("auth")).get(field) for field in _AUTH]
    return json.dumps(parts)


def _object(value: Any) -> Mapping[str, Any]:
    """Return it if it is one: a document in Redis may be anything."""
    return value if isinstance(value, Mapping) else {}
