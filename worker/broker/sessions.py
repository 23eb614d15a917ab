"""Sessions of people who signed in to the pages: kept in Redis, which forgets them by itself.

Comes in: the token of a cookie. Goes out: the id of the API key that its bearer signed in with. Redis knows
only the token's digest, so that who reads Redis cannot sign in; and each session carries a proof of the
fleet's own (`worker.vault.vault`), so that who writes to Redis cannot, either. What a session may do stands
in the ledger, with its key.

The release before this one reads the tenant and the role in the session, so these are still written; it
skips the proof. A session that it has begun has none and counts for nothing here: its bearer signs in again.
"""

import hashlib
import secrets
from typing import TYPE_CHECKING, Any

import msgspec

from worker.broker import keys
from worker.broker.connection import broker_errors
from worker.model.api_keys import ApiKey
from worker.model.untrusted_json import DAMAGED
from worker.vault.vault import Signer

if TYPE_CHECKING:
    import redis

#: How long a session lasts without a request, and at the most, in seconds.
IDLE = 3600
LONGEST = 12 * 3600


class Session(msgspec.Struct, frozen=True):
    """Who signed in: the id of the API key; and what proves that a form is ours.

    `until_ms` is when it ends whatever happens. `tenant_id` and `role` are for the release before this one.
    """

    key_id: str
    tenant_id: str
    role: str
    csrf: str
    until_ms: int
    proof: str = ""


_PURPOSE = "session"
_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Session)


class Sessions:
    """The sessions of all who signed in. Every method raises BrokerUnavailable."""

    def __init__(self, client: "redis.Redis", proofs: Signer) -> None:
        """Use the client and the proofs, which may be shared between threads."""
        self._client = client
        self._proofs = proofs

    def open(self, key: ApiKey) -> str:
        """Begin a session of who bears this key; return its token, which nobody had before."""
        token, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        with broker_errors():
            seconds: Any = self._client.time()
            until_ms = (int(seconds[0]) + LONGEST) * 1000
            session = Session(key.id, key.tenant_id, key.role.value, csrf, until_ms)
            proof = self._proofs.prove(_PURPOSE, *_proved(token, session))
            self._client.set(_key(token), _encode(msgspec.structs.replace(session, proof=proof)), ex=IDLE)
        return token

    def find(self, token: str) -> Session | None:
        """Return the session of a token, and keep it for another while; None if we have begun none."""
        with broker_errors():
            found: Any = self._client.get(_key(token))
            if found is None:
                return None
            try:
                session = _decoder.decode(found)
            except DAMAGED:
                return None  # damaged: to sign in again mends it
            if not self._proofs.holds(session.proof, _PURPOSE, *_proved(token, session)):
                return None
            seconds: Any = self._client.time()
            left = session.until_ms // 1000 - int(seconds[0])
            if left <= 0:
                return None
            self._client.expire(_key(token), min(IDLE, left))
        return session

    def close(self, token: str) -> None:
        """End a session, if there is one."""
        with broker_errors():
            self._client.delete(_key(token))


def _proved(token: str, session: Session) -> tuple[str, ...]:
    """Return what the proof is of: whose session it is, and until when."""
    return _digest(token), session.key_id, session.csrf, str(session.until_ms)


def _key(token: str) -> str:
    return keys.session(_digest(token))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
