"""Every type of destination, a line each at the end; Celery, the doors and the doctor read them here.

What is built of all types at import, such as Celery's tasks, has the types of that moment. A type of one's
own is added by a module that is imported before `worker.celery`, `worker.api`, `worker.cli` or
`worker.pages`; README.md of `worker` says how.
"""

import pkgutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from worker.destinations import DestinationType, MakeSender, Sender
from worker.destinations.splunk_hec import SPLUNK_HEC
from worker.destinations.syslog_cef import SYSLOG_CEF
from worker.destinations.webhook import WEBHOOK
from worker.integrations import register
from worker.integrations.integration import Integration
from worker.model.deliveries import Withdrawn
from worker.transports.guard import Guard
from worker.transports.ranges import IpNetwork

#: Opens the secrets of a document. Raises SecretUnreadable, InvalidIntegration.
OpenDocument = Callable[[Mapping[str, Any]], Integration]
#: Writes that events of an integration (its id) count as delivered no longer. Raises BrokerUnavailable.
WithdrawOf = Callable[[str, Withdrawn], None]

#: Notes when the certificate of an integration's server (its id) ends, in seconds since 1970 UTC; None if it
#: needs none.
NoteCertificateOf = Callable[[str, float | None], None]

#: Every type by its name, in the order in which they were added.
DESTINATIONS: dict[str, DestinationType] = {}


def add(destination: DestinationType) -> None:
    """Add a type, and its configuration. Raises ValueError if another one has its name."""
    register(destination.config)
    DESTINATIONS[destination.name] = destination


def named(name: str) -> DestinationType:
    """Return the type of that name. Raises KeyError."""
    return DESTINATIONS[name]


def load_sender(name: str) -> MakeSender:
    """Return what makes senders of that type, imported if it is not yet. Raises KeyError.

    It takes about 0.1 s, for the transports behind it: a worker does so before its first batch.
    """
    make: MakeSender = pkgutil.resolve_name(named(name).sender)
    return make


def make_sender(
    integration: Integration, guard: Guard, *, connections: int, withdraw: WithdrawOf | None = None
) -> Sender:
    """Make the sender of the integration's type; `connections` are as many as there are threads.

    Without `withdraw`, what it would be called with is reported by the next sending alone.
    """
    make = load_sender(integration.type)
    write = partial(withdraw, integration.id) if withdraw is not None else None
    return make(integration.destination, guard, connections=connections, withdraw=write)


def sender_opener(
    open_document: OpenDocument,
    allowed: Sequence[IpNetwork],
    *,
    connections: int,
    withdraw: WithdrawOf | None = None,
    note_certificate: NoteCertificateOf | None = None,
) -> Callable[[bytes], tuple[Integration, Sender]]:
    """Return what makes senders of sealed JSON documents; all of them share one guard.

    `note_certificate` hears when the certificate ends that a server of an integration has shown.
    """
    guard = Guard(allowed)

    def open_sender(document: bytes) -> tuple[Integration, Sender]:
        integration = open_document(msgspec.json.decode(document, type=dict[str, Any]))
        own = guard.noting(partial(note_certificate, integration.id)) if note_certificate else guard
        if note_certificate and not integration.destination.is_encrypted:
            note_certificate(integration.id, None)
        return integration, make_sender(integration, own, connections=connections, withdraw=withdraw)

    return open_sender


for _one in (SPLUNK_HEC, SYSLOG_CEF, WEBHOOK):
    add(_one)
