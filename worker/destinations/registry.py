"""From an integration's sealed configuration to a sender that is ready to dial."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from worker.destinations import Sender
from worker.destinations.splunk_hec.sender import SplunkHecSender
from worker.destinations.syslog_cef.sender import SyslogCefSender
from worker.destinations.webhook.sender import WebhookSender
from worker.integrations import SplunkHec, SyslogCef, Webhook
from worker.integrations.integration import Integration
from worker.model.deliveries import Withdrawn
from worker.settings import Network
from worker.transports.guard import Guard

#: Opens the secrets of a document. Raises SecretUnreadable, InvalidIntegration.
OpenDocument = Callable[[Mapping[str, Any]], Integration]


#: Writes that events of an integration (its id) count as delivered no longer. Raises BrokerUnavailable.
Withdraw = Callable[[str, Withdrawn], None]


def sender_opener(
    open_document: OpenDocument,
    allowed: Sequence[Network],
    *,
    connections: int,
    withdraw: Withdraw | None = None,
) -> Callable[[bytes], tuple[Integration, Sender]]:
    """Return what makes senders of sealed JSON documents; all of them share one guard."""
    guard = Guard(allowed)

    def open_sender(document: bytes) -> tuple[Integration, Sender]:
        integration = open_document(msgspec.json.decode(document, type=dict[str, Any]))
        return integration, make_sender(integration, guard, connections=connections, withdraw=withdraw)

    return open_sender


def make_sender(
    integration: Integration, guard: Guard, *, connections: int, withdraw: Withdraw | None = None
) -> Sender:
    """Make the sender of the integration's type; `connections` are as many as there are threads.

    Without `withdraw`, what it would be called with is told by the next sending alone.
    """
    match integration.destination:
        case SplunkHec() as splunk:
            return SplunkHecSender(splunk, guard, connections=connections)
        case SyslogCef() as syslog:
            write = partial(withdraw, integration.id) if withdraw is not None else None
            return SyslogCefSender(syslog, guard, connections=connections, withdraw=write)
        case Webhook() as webhook:
            return WebhookSender(webhook, guard)
