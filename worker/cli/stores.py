"""What the commands open: the ledger with its current tables, the integrations, Redis; and who calls them."""

import logging
import os
import platform
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from pwd import getpwuid

from worker.background.doctor import StepReport, examine_keys
from worker.background.reach import held_connections, reach_of
from worker.background.reconciler import Reconciliation
from worker.broker.api_keys import KeyCopy
from worker.broker.audit import AuditInbox
from worker.broker.connection import Client, redis_client
from worker.broker.key_holders import KeyHolder, lacking_key
from worker.broker.locks import check_claim
from worker.broker.snapshot import publish_some
from worker.integrations.integration import Integration
from worker.ledger.engine import Ledger, ledger_id, open_ledger
from worker.ledger.integrations import IntegrationStore
from worker.ledger.migrations.runner import require_readable_schema
from worker.logging import configure
from worker.model.allowed_networks import AllowedNetworks
from worker.model.audit import Actor, ActorKind, AuditRecord
from worker.model.errors import BrokerUnavailable, InvalidSetting, SchemaOutdated
from worker.model.log_events import INTEGRATION_ANNOUNCE_DEFERRED
from worker.settings import Settings, settings
from worker.vault.vault import open_vault

log = logging.getLogger(__name__)

_SQLITE = "sqlite:///"


def configuration() -> Settings:
    """Read the environment, and log to stderr as it says. Raises InvalidSetting.

    Commands call it when they run, not when they are asked for help: help must not need a valid setting.
    """
    read = settings()
    configure(read.log_level, read.log_format)
    return read


def open_standing_ledger() -> Ledger:
    """Return the ledger's engine. Raises SchemaOutdated instead of making an SQLite file in a wrong place."""
    address = configuration().ledger_address()
    path = Path(address.removeprefix(_SQLITE).partition("?")[0])
    if address.startswith(_SQLITE) and not path.exists():
        raise SchemaOutdated(
            f"there is no ledger {path} yet: run `siem up` or `siem db upgrade`, "
            "or let SIEM_DATA_DIR name the directory where it is"
        )
    return open_ledger(address)


@contextmanager
def ledger() -> "Iterator[Ledger]":
    """Open the ledger. Raises LedgerUnavailable, SchemaOutdated."""
    engine = open_standing_ledger()
    try:
        require_readable_schema(engine)
        yield engine
    finally:
        engine.dispose()


@contextmanager
def integration_store() -> Iterator[IntegrationStore]:
    """Open the integrations of the ledger, with the keys that seal their secrets."""
    with ledger() as engine:
        yield IntegrationStore(engine, open_vault(configuration()), configuration().quotas)


def worker_reach(kind: str) -> AllowedNetworks:
    """Return what the running workers that deliver to this type of destination allow."""
    config = configuration()
    try:
        client = redis_client(config.broker_address())
    except InvalidSetting as error:
        return AllowedNetworks(
            kind, (), config.allowed_networks, f"nothing is known of workers without Redis ({error})"
        )
    try:
        return reach_of(client, open_vault(config), config, kind)
    finally:
        client.close()


def connections_held(integration: Integration, peers: Collection[str]) -> int:
    """Count the connections over which running workers deliver to any of these places ("ip:port")."""
    try:
        client = redis_client(configuration().broker_address())
    except InvalidSetting:
        return 0
    try:
        return held_connections(client, integration)(peers)
    finally:
        client.close()


def worker_keys(integration: Integration) -> list[StepReport]:
    """Return a warning if running workers cannot open its secrets; nothing while Redis is away."""
    config = configuration()
    try:
        client = redis_client(config.broker_address())
    except InvalidSetting:
        return []
    try:
        return list(examine_keys(client, open_vault(config), integration, with_names=True))
    finally:
        client.close()


def processes_without_key() -> list[KeyHolder]:
    """Return the running processes that cannot open what is sealed here; none while Redis is away."""
    config = configuration()
    try:
        client = redis_client(config.broker_address())
    except InvalidSetting:
        return []
    try:
        return lacking_key(client, open_vault(config).fingerprints[0])
    except BrokerUnavailable:
        return []
    finally:
        client.close()


def names_by_id(store: IntegrationStore) -> dict[str, str]:
    """Name every integration there is or was; those that share a name, as tenants may, by their id."""
    names = store.names()
    bearers = Counter(names.values())
    return {key: name if bearers[name] == 1 else key for key, name in names.items()}


def reconcile(store: IntegrationStore) -> bool:
    """Make the integrations in Redis those of the ledger; return whether anything had to change.

    Raises BrokerUnavailable, or WrongLedger if Redis holds the events of another ledger.
    """
    config = configuration()
    with closing(redis_client(config.broker_address())) as client:
        return reconciliation(client, store).whole()


def reconciliation(client: Client, store: IntegrationStore) -> Reconciliation:
    """Return what keeps this Redis equal to the ledger."""
    return Reconciliation(client, store, key_copy(client), configuration().slots)


def key_copy(client: Client) -> KeyCopy:
    """Return the copy of the API keys in Redis, with the keys that prove it."""
    return KeyCopy(client, open_vault(configuration()).proofs)


def refresh_integrations(store: IntegrationStore, integration_id: str | None = None) -> None:
    """Publish one integration to the fleet, or all; while Redis is away, a recorder does it later."""
    try:
        if integration_id is None or not _publish_one(store, integration_id):
            reconcile(store)
    except (BrokerUnavailable, InvalidSetting) as error:
        INTEGRATION_ANNOUNCE_DEFERRED.log(log, error=str(error))


def _publish_one(store: IntegrationStore, integration_id: str) -> bool:
    """Publish one to the fleet; return whether that could be done without the others."""
    config = configuration()
    with closing(redis_client(config.broker_address())) as client:
        check_claim(client, ledger_id(store.engine))
        return publish_some(client, store.records([integration_id]), config.slots) is not None


def operator() -> Actor:
    """Return who runs this command, as the audit trail names them; behind `sudo`, who has called that.

    By the user of the process: LOGNAME and USER are what anyone sets them to.
    """
    try:
        user = getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    caller = os.environ.get("SUDO_USER")
    user = f"{user} (sudo by {caller})" if caller else user
    return Actor(ActorKind.CLI, user=user, host=platform.node() or None)


def leave_record(client: Client, record: AuditRecord) -> None:
    """Have a recorder write a record of what is done in Redis alone. Raises BrokerUnavailable."""
    AuditInbox(client, open_vault(configuration()).proofs).put(record)
