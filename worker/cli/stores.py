"""What the commands open: the ledger with its current tables, the integrations, Redis."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from worker.broker.connection import connect
from worker.broker.snapshot import publish_integrations
from worker.ledger.engine import open_ledger, require_current
from worker.ledger.integrations import IntegrationStore
from worker.ledger.vault import open_vault
from worker.model.errors import BrokerUnavailable, InvalidSetting
from worker.settings import settings

log = logging.getLogger(__name__)

Ledger = Any


@contextmanager
def ledger() -> "Iterator[Ledger]":
    """Open the ledger. Raises LedgerUnavailable, SchemaOutdated."""
    engine = open_ledger(settings().ledger_address())
    try:
        require_current(engine)
        yield engine
    finally:
        engine.dispose()


@contextmanager
def integration_store() -> Iterator[IntegrationStore]:
    """Open the integrations of the ledger, with the keys that seal their secrets."""
    with ledger() as engine:
        yield IntegrationStore(engine, open_vault(settings()))


def reconcile(store: IntegrationStore) -> bool:
    """Make the integrations in Redis those of the ledger; return whether anything had to change."""
    client = connect(settings().broker_address())
    try:
        return publish_integrations(client, store.records(), settings().slots)
    finally:
        client.close()


def announce(store: IntegrationStore) -> None:
    """Tell the fleet of a change; when Redis is away, a recorder does it once it is back."""
    try:
        reconcile(store)
    except (BrokerUnavailable, InvalidSetting) as error:
        log.warning("saved, but the fleet does not know yet (%s): a recorder will tell it", error)
