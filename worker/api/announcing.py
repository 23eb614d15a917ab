"""Tells the fleet of a change of integrations, as soon as it is saved."""

import logging

from worker.api.resources import Resources
from worker.broker.ledger_claim import check_claim
from worker.broker.snapshot import publish_integrations
from worker.ledger.identity import ledger_id
from worker.model.errors import BrokerUnavailable

log = logging.getLogger(__name__)


def announce(resources: Resources) -> None:
    """Tell the fleet; while Redis is away, the change is saved, and a recorder tells it later."""
    records = resources.all_integrations().records()
    try:
        check_claim(resources.client, ledger_id(resources.engine))
        publish_integrations(resources.client, records, resources.config.slots)
    except BrokerUnavailable as error:
        log.warning("saved, but the fleet does not know yet (%s): a recorder will tell it", error)
