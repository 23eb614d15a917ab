"""Sessions of people who signed in to the pages: kept in Redis, which forgets them by itself.

Comes in: the token of a cookie. Goes out: who bears it. Redis knows only the token's digest, so that who
reads Redis cannot sign in.
"""

import hashlib
import secrets
from typing import TYPE_CHECKING, Any

import msgspec

from worker.broker import keys
from worker.broker.connection import broker_errors

if TYPE_CHECKING:
    import redis

#: How long a session lasts without a request, and at the most, in seconds.
IDLE = 3600
LONGEST = 12 * 3600


class Session(msgspec.Struct, frozen=True):
    """Who signed in: the id of the API key, its tenant and role; and what proves that a form is ours.

    `until_ms` is when it ends whatever happens.
    """

    key_id: str
    tenant_id: str
    role: str
    csrf: str
    until_ms: int


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Session)


class Sessions:
    """The sessions of all who signed in. Every method raises BrokerUnavailable."""

    def __init__(self, client: "redis.Redis") -> None:
        """Use the client, which may be shared between threads."""
        self._client = client

    def open(self, key_id: str, tenant_id: str, role: str) -> str:
        """Begin a session; return its token, which nobody had before."""
        token = secrets.token_urlsafe(32)
        with broker_errors():
            seconds: Any = self._client.time()
            until_ms = (int(seconds[0]) + LONGEST) * 1000
            session = Session(key_id, tenant_id, role, secrets.token_urlsafe(32), until_ms)
            self._client.set(_key(token), _encode(session), ex=IDLE)
        return token

    def find(self, token: str) -> Session | None:
        """Return the session of a token, and keep it for another while; None if there is none."""
        with broker_errors():
            found: Any = self._client.get(_key(token))
            if found is None:
                return None
            try:
                session = _decoder.decode(found)
            except (msgspec.MsgspecError, ValueError):
                return None  # damaged: to sign in again mends it
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


def _key(token: str) -> str:
    return keys.session(hashlib.sha256(token.encode()).hexdigest())
