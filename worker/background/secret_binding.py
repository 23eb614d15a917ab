"""Binds the secrets of an earlier release to their places, so that no copy of them opens elsewhere.

The release before this one sealed secrets for any place (`worker.vault.vault`). Beside a recorder each of
them is sealed again, with the key that sealed it; an API of that release which still runs goes on to seal so,
and what it saves is bound by the next look.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial

from worker.broker.connection import Client
from worker.broker.key_holders import apis_show_sealed_urls
from worker.ledger.engine import Ledger
from worker.ledger.resealing import SecretResealer
from worker.model.availability import Dependencies, run_forever_pausing
from worker.model.log_events import SECRETS_BOUND
from worker.vault.sealed_secrets import SealedSecret
from worker.vault.vault import Vault

log = logging.getLogger(__name__)

#: Between two looks, in seconds.
INTERVAL = 10.0

#: Binds what is unbound, and returns it. Raises LedgerUnavailable, SchemaOutdated, BrokerUnavailable.
Bind = Callable[[], Sequence[SealedSecret]]


def seal_binding(engine: Ledger, vault: Vault, client: Client) -> "SecretBinder":
    """Return what binds the secrets of this ledger; it asks Redis which APIs can show a sealed url."""
    return SecretBinder(SecretResealer(engine, vault, partial(apis_show_sealed_urls, client)).bind)


class SecretBinder:
    """Looks for unbound secrets; runs in one thread, in as many recorders as there are."""

    def __init__(self, bind: Bind, *, interval: float = INTERVAL) -> None:
        """Look every `interval` seconds."""
        self._bind = bind
        self._interval = interval

    def run(self, stopping: threading.Event, dependencies: Dependencies | None = None) -> None:
        """Bind until stopped; outlive any absence of Redis or the database."""
        run_forever_pausing(self.step, stopping, dependencies or Dependencies(log), log)

    def step(self) -> float:
        """Look once; return for how many seconds to rest then. Raises what binding raises."""
        if done := self._bind():
            SECRETS_BOUND.log(log, count=len(done))
        return self._interval
