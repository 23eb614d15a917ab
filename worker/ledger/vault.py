"""Seals secrets before they rest, and opens them for those who send.

Comes in: an integration whose secrets are `SecretStr`. Goes out: a document of plain JSON values in
which each of them is sealed (Fernet: AES-128-CBC with HMAC-SHA256), and back again. A secret is known
by its type, so a new kind of destination changes nothing here.
"""

import base64
import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet, InvalidToken
from pydantic import SecretStr
from pydantic_core import to_jsonable_python

from worker.model.errors import InvalidSetting, SecretUnreadable
from worker.model.integrations import Integration, parse_integration
from worker.model.secrets import UnreadableSecret, is_readable, require_readable
from worker.settings import Settings

_SETTING = "SIEM_SECRET_KEYS"
_REMEDY = "give 32 random bytes in URL-safe base64, as `siem secrets new-key` prints them"

_KEY_FILE = "secret.key"
#: What a sealed secret is the only value of.
_SEALED = "$sealed"


class Vault:
    """Seals with the first of its keys, opens with any of them.

    `fingerprints` name the keys, in their order, without telling anything of them: 8 hexadecimal digits of
    the SHA-256 of each.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        """Take Fernet keys, the newest first. Raises InvalidSetting when one of them is none."""
        if not keys:
            raise InvalidSetting(_SETTING, "holds no key", _REMEDY)
        self._fernets = [_fernet(key, place) for place, key in enumerate(keys, start=1)]
        self.fingerprints = tuple(_fingerprint(key) for key in keys)

    def seal(self, text: str) -> str:
        """Encrypt; the same text is sealed differently each time."""
        return self._fernets[0].encrypt(text.encode()).decode()

    def open(self, sealed: str) -> str:
        """Decrypt. Raises SecretUnreadable when no key opens it."""
        return self._opened(sealed)[1]

    def key_of(self, sealed: str) -> int | None:
        """Return which of the keys opens it, 0 being the one that seals; None when none does."""
        try:
            return self._opened(sealed)[0]
        except SecretUnreadable:
            return None

    def opens(self, sealed: str) -> bool:
        """Whether one of the keys opens it."""
        return self.key_of(sealed) is not None

    def _opened(self, sealed: str) -> tuple[int, str]:
        for place, fernet in enumerate(self._fernets):
            with contextlib.suppress(InvalidToken):
                return place, fernet.decrypt(sealed.encode()).decode()
        raise SecretUnreadable


def open_vault(settings: Settings) -> Vault:
    """Return the vault with the keys of SIEM_SECRET_KEYS, or with the key in the data directory.

    That key is made when it is not there yet; processes that make it at once agree on one. Raises
    InvalidSetting when a key is malformed, or the file cannot be read or made.
    """
    given = settings.secret_keys.get_secret_value()
    if given:
        return Vault([key.strip() for key in given.split(",") if key.strip()])
    path = settings.data_dir / _KEY_FILE
    try:
        key = _key_in(path)
    except OSError as error:
        raise InvalidSetting(
            "SIEM_DATA_DIR", f"{path} cannot be used ({error.strerror})", f"mend that, or set {_SETTING}"
        ) from None
    try:
        return Vault([key])
    except InvalidSetting:
        raise InvalidSetting(
            str(path), "does not hold a Fernet key", f"restore that file, or set {_SETTING}"
        ) from None


def seal_document(integration: Integration, vault: Vault) -> dict[str, Any]:
    """Return the integration as plain JSON values, every secret sealed; one that no key opens stays so."""

    def sealed(secret: SecretStr) -> dict[str, str]:
        if isinstance(secret, UnreadableSecret):
            return {_SEALED: secret.sealed}
        return {_SEALED: vault.seal(secret.get_secret_value())}

    return _document(integration, sealed)


def public_document(integration: Integration) -> dict[str, Any]:
    """Return the integration as plain JSON values for anybody to read: of a secret, only that it is set.

    Or that it is "unreadable": set, and sealed with a key that is not at hand.
    """
    return _document(integration, lambda secret: "set" if is_readable(secret) else "unreadable")


def open_document(document: Mapping[str, Any], vault: Vault) -> Integration:
    """Return the integration of a sealed document, to send with.

    Raises SecretUnreadable, naming the integration and its fields, when none of the keys at hand opens one
    of its secrets, and InvalidIntegration when this release cannot read the document.
    """
    integration = read_document(document, vault)
    require_readable(integration)
    return integration


def read_document(document: Mapping[str, Any], vault: Vault) -> Integration:
    """Return the integration of a sealed document, to show and to change.

    What none of the keys opens is an UnreadableSecret. Raises InvalidIntegration when this release cannot
    read the document.
    """

    def opened(sealed: str) -> str | UnreadableSecret:
        try:
            return vault.open(sealed)
        except SecretUnreadable:
            return UnreadableSecret(sealed)

    return parse_integration(_replaced(document, opened), stored=True)


def reseal(document: Mapping[str, Any], vault: Vault) -> dict[str, Any]:
    """Return the sealed document with every secret that an older key opens sealed with the first one."""

    def anew(sealed: str) -> dict[str, str]:
        is_older = (vault.key_of(sealed) or 0) > 0
        return {_SEALED: vault.seal(vault.open(sealed)) if is_older else sealed}

    return dict(_replaced(document, anew))


def sealed_in(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the sealed text of each secret by its path in the destination, as `auth.value`."""
    return dict(_sealed_within("", document.get("destination", {})))


def forget_secrets(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sealed document with null for every secret. Needs no key."""
    return dict(_replaced(document, lambda _sealed: None))


def new_key() -> str:
    """Return a new key for SIEM_SECRET_KEYS."""
    return Fernet.generate_key().decode()


def _fingerprint(key: str) -> str:
    return hashlib.sha256(base64.urlsafe_b64decode(key)).hexdigest()[:8]


def _fernet(key: str, place: int) -> Fernet:
    try:
        return Fernet(key)
    except ValueError:
        raise InvalidSetting(_SETTING, f"its key number {place} is not a Fernet key", _REMEDY) from None


def _key_in(path: Path) -> str:
    if not path.exists():
        _make_key(path)
    return path.read_text().strip()


def _make_key(path: Path) -> None:
    """Write a new key under another name, then link it: nobody sees half a key, and the first one stays."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(Fernet.generate_key() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        _link_unless_there(draft, path)
    finally:
        draft.unlink()


def _link_unless_there(draft: Path, path: Path) -> None:
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # else a power cut could take the key, and every secret with it
    finally:
        os.close(folder)


def _document(integration: Integration, conceal: Callable[[SecretStr], Any]) -> dict[str, Any]:
    document = _jsonable(integration.model_dump(mode="python"), conceal)
    return {str(field): value for field, value in document.items()}


def _jsonable(value: Any, conceal: Callable[[SecretStr], Any]) -> Any:
    match value:
        case SecretStr():
            return conceal(value)
        case Mapping():
            return {key: _jsonable(item, conceal) for key, item in value.items()}
        case set() | frozenset():
            return sorted(_jsonable(item, conceal) for item in value)
        case list() | tuple():
            return [_jsonable(item, conceal) for item in value]
        case _:
            return to_jsonable_python(value)


def _replaced(value: Any, replace: Callable[[str], Any]) -> Any:
    """Return the value with each sealed secret in it replaced."""
    match value:
        case {"$sealed": str() as sealed, **others} if not others:
            return replace(sealed)
        case Mapping():
            return {key: _replaced(item, replace) for key, item in value.items()}
        case list():
            return [_replaced(item, replace) for item in value]
        case _:
            return value


def _sealed_within(path: str, value: Any) -> Iterator[tuple[str, str]]:
    match value:
        case {"$sealed": str() as sealed, **others} if not others:
            yield path, sealed
        case Mapping():
            for key, item in value.items():
                yield from _sealed_within(f"{path}.{key}".removeprefix("."), item)
        case list():
            for place, item in enumerate(value):
                yield from _sealed_within(f"{path}.{place}", item)
