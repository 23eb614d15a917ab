"""Who plays in the demo: three receivers on loopback, and an integration to each.

One is healthy, one is an archive that wants every event, one is moody: now and then it is busy, and
there are events that it cannot stand. So all that a ledger can say is to be seen.
"""

import secrets
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from worker.broker.connection import Client
from worker.broker.snapshot import publish_integrations
from worker.ledger.integrations import IntegrationStore
from worker.model.events import DEFAULT_EVENT_TYPES, EventType
from worker.model.integrations import Integration, parse_integration

#: The demo's events and integrations belong to a tenant of their own.
TENANT = "demo"


@dataclass(frozen=True, slots=True)
class Role:
    """One receiver, and what its integration wants."""

    name: str
    event_types: frozenset[EventType]
    options: Sequence[str] = ()
    token: str = field(default_factory=lambda: secrets.token_urlsafe(16))


def cast() -> list[Role]:
    """Name the receivers of a demo, each with a token of its own."""
    return [
        Role("splunk", DEFAULT_EVENT_TYPES),
        Role("archive", frozenset(EventType)),
        Role("moody", DEFAULT_EVENT_TYPES, ("--flaky", "0.05", "--refuse", "0.001")),
    ]


def commands(roles: Sequence[Role], directory: Path) -> dict[str, str]:
    """Return the command of each receiver; each leaves its port in the directory."""
    return {
        role.name: shlex.join(
            [
                *(sys.executable, "-m", "worker.demo.receiver"),
                *("--port-file", str(_port_file(role, directory)), "--token", role.token),
                *role.options,
            ]
        )
        for role in roles
    }


def listening(roles: Sequence[Role], directory: Path) -> bool:
    """Say whether every receiver listens."""
    return all(_port_file(role, directory).exists() for role in roles)


def forget_ports(roles: Sequence[Role], directory: Path) -> None:
    """Take away what receivers of an earlier demo left."""
    for role in roles:
        _port_file(role, directory).unlink(missing_ok=True)


def integrate(
    roles: Sequence[Role], directory: Path, store: IntegrationStore, client: Client, slots: int
) -> list[Integration]:
    """Create an integration to each receiver, in place of those of an earlier demo."""
    remove(store)
    made = [_integration(role, directory) for role in roles]
    for integration in made:
        store.create(integration)
    publish_integrations(client, store.records(), slots)
    return made


def remove(store: IntegrationStore) -> None:
    """Delete the integrations of an earlier demo."""
    for left in store.list(TENANT):
        store.delete(left.id)


def _integration(role: Role, directory: Path) -> Integration:
    port = int(_port_file(role, directory).read_text())
    return parse_integration(
        {
            "id": f"demo_{role.name}_{secrets.token_hex(4)}",
            "tenant_id": TENANT,
            "name": f"demo {role.name}",
            "event_types": sorted(role.event_types),
            "destination": {
                "type": "splunk_hec",
                "url": f"http://127.0.0.1:{port}/services/collector/event",
                "token": role.token,
            },
        }
    )


def _port_file(role: Role, directory: Path) -> Path:
    return directory / f"{role.name}.port"
