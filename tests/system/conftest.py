"""One running fleet for all tests that do not break it; each test has a tenant of its own in it."""

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.fleet import Fleet, wait_until
from worker.ledger.results import DeadLetterRow, DeliveryRow
from worker.model.deliveries import Status


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Give a fleet whose processes run."""
    with Fleet(tmp_path_factory.mktemp("fleet")) as running:
        yield running.start()


@dataclass
class Customer:
    """A tenant of the shared fleet, with one integration once `integrate` was called."""

    fleet: Fleet
    tenant: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    @property
    def integration(self) -> str:
        """The id of its integration."""
        return f"int_{self.tenant}"

    def integrate(self, url: str, **changes: Any) -> None:
        """Create the integration."""
        self.fleet.integrate(url, self.tenant, tenant_id=self.tenant, **changes)

    def events(self, count: int, **fields: Any) -> list[dict[str, Any]]:
        """Make denials of this tenant."""
        return [denial(f"{self.tenant}-{number}", tenant_id=self.tenant, **fields) for number in range(count)]

    def publish(self, events: Iterable[dict[str, Any]]) -> list[str]:
        """Publish events in one transaction, so that they are routed, and go out, together."""
        return self.fleet.publish_at_once(events)

    def settled(self, count: int) -> dict[str, DeliveryRow]:
        """Wait until that many are delivered or dead; return the rows by event."""
        return {row.event_id: row for row in self.fleet.settled(count, self.integration)}

    def ended(self) -> DeliveryRow:
        """Wait until its only event is delivered or dead, or held by its breaker; return the row."""
        state = f"siem:state:{self.integration}"
        client = self.fleet.client

        def has_ended() -> bool:
            rows = self.fleet.rows(self.integration)
            held = client.hget(state, "breaker") == b"open"
            return any(row.status is not Status.RETRYING or held for row in rows)

        wait_until(has_ended, "the event is settled or held")
        return self.fleet.first_row(self.integration)

    def held(self) -> DeliveryRow:
        """Wait until its breaker is open, and what that kept back is in the ledger; return the latest row."""
        state = f"siem:state:{self.integration}"
        wait_until(lambda: self.fleet.client.hget(state, "breaker") == b"open", "the breaker is open")
        row = self.fleet.first_row(self.integration)
        assert row.status is Status.RETRYING
        return row

    def dead(self) -> list[DeadLetterRow]:
        """Return its dead letters."""
        return self.fleet.dead(self.integration)


def denial(event_id: str, **fields: Any) -> dict[str, Any]:
    """Make an event as the control plane would."""
    return {
        "id": event_id,
        "type": "policy.deny",
        "timestamp": "2026-11-22T10:11:12.345Z",
        "agent_id": "agent-7",
        "decision": "deny",
        **fields,
    }


@pytest.fixture
def customer(fleet: Fleet) -> Customer:
    """Give a tenant that nobody else uses."""
    return Customer(fleet)
