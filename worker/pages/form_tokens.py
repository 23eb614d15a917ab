"""The token that each form carries: whose form it is, where it stands, and a name that no other form has.

It is sealed with the vault's key, so that no one else can make one. By its name a form that comes twice is
carried out once (`worker.pages.idempotency`), and what was typed into it is kept while it cannot be saved
(`worker.pages.drafts`), also when the session has ended meanwhile. It does not prove that a form is sent from
a page of ours: that is the session's own proof.
"""

import hashlib
import secrets
import time
from collections.abc import Mapping
from typing import Self

import msgspec
from starlette.datastructures import FormData

from worker.broker.sessions import LONGEST
from worker.model.errors import SecretUnreadable
from worker.model.untrusted_json import DAMAGED
from worker.vault.vault import Vault

#: What a token is bound to: no other sealed text is one.
_PLACE = "form token"
#: The field of a form that carries it.
FORM_FIELD = "form"


class FormToken(msgspec.Struct, frozen=True):
    """One form that was shown: its name, whose it is, and the path of its page ("" for a mere button).

    `seen` has the digest of what stood in each field, to find what a user has changed. It is good until
    `until_ms` (ms since 1970 UTC).
    """

    name: str
    tenant_id: str
    key_id: str
    place: str
    until_ms: int
    seen: dict[str, str] = {}

    @classmethod
    def of(cls, tenant_id: str, key_id: str, place: str = "", seen: Mapping[str, str] | None = None) -> Self:
        """Make one with a new name; `seen` are the texts that stand in the form, by field."""
        digests = {name: field_digest(text) for name, text in (seen or {}).items()}
        until_ms = time.time_ns() // 1_000_000 + LONGEST * 1000
        return cls(secrets.token_urlsafe(16), tenant_id, key_id, place, until_ms, digests)

    def sealed(self, vault: Vault) -> str:
        """Return the text that stands in the form."""
        return vault.seal(_encode(self).decode(), _PLACE)


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(FormToken).decode


def token_in(form: FormData, vault: Vault) -> FormToken | None:
    """Return the token of a form, or None: without one, or with one that is too old, it works as well."""
    text = form.get(FORM_FIELD)
    try:
        token = _decode(vault.open_bound(text if isinstance(text, str) else "", _PLACE))
    except (SecretUnreadable, *DAMAGED):
        return None
    return token if token.until_ms > time.time_ns() // 1_000_000 else None


def field_digest(text: str) -> str:
    """Return what stands for the text of a field."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:12]
