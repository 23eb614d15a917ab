"""What people typed into forms and could not save: kept for a while, so that the form comes back with it.

Comes in: the name of a form, which nobody had before, and a text that is sealed already. Redis knows the
digest of the name alone: who reads Redis learns neither what was typed nor how to ask for it.

Of each tenant no more bytes are kept than its share: beyond it, the oldest drafts are forgotten first.
"""

import hashlib
from typing import TYPE_CHECKING, Any

from worker.broker import keys
from worker.broker.connection import broker_errors
from worker.broker.shelf import BoundedStore

if TYPE_CHECKING:
    import redis

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
        self._shelf_of(tenant_id).put(_key(name), sealed.encode(), self._length(name) or None)

    def find(self, name: str) -> str | None:
        """Return the text, or None if there is none (any more)."""
        with broker_errors():
            found: Any = self._client.get(_key(name))
        return None if found is None else found.decode(errors="replace")

    def forget(self, tenant_id: str, name: str) -> None:
        """Remove the text, if there is one."""
        if length := self._length(name):
            self._shelf_of(tenant_id).drop(_key(name), length)

    def _length(self, name: str) -> int:
        with broker_errors():
            length: Any = self._client.strlen(_key(name))
        return int(length)

    def _shelf_of(self, tenant_id: str) -> BoundedStore:
        digest = hashlib.sha256(tenant_id.encode()).hexdigest()[:32]
        return BoundedStore(self._client, *keys.draft_index(digest), self._share, KEPT)


def _key(name: str) -> str:
    return keys.draft(hashlib.sha256(name.encode()).hexdigest())
