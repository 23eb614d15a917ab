"""What the commands open: the ledger with its current tables, the integrations, Redis."""

import json
import logging
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from worker.broker.conflicts import forget_settled, hold_unknown, note_yielded, standing_ids
from worker.broker.connection import Client, connect
from worker.broker.key_copy import KeyCopy
from worker.broker.ledger_claim import check_claim
from worker.broker.snapshot import overrulings, publish_integrations
from worker.cli.configuration import configuration
from worker.doctor import Check, examine_keys
from worker.key_guard import KeyHolder, lacking_key
from worker.ledger.adoption import take_careful_state
from worker.ledger.api_keys import ApiKeyStore
from worker.ledger.engine import open_ledger, require_readable_schema
from worker.ledger.identity import ledger_id
from worker.ledger.integrations import IntegrationRecord, IntegrationStore
from worker.ledger.vault import open_vault
from worker.model.errors import BrokerUnavailable, InvalidSetting, SchemaOutdated
from worker.model.integrations import Integration
from worker.model.reach import Reach
from worker.reach import held_connections, reach_of

log = logging.getLogger(__name__)

Ledger = Any
_SQLITE = "sqlite:///"


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


def worker_reach(kind: str) -> Reach:
    """Return what the running workers that deliver to this type of destination allow."""
    config = configuration()
    try:
        client = connect(config.broker_address())
    except InvalidSetting as error:
        return Reach(
            kind, (), config.allowed_networks, f"nothing is known of workers without Redis ({error})"
        )
    try:
        return reach_of(client, open_vault(config), config, kind)
    finally:
        client.close()


def connections_held(integration: Integration, peers: Collection[str]) -> int:
    """Count the connections over which running workers deliver to any of these places ("ip:port")."""
    try:
        client = connect(configuration().broker_address())
    except InvalidSetting:
        return 0
    try:
        return held_connections(client, integration)(peers)
    finally:
        client.close()


def worker_keys(integration: Integration) -> list[Check]:
    """Return a warning if running workers cannot open its secrets; nothing while Redis is away."""
    config = configuration()
    try:
        client = connect(config.broker_address())
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
        client = connect(config.broker_address())
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
    names = {record.id: str(json.loads(record.document)["name"]) for record in store.records()}
    bearers = Counter(names.values())
    return {key: name if bearers[name] == 1 else key for key, name in names.items()}


def reconcile(store: IntegrationStore) -> bool:
    """Make the integrations in Redis those of the ledger; return whether anything had to change.

    Where the ledger was set back (restored from a backup), the more careful state wins in both, and what
    only Redis knows is paused. Raises BrokerUnavailable, or WrongLedger if Redis holds the events of
    another ledger.
    """
    config = configuration()
    client = connect(config.broker_address())
    try:
        check_claim(client, ledger_id(store.engine))
        # Before the ledger is asked: what is created stands there first.
        standing = standing_ids(client)
        records = _yielding(client, store)
        changed = publish_integrations(client, records, config.slots)
        hold_unknown(client, standing - {one.id for one in records})
        # What was published just now stands there as well.
        forget_settled(client, records, standing | {one.id for one in records if not one.deleted})
        share_api_keys(client, store.engine)
        return changed
    finally:
        client.close()


def key_copy(client: Client) -> KeyCopy:
    """Return the copy of the API keys in Redis, with the keys that prove it."""
    return KeyCopy(client, open_vault(configuration()).proofs)


def share_api_keys(client: Client, engine: Ledger) -> None:
    """Make the copy of the API keys in Redis that of the ledger, and revoke here what was revoked there.

    The caller knows that Redis is this ledger's. Raises BrokerUnavailable, LedgerUnavailable.
    """
    copy, store = key_copy(client), ApiKeyStore(engine)
    revoked, standing = copy.revoked(), store.standing()
    for key, _ in standing:
        if key.id in revoked:
            store.revoke(key.id)
            log.warning("API key %s was revoked while the database was away; now in the ledger, too", key.id)
    copy.replace([(key, digest) for key, digest in standing if key.id not in revoked])


def _yielding(client: Client, store: IntegrationStore) -> list[IntegrationRecord]:
    """Return the ledger's records, once it has taken over what Redis knows in a more careful state."""
    records = store.records()
    overruled = overrulings(client, records)
    for one in overruled:
        revision = take_careful_state(
            store.engine, one.id, one.revision, enabled=one.enabled, paused=one.paused
        )
        if revision is not None:
            note_yielded(client, one, revision)
    return store.records() if overruled else records


def announce(store: IntegrationStore) -> None:
    """Tell the fleet of a change; when Redis is away, a recorder does it once it is back."""
    try:
        reconcile(store)
    except (BrokerUnavailable, InvalidSetting) as error:
        log.warning("saved, but the fleet does not know yet (%s): a recorder will tell it", error)
