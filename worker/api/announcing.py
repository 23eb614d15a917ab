"""Tells the fleet of a change of an integration, as soon as it is saved."""

import logging

from worker.api.resources import Resources
from worker.broker.locks import check_claim
from worker.broker.snapshot import publish_integrations, publish_some
from worker.ledger.engine import ledger_id
from worker.model.errors import BrokerUnavailable

log = logging.getLogger(__name__)


def refresh_integration(resources: Resources, integration_id: str) -> None:
    """Tell the fleet; while Redis is away, the change is saved, and a recorder tells it later.

    Reads and writes this one integration, unless Redis was told none yet.
    """
    store, slots = resources.all_integrations(), resources.config.slots
    records = store.records([integration_id])
    try:
        check_claim(resources.client, ledger_id(resources.engine))
        if publish_some(resources.client, records, slots) is None:
            publish_integrations(resources.client, store.records(), slots)
    except BrokerUnavailable as error:
        log.warning("saved, but the fleet does not know yet (%s): a recorder will tell it", error)
