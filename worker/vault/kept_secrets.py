"""Secrets that this process cannot open where they stand.

A change that keeps one writes its sealed text back as it is, so it opens later only where it stood before.
"""

from collections.abc import Mapping
from typing import Any

from worker.integrations.integration import Integration, at_once
from worker.integrations.secrets import moved_in, unreadable_in
from worker.model.errors import InvalidIntegration, SecretUnreadable
from worker.vault.fields import sealed_in
from worker.vault.sealed_urls import open_url, secret_place
from worker.vault.vault import Vault, stands_right

_LOST = "cannot be kept in another place: SIEM_SECRET_KEYS lacks the key that sealed it"
_MOVED = "cannot be kept in another place: it was sealed for another one already, and is not used"
_REMEDY = "give it again with this change, or take it out"


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
        raise at_once(
            [InvalidIntegration(path, _MOVED if path in moved else _LOST, _REMEDY) for path in wrong]
        )


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
