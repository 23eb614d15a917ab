"""Each sealed secret: which key sealed it, and whether it is bound to its place."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from worker.model.errors import SecretUnreadable
from worker.vault.fields import sealed_in
from worker.vault.places import has_clear_query, stands_right
from worker.vault.vault import Vault


class Binding(StrEnum):
    """How a secret stands in its place."""

    BOUND = "bound"
    #: An earlier release sealed it, for any place.
    UNBOUND = "unbound"
    #: It was sealed for another place: it is not used.
    MOVED = "moved"
    #: A url with a query that an earlier release left in the clear.
    CLEAR = "clear"
    #: No key opens it, so it is not known.
    UNKNOWN = "unknown"


class SealedSecret(NamedTuple):
    """A secret of an integration: `path` is that of the API, such as `auth.value`.

    `key` is the place in SIEM_SECRET_KEYS of the key that opens it, 0 being the one that seals; None when
    none of them does, or it is not sealed.
    """

    integration_id: str
    name: str
    tenant_id: str
    path: str
    key: int | None
    binding: Binding = Binding.BOUND

    @property
    def is_current(self) -> bool:
        """Whether the key that seals has sealed it for this place."""
        return self.key == 0 and self.binding is Binding.BOUND

    @property
    def can_be_resealed(self) -> bool:
        """Whether sealing it again makes it current."""
        if self.binding is Binding.CLEAR:
            return True
        return self.key is not None and self.binding is not Binding.MOVED and not self.is_current


def secrets_in_document(document: Mapping[str, Any], vault: Vault) -> list[SealedSecret]:
    """Return the secrets of one sealed document, wherever it stands; none of a deleted integration's.

    Nor of what is no integration: in Redis anything may stand, which no worker uses.
    """
    whose: tuple[Any, Any, Any]
    whose = document.get("id"), document.get("name", ""), document.get("tenant_id", "")
    if not all(isinstance(one, str) for one in whose):
        return []
    try:
        sealed = sealed_in(document)
    except RecursionError:
        return []
    found = [
        SealedSecret(*whose, path, vault.key_of(text), _binding(document, path, text, vault))
        for path, text in sealed.items()
    ]
    clear = [SealedSecret(*whose, "url", None, Binding.CLEAR)] if has_clear_query(document) else []
    return [*clear, *found]


def _binding(document: Mapping[str, Any], path: str, text: str, vault: Vault) -> Binding:
    try:
        if not stands_right(document, path, text, vault):
            return Binding.MOVED
        return Binding.BOUND if vault.is_bound(text) else Binding.UNBOUND
    except SecretUnreadable:
        return Binding.UNKNOWN
