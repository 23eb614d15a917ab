"""Seals secrets before they rest, and opens them for those who send.

A secret is sealed with Fernet (AES-128-CBC with HMAC-SHA256) and bound to its place
(`worker.vault.places`), so that who can write to Redis cannot have it opened for another address.
A Fernet token says when it was made, in 64 bits that are authenticated and that decryption does not need
(https://github.com/fernet/spec). There stand, behind a first bit that is set, 63 bits of an HMAC-SHA256 of
the place. So the release before this one opens bound secrets as well, without a look at the place. What that
release has sealed is bound to nothing; it is opened, and a recorder seals it again (see
`worker.background.secret_binding`).

Proofs that the fleet itself has written what stands where others may write, as in Redis.

A proof is HMAC-SHA256 (RFC 2104) under a key that is derived from one of SIEM_SECRET_KEYS. The first key
proves, any of them is accepted, so that keys can be rotated.
"""

import base64
import contextlib
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from worker.model.errors import InvalidSetting, SecretMoved, SecretUnreadable
from worker.settings import Settings

#: Separates these keys from the ones that encrypt: HMAC as a key derivation (NIST SP 800-108, 4.1).
_DERIVATION = b"siem proofs 1"


class Signer:
    """Makes proofs and checks them; may be shared between threads."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Derive from these secret keys, the first of which proves."""
        self._keys = [hmac.digest(key, _DERIVATION, hashlib.sha256) for key in keys]

    def prove(self, purpose: str, *parts: str) -> str:
        """Return the proof of these parts, 64 hexadecimal digits; one for another purpose proves nothing."""
        return self.digest(0, purpose, *parts).hex()

    def all(self, purpose: str, *parts: str) -> list[str]:
        """Return the proof by each of the keys, that of `prove` first."""
        return [self.digest(key, purpose, *parts).hex() for key in range(len(self._keys))]

    def holds(self, proof: str, purpose: str, *parts: str) -> bool:
        """Whether one of the keys has proved just that."""
        return any(
            hmac.compare_digest(self.digest(place, purpose, *parts).hex().encode(), proof.encode())
            for place in range(len(self._keys))
        )

    def digest(self, key: int, purpose: str, *parts: str) -> bytes:
        """Return the 32 bytes that the key in this place makes of the parts, 0 being the first."""
        return hmac.digest(self._keys[key], json.dumps([purpose, *parts]).encode(), hashlib.sha256)


def key_in(path: Path) -> str:
    """Return the key; processes that make it at once agree on one. Raises OSError."""
    if not path.exists():
        _make_key(path)
    return path.read_text().strip()


def _make_key(path: Path) -> None:
    """Write a new key under another name, then link it: none sees half a key, and the first one stays."""
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


_SETTING = "SIEM_SECRET_KEYS"
_HINT = "give 32 random bytes in URL-safe base64, as `siem secrets new-key` prints them"

_KEY_FILE = "secret.key"
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
            raise InvalidSetting(_SETTING, "holds no key", _HINT)
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
        """Return the 64 bits for that place: without the key they are found once in 2**63 tries."""
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
            "SIEM_DATA_DIR", f"{path} cannot be used ({error.strerror})", f"fix that, or set {_SETTING}"
        ) from None
    try:
        return Vault([key])
    except InvalidSetting:
        raise InvalidSetting(
            str(path), "does not hold a Fernet key", f"restore that file, or set {_SETTING}"
        ) from None


def new_key() -> str:
    """Return a new key for SIEM_SECRET_KEYS."""
    return Fernet.generate_key().decode()


def _fingerprint(key: str) -> str:
    return hashlib.sha256(base64.urlsafe_b64decode(key)).hexdigest()[:8]


def _fernet(key: str, place: int) -> Fernet:
    try:
        return Fernet(key)
    except ValueError:
        raise InvalidSetting(_SETTING, f"its key number {place} is not a Fernet key", _HINT) from None
