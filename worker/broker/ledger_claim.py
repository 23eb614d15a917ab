"""Whose Redis it is: `siem:ledger` holds the id of the one ledger whose events stand here.

Two fleets with a ledger each on one database of Redis would mix their outcomes, dead letters and parked
events. So a recorder claims Redis for its ledger before it reads anything, and one of another ledger waits.
"""

import threading
import time
from typing import TYPE_CHECKING, Any

from worker.broker import keys
from worker.broker.connection import broker_errors
from worker.broker.oom import ask_when_full
from worker.model.errors import WrongLedger
from worker.model.redis_checks import CheckStatus, judge_claim

if TYPE_CHECKING:
    import redis

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
    """Claim this Redis for the ledger, whoever has it; return who had. Raises BrokerUnavailable."""
    before = claim_holder(client)
    with broker_errors():
        ask_when_full(client, "SET", keys.LEDGER, ledger_id)
    return before
