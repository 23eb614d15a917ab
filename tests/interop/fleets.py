"""What the interoperability tests ask of a fleet: patience with a busy machine, and when all is done."""

from pathlib import Path

from tests.fleet import Fleet
from worker.broker.backlog import Backlog, Timing
from worker.broker.ingress_counts import count_unrouted
from worker.broker.outcomes import lag
from worker.ledger.deliveries import tallies
from worker.ledger.results import DeliveryCounts

#: How long to wait for a fleet, in seconds: several leases, so that what was lost has time to be sent again.
WAIT = 240.0


def patient_fleet(directory: Path) -> Fleet:
    """Prepare a fleet that sends nothing twice only because a machine is busy."""
    return Fleet(
        directory,
        SIEM_SEND_DEADLINE="15",
        SIEM_LEASE="20",
        SIEM_ORDER_LEASE="20",
        SIEM_CLAIM_IDLE="60",
    )


def all_settled(fleet: Fleet) -> bool:
    """Whether every event that was published is delivered or dead, and the ledger knows."""
    backlog = Backlog(fleet.client, Timing.of(fleet.settings))
    waits = count_unrouted(fleet.client) or any(backlog.depth(one.id) for one in fleet.store.list())
    return not waits and not lag(fleet.client)


def tallies_of(fleet: Fleet) -> dict[str, DeliveryCounts]:
    """Count the deliveries of each integration."""
    return tallies(fleet.engine)
