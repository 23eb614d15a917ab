"""Secrets that stand sealed in the ledger, and that cannot be opened here.

Either none of the keys at hand opens one, or it was sealed for another place (`worker.vault.places`).
It stands in the place of a `SecretStr`, so that the integration can still be listed, changed, paused and
saved: what cannot be opened is written back sealed as it is.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from pydantic import SecretStr

from worker.integrations.secret_urls import SecretUrl, UnreadableUrl
from worker.model.errors import SecretMoved, SecretUnreadable

if TYPE_CHECKING:
    from worker.integrations.integration import Integration


_UNREADABLE = (
    "{} of integration {} cannot be opened: SIEM_SECRET_KEYS lacks the key that sealed it; add that key "
    "again, or set the secret again"
)
_MOVED = (
    "{} of integration {} is not used: it was sealed for another address, TLS option or integration, so "
    "somebody has changed the stored integration directly; a recorder renews the copy in Redis within "
    "seconds, and if this stays, set the secret again"
)


class UnreadableSecret(SecretStr):
    """A secret of which only the sealed text is known; to ask for its value raises SecretUnreadable.

    `moved` is whether a key opens it, but it was sealed for another place than the one where it stands.
    """

    def __init__(self, sealed: str, *, moved: bool = False) -> None:
        """Keep the sealed text."""
        super().__init__("")
        self.sealed = sealed
        self.moved = moved

    def get_secret_value(self) -> NoReturn:
        """Raise SecretUnreadable."""
        raise SecretUnreadable

    def __eq__(self, other: object) -> bool:
        """Be equal to the same sealed text alone."""
        return isinstance(other, UnreadableSecret) and other.sealed == self.sealed

    def __hash__(self) -> int:
        """Hash the sealed text."""
        return hash(self.sealed)

    def __len__(self) -> int:
        """Tell nothing of its length."""
        return 0


def is_secret_readable(secret: SecretStr) -> bool:
    """Whether the secret has a value to check and to send."""
    return not isinstance(secret, UnreadableSecret)


def secrets_in(integration: "Integration") -> Iterator[tuple[str, SecretStr]]:
    """Yield each secret with its path in the destination: `token`, `auth.value`, `headers.X-Team`.

    A url is one as well if it has a query.
    """
    yield from secrets_within(integration.destination.model_dump())


def secrets_within(values: Mapping[str, Any]) -> Iterator[tuple[str, SecretStr]]:
    """Yield each secret of the fields of a destination, with its path."""
    for name, value in values.items():
        yield from _within(name, value)


def unreadable_in(integration: "Integration") -> list[str]:
    """Return the paths of those of its secrets that no key opens."""
    return [path for path, secret in secrets_in(integration) if not is_secret_readable(secret)]


def moved_in(integration: "Integration") -> list[str]:
    """Return the paths of those of its secrets that were sealed for another place."""
    found = secrets_in(integration)
    return [path for path, secret in found if isinstance(secret, UnreadableSecret) and secret.moved]


def require_in_place(integration: "Integration") -> None:
    """Raise SecretMoved, which names fields and what mends it, if one was sealed for another place."""
    if moved := moved_in(integration):
        raise SecretMoved(_MOVED.format(", ".join(moved), integration.name))


def require_readable_secrets(integration: "Integration") -> None:
    """Raise SecretUnreadable, which names fields and what mends it, unless all its secrets have values."""
    require_in_place(integration)
    if unreadable := unreadable_in(integration):
        raise SecretUnreadable(_UNREADABLE.format(", ".join(unreadable), integration.name))


def _within(path: str, value: Any) -> Iterator[tuple[str, SecretStr]]:
    match value:
        case UnreadableUrl(sealed=sealed, moved=moved):
            yield path, UnreadableSecret(sealed, moved=moved)
        case SecretUrl() if value.has_query:
            yield path, SecretStr(value)
        case SecretStr():
            yield path, value
        case Mapping():
            for key, item in value.items():
                yield from _within(f"{path}.{key}", item)
        case list() | tuple():
            for place, item in enumerate(value):
                yield from _within(f"{path}.{place}", item)
