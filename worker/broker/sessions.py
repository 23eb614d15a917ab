"""Sessions of people who signed in to the pages, and what they typed: kept in Redis for a while.

Input: the token of a cookie. Output: the id of the API key that its bearer signed in with. Redis knows
only the token's digest, so that who reads Redis cannot sign in; and each session carries a proof of the
fleet's own (`worker.vault.vault`), so that who writes to Redis cannot, either. What a session may do stands
in the ledger, with its key.

The release before this one reads the tenant and the role in the session, so these are still written; it
skips the proof. A session that it has begun has none and counts for nothing here: its bearer signs in again.

What people typed into forms and could not save: kept for a while, so that the form comes back with it.

Input: the unused name of a form, and a text that is sealed already. Redis knows the
digest of the name alone: who reads Redis learns neither what was typed nor how to ask for it.

Of each tenant no more bytes are kept than its share: beyond it, the oldest drafts are forgotten first.
"""

import hashlib
import secrets
from typing import TYPE_CHECKING, Any

import msgspec

from worker.broker import keys
from worker.broker.connection import broker_errors
from worker.broker.idempotency import BoundedStore
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
        """Begin a session of who bears this key; return its token, which is new."""
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
                return None  # damaged: to sign in again fixes it
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


#: How long what was typed is kept, in seconds.
KEPT = 1800


class Drafts:
    """The drafts of all who fill in forms. Every method raises BrokerUnavailable."""

    def __init__(self, client: "redis.Redis", share: int) -> None:
        """Use the client, which may be shared between threads, and keep `share` bytes for each tenant."""
        self._client = client
        self._share = share

    def keep(self, tenant_id: str, name: str, sealed: str) -> None:
        """Keep the text under this name, in the place of what was there."""
        self._shelf_of(tenant_id).put(_draft_key(name), sealed.encode(), self._length(name) or None)

    def find(self, name: str) -> str | None:
        """Return the text, or None if there is none (any more)."""
        with broker_errors():
            found: Any = self._client.get(_draft_key(name))
        return None if found is None else found.decode(errors="replace")

    def forget(self, tenant_id: str, name: str) -> None:
        """Remove the text, if there is one."""
        if length := self._length(name):
            self._shelf_of(tenant_id).drop(_draft_key(name), length)

    def _length(self, name: str) -> int:
        with broker_errors():
            length: Any = self._client.strlen(_draft_key(name))
        return int(length)

    def _shelf_of(self, tenant_id: str) -> BoundedStore:
        digest = hashlib.sha256(tenant_id.encode()).hexdigest()[:32]
        return BoundedStore(self._client, *keys.draft_index(digest), self._share, KEPT)


def _draft_key(name: str) -> str:
    return keys.draft(hashlib.sha256(name.encode()).hexdigest())
