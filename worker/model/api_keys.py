"""API keys: what one looks like, what it may do, and how it is recognised without being kept.

A key is `siem_<its id>_<256 random bits>`. Only the SHA-256 of the whole is stored: so many random bits need
no slow hash, because there are too many to try.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from enum import StrEnum

_FORM = re.compile(r"siem_([0-9a-f]{16})_[0-9a-f]{64}")
#: Compared with when there is nothing to compare with, so that this takes no less time.
NO_DIGEST = "0" * 64


class Role(StrEnum):
    """What the bearer of a key may do, within the key's tenant."""

    #: Everything.
    ADMIN = "admin"
    #: Read whatever is there, and change nothing.
    READ_ONLY = "read-only"
    #: Publish events, and see nothing of what becomes of them.
    PUBLISH_ONLY = "publish-only"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as the ledger knows it. Times are milliseconds since 1970 UTC."""

    id: str
    tenant_id: str
    name: str
    role: Role
    created_ms: int
    revoked_ms: int | None = None


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A key that was just made, with its text, which is shown once."""

    key: ApiKey
    text: str = field(repr=False)


def make_text(key_id: str) -> str:
    """Return the text of a new key."""
    return f"siem_{key_id}_{secrets.token_hex(32)}"


def make_id() -> str:
    """Return the id of a new key."""
    return secrets.token_hex(8)


def key_id_of(text: str) -> str | None:
    """Return the id that a key's text names; None when it is no such text."""
    found = _FORM.fullmatch(text)
    return found[1] if found else None


def key_digest(text: str) -> str:
    """Return what is stored of a key: 64 hexadecimal digits."""
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def matches(text: str, digest: str) -> bool:
    """Whether the digest is of this text; takes as long for a near miss as for a far one."""
    return hmac.compare_digest(key_digest(text), digest)
