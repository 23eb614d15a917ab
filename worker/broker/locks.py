"""Whose turn it is, where one process at a time should work: a lock that its holder keeps by asking for it.

It spares double work. Nothing may depend on it: a holder that was asleep does not know that it lost it. Only
a script that finds the holder's `name` under the key knows whose turn it is. Each turn has a name of its own,
which tells it from an earlier one of the same process, between which others may have worked.
"""

import threading
import uuid

import redis

from worker.broker.connection import broker_errors, send_command
from worker.broker.ledger_claim import LedgerClaim
from worker.broker.oom import ask_when_full


class LeaderLock:
    """One candidate's right to work, which its threads may share. Raises BrokerUnavailable."""

    def __init__(
        self,
        client: redis.Redis,
        key: str,
        seconds: float,
        claim: LedgerClaim | None = None,
        *,
        when_full: bool = False,
    ) -> None:
        """Compete for the key; another may have it once its holder was silent for that long.

        With a `claim`, nobody works whose ledger is not that of this Redis: WrongLedger is raised instead.
        `when_full`: the lock is taken although Redis is full, for work that needs no memory.
        """
        self._client = client
        self._claim = claim
        self._ask = ask_when_full if when_full else send_command
        self._key = key
        # A thread that competes must not change the name under which another one has just taken the lock.
        self._asking = threading.Lock()
        #: Of the turn that was taken, or tried to be, last.
        self.name = uuid.uuid4().hex
        self._expires_ms = max(1, round(seconds * 1000))

    def is_mine(self) -> bool:
        """Take the lock, or keep it."""
        if self._claim is not None:
            self._claim.require()
        with self._asking, broker_errors():
            if self._client.get(self._key) == self.name.encode():
                return bool(self._client.pexpire(self._key, self._expires_ms))
            self.name = uuid.uuid4().hex
            return bool(self._ask(self._client, "SET", self._key, self.name, "NX", "PX", self._expires_ms))

    def pass_on(self) -> None:
        """Let the next one have it at once."""
        with self._asking, broker_errors():
            if self._client.get(self._key) == self.name.encode():
                self._client.delete(self._key)
