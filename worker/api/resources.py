"""What the doors of one process share: the settings, the ledger, Redis, the vault.

Whether the Redis of this process holds the events of its own ledger, asked at most once a second.

Events that were published into another ledger's Redis would go to the SIEMs of that one's integrations.
"""

import threading
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from worker.api.access import Access
from worker.api.key_lookups import KeyLookups
from worker.api.outage_log import OutageLog
from worker.api.pools import KEYS, WORK
from worker.background.reach import reach_of
from worker.broker.api_keys import FoundKey, KeyCopy
from worker.broker.audit import AuditInbox
from worker.broker.connection import Client, await_replica, check_redis_writes, redis_client
from worker.broker.formats import KnownFormats
from worker.broker.locks import TRUSTED, check_claim
from worker.broker.notices import FullTenants
from worker.broker.sessions import Sessions
from worker.ledger.api_keys import ApiKeyStore
from worker.ledger.engine import Ledger, check_ledger_writes, ledger_id, open_ledger
from worker.ledger.integrations import IntegrationStore
from worker.ledger.migrations.runner import require_readable_schema
from worker.model.allowed_networks import AllowedNetworks
from worker.model.audit import FLEET, Actor
from worker.model.errors import LedgerUnavailable, SchemaOutdated
from worker.settings import Settings
from worker.tracing import API, open_tracing
from worker.transports.check_guards import address_warning
from worker.vault.masking import MaskedIntegration
from worker.vault.vault import Vault, open_vault

if TYPE_CHECKING:
    from worker.tracing.spans import Tracing

#: How long to go on without the ledger's id before the database is asked again, in seconds.
ASK_AGAIN = 30.0


class Ownership:
    """May be shared between threads."""

    def __init__(self, engine: Ledger, client: Client) -> None:
        """Compare this ledger with what Redis says."""
        self._engine = engine
        self._client = client
        self._lock, self._asking = threading.Lock(), threading.Lock()
        self._ledger_id: str | None = None
        self._asked_until = self._trusted_until = 0.0

    def require(self) -> None:
        """Raise WrongLedger if Redis holds another ledger's events. Raises BrokerUnavailable.

        While the database has been away since this process began, its ledger is unknown: nothing is refused.
        """
        own = self._known()
        if own is None:
            return
        with self._lock:
            if time.monotonic() >= self._trusted_until:
                check_claim(self._client, own)
                self._trusted_until = time.monotonic() + TRUSTED

    def _known(self) -> str | None:
        """Return the ledger's id; a database that hangs holds up one publisher, once in a while."""
        was_asked = self._asked_until > 0
        if self._ledger_id is None and self._asking.acquire(blocking=not was_asked):
            try:
                self._ask()
            finally:
                self._asking.release()
        return self._ledger_id

    def _ask(self) -> None:
        if time.monotonic() < self._asked_until:
            return
        with suppress(LedgerUnavailable, SchemaOutdated):
            self._ledger_id = ledger_id(self._engine)
        self._asked_until = time.monotonic() + ASK_AGAIN


@dataclass(frozen=True, slots=True)
class Resources:
    """All of it may be shared between threads."""

    config: Settings
    engine: Ledger = field(repr=False)
    #: The same ledger by connections of its own: for what must not wait for requests of tenants.
    reserve: Ledger = field(repr=False)
    client: Client = field(repr=False)
    vault: Vault = field(repr=False)
    access: Access = field(repr=False)
    ownership: Ownership = field(repr=False)
    outages: OutageLog = field(repr=False)
    full_tenants: FullTenants = field(repr=False)
    formats: KnownFormats = field(repr=False)
    tracing: "Tracing | None" = field(default=None, repr=False)

    @classmethod
    def of(cls, config: Settings) -> Self:
        """Open what the settings name; nothing is dialled yet. Raises InvalidSetting."""
        engine = open_ledger(config.ledger_address(), connections=WORK.threads)
        reserve = open_ledger(config.ledger_address())
        client = redis_client(config.broker_address())
        vault = open_vault(config)
        ownership = Ownership(reserve, client)
        outages = OutageLog(partial(_use_redis, client, ownership), partial(_use_ledger, engine))
        return cls(
            config=config,
            engine=engine,
            reserve=reserve,
            client=client,
            vault=vault,
            access=Access(_lookups(reserve, KeyCopy(client, vault.proofs), outages)),
            ownership=ownership,
            outages=outages,
            full_tenants=FullTenants(client),
            formats=KnownFormats(client),
            tracing=open_tracing(API, enabled=config.tracing, begins=True),
        )

    def integrations_of(self, tenant_id: str, by: Actor = FLEET) -> IntegrationStore:
        """Return the integrations that people of this tenant may see, to be changed by this one."""
        return self.all_integrations().by(by).of(tenant_id)

    @property
    def sessions(self) -> Sessions:
        """The sessions of those who signed in to the pages."""
        return Sessions(self.client, self.vault.proofs)

    @property
    def inbox(self) -> AuditInbox:
        """Where records of the audit trail wait that are not about the ledger."""
        return AuditInbox(self.client, self.vault.proofs)

    def all_integrations(self) -> IntegrationStore:
        """Return the integrations of all tenants: for what is done for the fleet, never for an answer."""
        return IntegrationStore(self.engine, self.vault, self.config.quotas)

    def reach_of(self, kind: str) -> AllowedNetworks:
        """Return what the running workers that deliver to this type allow; their hosts have no names here."""
        return reach_of(self.client, self.vault, self.config, kind).without_hosts()

    def warning_of(self, one: MaskedIntegration) -> str | None:
        """Return what keeps the workers from an integration whose url has an address, or None."""
        host = urlsplit(str(one.document["destination"]["url"])).hostname or ""
        return address_warning(host, lambda: self.reach_of(one.type))

    def close(self) -> None:
        """Close the connections."""
        self.outages.close()
        self.client.close()
        self.engine.dispose()
        self.reserve.dispose()


def _lookups(engine: Ledger, copy: KeyCopy, outages: OutageLog) -> KeyLookups:
    store = ApiKeyStore(engine)

    def recorded(key_ids: Collection[str]) -> dict[str, FoundKey]:
        rows = store.find_all(key_ids).items()
        return {one: FoundKey(None if key.revoked_ms else key, digest) for one, (key, digest) in rows}

    return KeyLookups(recorded, copy.find_all, outages.note, KEYS.submit)


def _use_redis(client: Client, ownership: Ownership) -> None:
    """Raise BrokerUnavailable while Redis takes no writes, lacks its replica, or is another ledger's."""
    check_redis_writes(client)
    await_replica(client)
    ownership.require()


def _use_ledger(engine: Ledger) -> None:
    """Raise OutageError while the ledger takes no writes, or its tables are not for this release."""
    require_readable_schema(engine)
    check_ledger_writes(engine)
