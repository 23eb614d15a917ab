"""What the demo delivers to: six receivers on loopback, and an integration to each.

Three speak Splunk's HEC: one is healthy, one is an archive that wants every event, one is flaky: now and
then it is busy, and there are events that it cannot stand. Two take CEF over syslog, by TCP and by UDP, and
one is a signed webhook. So all that a ledger can say is to be seen.
"""

import base64
import json
import secrets
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from worker.broker.connection import Client
from worker.broker.snapshot import publish_integrations
from worker.integrations.integration import Integration, parse_integration
from worker.ledger.api_keys import ApiKeyStore
from worker.ledger.integrations import IntegrationStore
from worker.model.events import DEFAULT_EVENT_TYPES, EventType

#: That of a key and an event that name none, so that all that README says works beside the demo.
TENANT = "default"
#: The name of the key with which a user looks at the demo.
KEY_NAME = "demo"
#: With what the ids of the demo's integrations begin.
_PREFIX = "demo_"


@dataclass(frozen=True, slots=True)
class Receiver:
    """One receiver: its program with its options, and the destination that leads to it.

    `destination` may name the receiver's port as `{port}` in its url.
    """

    name: str
    event_types: frozenset[EventType]
    program: str
    options: Sequence[str]
    destination: Mapping[str, Any]


def demo_receivers() -> list[Receiver]:
    """Name the receivers of a demo, each with a secret of its own."""
    return [
        _splunk("splunk", DEFAULT_EVENT_TYPES),
        _splunk("archive", frozenset(EventType)),
        _splunk("flaky", DEFAULT_EVENT_TYPES, "--flaky", "0.02", "--refuse", "0.001"),
        _syslog("qradar", "syslog://127.0.0.1:{port}"),
        _syslog("arcsight", "syslog+udp://127.0.0.1:{port}", "--udp"),
        _webhook("webhook"),
    ]


def _splunk(name: str, event_types: frozenset[EventType], *options: str) -> Receiver:
    token = secrets.token_urlsafe(16)
    url = "http://127.0.0.1:{port}/services/collector/event"
    destination = {"type": "splunk_hec", "url": url, "token": token}
    return Receiver(name, event_types, "splunk_receiver", ("--token", token, *options), destination)


def _syslog(name: str, url: str, *options: str) -> Receiver:
    destination = {"type": "syslog_cef", "url": url}
    return Receiver(name, DEFAULT_EVENT_TYPES, "syslog_receiver", options, destination)


def _webhook(name: str) -> Receiver:
    token = secrets.token_urlsafe(16)
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    destination = {
        "type": "webhook",
        "url": "http://127.0.0.1:{port}/webhook",
        "auth": {"kind": "bearer", "token": token},
        "signing_secrets": [secret],
    }
    options = ("--bearer", token, "--secret", secret)
    return Receiver(name, DEFAULT_EVENT_TYPES, "webhook_receiver", options, destination)


def commands(receivers: Sequence[Receiver], directory: Path) -> dict[str, str]:
    """Return the command of each receiver; each leaves its port in the directory."""
    return {
        receiver.name: shlex.join(
            [
                *(sys.executable, "-m", f"worker.demo.{receiver.program}"),
                *("--port-file", str(_port_file(receiver, directory))),
                *receiver.options,
            ]
        )
        for receiver in receivers
    }


def listening(receivers: Sequence[Receiver], directory: Path) -> bool:
    """Whether every receiver listens."""
    return all(_port_file(receiver, directory).exists() for receiver in receivers)


def forget_ports(receivers: Sequence[Receiver], directory: Path) -> None:
    """Take away what receivers of an earlier demo left."""
    for receiver in receivers:
        _port_file(receiver, directory).unlink(missing_ok=True)


def create_integrations(
    receivers: Sequence[Receiver], directory: Path, store: IntegrationStore, client: Client, slots: int
) -> list[Integration]:
    """Create an integration to each receiver, in place of those of an earlier demo."""
    remove_integrations(store)
    made = [_integration(receiver, directory) for receiver in receivers]
    for integration in made:
        store.create(integration)
    publish_integrations(client, store.records(), slots)
    return made


def remove_integrations(store: IntegrationStore) -> None:
    """Delete the integrations of an earlier demo, and revoke its keys."""
    for left in store.list():
        if left.id.startswith(_PREFIX):
            store.delete(left.id)
    keys = ApiKeyStore(store.engine)
    for key in keys.list(TENANT):
        if key.name == KEY_NAME and key.revoked_ms is None:
            keys.revoke(key.id)


def received(receiver: Receiver, directory: Path) -> int | None:
    """Ask a receiver how many different events it has had; None if it does not answer."""
    # Not by urllib, which might ask a proxy of the environment.
    with closing(HTTPConnection("127.0.0.1", _ports(receiver, directory)[-1], timeout=5)) as connection:
        try:
            connection.request("GET", "/counts")
            counted: int | None = json.load(connection.getresponse())["distinct"]
        except (OSError, HTTPException, ValueError, KeyError):
            return None
    return counted


def _integration(receiver: Receiver, directory: Path) -> Integration:
    port = _ports(receiver, directory)[0]
    url = str(receiver.destination["url"]).format(port=port)
    return parse_integration(
        {
            "id": f"{_PREFIX}{receiver.name}_{secrets.token_hex(4)}",
            "tenant_id": TENANT,
            "name": f"demo {receiver.name}",
            "event_types": sorted(receiver.event_types),
            "destination": {**receiver.destination, "url": url},
        }
    )


def _ports(receiver: Receiver, directory: Path) -> list[int]:
    """Return where a receiver listens, and, last of all, where it shows its counts."""
    return [int(port) for port in _port_file(receiver, directory).read_text().split()]


def _port_file(receiver: Receiver, directory: Path) -> Path:
    return directory / f"{receiver.name}.port"
