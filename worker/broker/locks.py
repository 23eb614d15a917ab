"""Locks on work that one process at a time does, and the claim of a ledger on this Redis.

It spares double work. Nothing may depend on it: a holder that was asleep does not know that it lost it. Only
a script that finds the holder's `name` under the key knows whose turn it is. Each turn has a name of its own,
which distinguishes it from an earlier one of the same process, between which others may have worked.

Whose Redis it is: `siem:ledger` holds the id of the one ledger whose events stand here.

Two fleets with a ledger each on one database of Redis would mix their outcomes, dead letters and parked
events. So a recorder claims Redis for its ledger before it reads anything, and one of another ledger waits.
"""

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import redis

from worker.broker import keys
from worker.broker.connection import broker_errors, script_text
from worker.broker.oom import ALLOW_OOM, ask_when_full
from worker.broker.round_trips import run_script
from worker.model.errors import BrokerUnavailable, WrongLedger
from worker.model.redis_checks import CheckStatus, judge_claim

#: For how long a claim that was found to hold is not looked at again, in seconds.
TRUSTED = 1.0


class LedgerClaim:
    """One ledger's right to this Redis; may be shared between threads."""

    def __init__(self, client: "redis.Redis", ledger_id: str) -> None:
        """Ask for this ledger."""
        self._client = client
        self._ledger_id = ledger_id
        self._lock = threading.Lock()
        self._trusted_until = 0.0

    def require(self) -> None:
        """Claim Redis if no ledger has. Raises WrongLedger if another one has, BrokerUnavailable."""
        with self._lock:
            if time.monotonic() < self._trusted_until:
                return
            self._trusted_until = 0.0
            if claim_holder(self._client) != self._ledger_id:
                with broker_errors():
                    # A recorder frees memory: it must be able to begin in a full Redis.
                    ask_when_full(self._client, "SET", keys.LEDGER, self._ledger_id, "NX")
                check_claim(self._client, self._ledger_id)
            self._trusted_until = time.monotonic() + TRUSTED


def check_claim(client: "redis.Redis", ledger_id: str) -> None:
    """Raise WrongLedger if another ledger has claimed this Redis. Raises BrokerUnavailable."""
    check = judge_claim(claim_holder(client), ledger_id)
    if check.standing is not CheckStatus.OK:
        raise WrongLedger(check.sentence)


def claim_holder(client: "redis.Redis") -> str | None:
    """Return the id of the ledger that has claimed this Redis. Raises BrokerUnavailable."""
    with broker_errors():
        found: Any = client.get(keys.LEDGER)
    return None if found is None else str(found.decode(errors="replace"))


def take_over(client: "redis.Redis", ledger_id: str) -> str | None:
    """Claim this Redis for the ledger, whichever has it; return which had. Raises BrokerUnavailable."""
    before = claim_holder(client)
    with broker_errors():
        ask_when_full(client, "SET", keys.LEDGER, ledger_id)
    return before


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

        With a `claim`, no process works whose ledger is not that of this Redis: WrongLedger is raised
        instead. `when_full`: the lock is taken although Redis is full, for work that needs no memory.
        """
        self._client = client
        self._claim = claim
        self._script = client.register_script((ALLOW_OOM if when_full else "") + script_text("turn"))
        self._key = key
        # A thread that competes must not change the name under which another one has just taken the lock.
        self._asking = threading.Lock()
        #: Of the turn that was taken, or tried to be, last.
        self.name = uuid.uuid4().hex
        self._next_name = uuid.uuid4().hex
        self._expires_ms = max(1, round(seconds * 1000))

    def is_mine(self) -> bool:
        """Take the lock, or keep it."""
        if self._claim is not None:
            self._claim.require()
        with self._asking, broker_errors():
            words = self.name, self._next_name, self._expires_ms
            held: bytes | None = run_script(self._client, self._script, ((self._key,), words))
            if held != self.name.encode():
                self.name, self._next_name = self._next_name, uuid.uuid4().hex
            return held is not None

    def pass_on(self) -> None:
        """Let the next one have it at once."""
        with self._asking, broker_errors():
            if self._client.get(self._key) == self.name.encode():
                self._client.delete(self._key)

    @contextmanager
    def passed_on_at_the_end(self) -> Iterator[None]:
        """Let the next one have it after the block; where Redis does not answer then, once it has expired."""
        yield
        with suppress(BrokerUnavailable):
            self.pass_on()
