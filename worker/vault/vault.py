"""Seals secrets before they rest, and opens them for those who send.

A secret is sealed with Fernet (AES-128-CBC with HMAC-SHA256) and bound to its place
(`worker.vault.places`), so that whoever can write to Redis cannot have it opened for another address.
A Fernet token says when it was made, in 64 bits that are authenticated and that decryption does not need
(https://github.com/fernet/spec). There stand, behind a first bit that is set, 63 bits of an HMAC-SHA256 of
the place. So the release before this one opens bound secrets as well, without a look at the place. What that
release has sealed is bound to nothing; it is opened, and a recorder seals it again (see
`worker.background.secret_binding`).

A url with a query is sealed as a whole in its own field, which that release opens as well: its workers
deliver, and its API changes it, but shows a mark in its place, and its page with the list fails. So recorders
leave urls as they are while an API of that release runs; what this release saves, it seals at once.
"""

import base64
import contextlib
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.fernet import Fernet, InvalidToken
from pydantic import SecretStr

from worker.integrations.integration import Integration, parse_integration
from worker.integrations.secret_urls import SecretUrl, UnreadableUrl, masked_url
from worker.integrations.secrets import UnreadableSecret, is_secret_readable, require_readable_secrets
from worker.model.errors import InvalidSetting, SecretMoved, SecretUnreadable
from worker.settings import Settings
from worker.vault.fields import concealed, replaced, require_sealed
from worker.vault.key_file import key_in
from worker.vault.places import url_first
from worker.vault.proofs import Signer
from worker.vault.sealed_urls import has_clear_query, open_url, secret_place, server_in

_SETTING = "SIEM_SECRET_KEYS"
_REMEDY = "give 32 random bytes in URL-safe base64, as `siem secrets new-key` prints them"

_KEY_FILE = "secret.key"
#: What a sealed secret is the only value of.
_SEALED = "$sealed"
#: A field of a deleted integration that is longer as JSON is not kept; of a url, its server is.
_LARGE = 1000
#: The first of the 64 bits; no time of a clock has it set.
_BOUND = 1 << 63
_PURPOSE = "seal"


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
        self.proofs = Signer([base64.urlsafe_b64decode(key) for key in keys])

    def seal(self, text: str, place: str | None = None, *, key: int = 0) -> str:
        """Encrypt with the key of this number, and bind to the place unless it is None.

        The same text is sealed differently each time.
        """
        fernet = self._fernets[key]
        if place is None:
            return fernet.encrypt(text.encode()).decode()
        return fernet.encrypt_at_time(text.encode(), self._mark(key, place)).decode()

    def open(self, sealed: str, place: str | None = None) -> str:
        """Decrypt. Raises SecretUnreadable when no key opens it, SecretMoved when it is bound elsewhere."""
        key, mark, text = self._opened(sealed)
        if mark & _BOUND and not (place is not None and _equal(mark, self._mark(key, place))):
            raise SecretMoved
        return text

    def open_bound(self, sealed: str, place: str) -> str:
        """Decrypt what must be bound to this place. Raises what `open` raises."""
        if self.is_bound(sealed):
            return self.open(sealed, place)
        raise SecretMoved

    def key_of(self, sealed: str) -> int | None:
        """Return which of the keys opens it, 0 being the one that seals; None when none does."""
        try:
            return self._opened(sealed)[0]
        except SecretUnreadable:
            return None

    def is_bound(self, sealed: str) -> bool:
        """Whether it is bound to some place. Raises SecretUnreadable when no key opens it."""
        return bool(self._opened(sealed)[1] & _BOUND)

    def _opened(self, sealed: str) -> tuple[int, int, str]:
        """Return the key's number, the 64 bits, and the text."""
        # What is no text, as half a character, stands in JSON all the same: no key opens it.
        token = sealed.encode(errors="replace")
        for key, fernet in enumerate(self._fernets):
            with contextlib.suppress(InvalidToken):
                return key, fernet.extract_timestamp(token), fernet.decrypt(token).decode()
        raise SecretUnreadable

    def _mark(self, key: int, place: str) -> int:
        """Return the 64 bits for that place: whoever lacks the key hits on them once in 2**63 tries."""
        return _BOUND | int.from_bytes(self.proofs.digest(key, _PURPOSE, place)[:8]) >> 1


def _equal(one: int, other: int) -> bool:
    return hmac.compare_digest(one.to_bytes(8), other.to_bytes(8))


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
        key = key_in(path)
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
    """Return the integration as plain JSON values, every secret sealed; one that no key opens stays so.

    A secret is known by its type, so a new kind of destination changes nothing here. Raises
    InvalidIntegration if the url cannot be opened and a secret would have to be bound to it.
    """
    plain = concealed(integration, lambda _path, secret: secret)
    url = plain["destination"].get("url")

    def sealed(path: str, secret: SecretStr | SecretUrl) -> Any:
        if isinstance(secret, UnreadableSecret | UnreadableUrl):
            return {_SEALED: secret.sealed}
        if isinstance(secret, SecretUrl):
            return (
                {_SEALED: vault.seal(secret, secret_place(plain, path, url))}
                if secret.has_query
                else str(secret)
            )
        if isinstance(url, UnreadableUrl):
            raise url_first()
        return {_SEALED: vault.seal(secret.get_secret_value(), secret_place(plain, path, url))}

    return concealed(integration, sealed)


def public_document(integration: Integration) -> dict[str, Any]:
    """Return the integration as plain JSON values for anybody to read: of a secret, only that it is set.

    Or that it is "unreadable": set, and not to be opened here. Of the url, all but the values of its query.
    """

    def shown(_path: str, secret: SecretStr | SecretUrl) -> str:
        if isinstance(secret, SecretUrl):
            return secret.masked
        return "set" if is_secret_readable(secret) else "unreadable"

    return concealed(integration, shown)


def open_document(document: Mapping[str, Any], vault: Vault) -> Integration:
    """Return the integration of a sealed document, to send with.

    Raises SecretUnreadable, naming the integration and its fields, when one of its secrets cannot be opened
    with the keys at hand or was sealed for another place (SecretMoved), and InvalidIntegration when this
    release cannot read the document.
    """
    integration = read_document(document, vault)
    require_readable_secrets(integration)
    return integration


def read_document(document: Mapping[str, Any], vault: Vault) -> Integration:
    """Return the integration of a sealed document, to show and to change.

    What cannot be opened is an UnreadableSecret. A secret is opened as a SecretStr, which no field takes that
    holds none. Raises InvalidIntegration when this release cannot read the document, or a secret of it stands
    unsealed.
    """
    url = open_url(document, vault)

    def opened(path: str, sealed: str) -> SecretStr | str | None:
        if path == "url":
            return url
        if isinstance(url, UnreadableUrl):
            return UnreadableSecret(sealed)
        try:
            return SecretStr(vault.open(sealed, secret_place(document, path, url)))
        except SecretUnreadable as error:
            return UnreadableSecret(sealed, moved=isinstance(error, SecretMoved))

    integration = parse_integration(replaced(document, opened), stored=True)
    require_sealed(document, integration)
    return integration


def reseal_document(document: Mapping[str, Any], vault: Vault, *, keep_keys: bool = False) -> dict[str, Any]:
    """Return the sealed document, bound, with every secret that an older key opens sealed with the first one.

    With `keep_keys`, each is sealed with the key that opens it. What cannot be opened stays as it is. A url
    with a query that stands in the clear, as the release before left it, is sealed.
    """
    url = open_url(document, vault)

    def anew(path: str, sealed: str) -> dict[str, str]:
        key, place = vault.key_of(sealed), secret_place(document, path, url)
        if (
            isinstance(url, UnreadableUrl)
            or key is None
            or (vault.is_bound(sealed) and (key == 0 or keep_keys))
        ):
            return {_SEALED: sealed}
        try:
            text = vault.open(sealed, place)
        except SecretMoved:
            return {_SEALED: sealed}
        return {_SEALED: vault.seal(text, place, key=key if keep_keys else 0)}

    new = replaced(document, anew)
    if has_clear_query(document):
        sealed = {_SEALED: vault.seal(str(url), secret_place(document, "url", url))}
        new["destination"] = {**new["destination"], "url": sealed}
    return new


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


def forget_secrets(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sealed document with null for every secret, and for what is large. Needs no key.

    What was deleted is kept for its name: its certificates, or the path of its url, would fill the ledger of
    a tenant that creates and deletes again and again.
    """
    forgotten = replaced(document, lambda _path, _sealed: None)
    fields = forgotten["destination"]
    if has_clear_query(document):
        fields = {**fields, "url": masked_url(fields["url"])}
    large = {name for name, value in fields.items() if len(json.dumps(value)) > _LARGE}
    short = {name: None if name in large else value for name, value in fields.items()}
    if "url" in large and isinstance(fields["url"], str):
        short["url"] = server_in(fields["url"])[:_LARGE]
    return {**forgotten, "destination": short}


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
