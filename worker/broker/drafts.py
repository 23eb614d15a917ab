"""What people typed into forms and could not save: kept for a while, so that the form comes back with it.

Comes in: the name of a form, which nobody had before, and a text that is sealed already. Redis knows the
digest of the name alone: who reads Redis learns neither what was typed nor how to ask for it.
"""

import hashlib
from typing import TYPE_CHECKING, Any

from worker.broker import keys
from worker.broker.connection import broker_errors

if TYPE_CHECKING:
    import redis

#: How long what was typed is kept, in seconds.
KEPT = 1800


class Drafts:
    """The drafts of all who fill in forms. Every method raises BrokerUnavailable."""

    def __init__(self, client: "redis.Redis") -> None:
        """Use the client, which may be shared between threads."""
        self._client = client

    def keep(self, name: str, sealed: str) -> None:
        """Keep the text under this name, in the place of what was there."""
        with broker_errors():
            self._client.set(_key(name), sealed, ex=KEPT)

    def find(self, name: str) -> str | None:
        """Return the text, or None if there is none (any more)."""
        with broker_errors():
            found: Any = self._client.get(_key(name))
        return None if found is None else found.decode(errors="replace")

    def forget(self, name: str) -> None:
        """Remove the text, if there is one."""
        with broker_errors():
            self._client.delete(_key(name))


def _key(name: str) -> str:
    return keys.draft(hashlib.sha256(name.encode()).hexdigest())
