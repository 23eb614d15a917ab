"""Proofs that the fleet itself has written what stands where others may write, as in Redis.

A proof is HMAC-SHA256 (RFC 2104) under a key that is derived from one of SIEM_SECRET_KEYS. The first key
proves, any of them is accepted, so that keys can be rotated.
"""

import hashlib
import hmac
import json
from collections.abc import Sequence

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
