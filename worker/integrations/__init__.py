"""How each kind of SIEM is reached: what a customer configures, and what is refused at the door.

Secrets are `SecretStr`; whatever else is here may be shown. Complaints name what is wrong and what
would be right, and never repeat a value, for it may be a secret.
"""

from typing import Annotated

from pydantic import Field

from worker.integrations.splunk_hec import SplunkHec
from worker.integrations.syslog_cef import SyslogCef
from worker.integrations.tls import TlsOptions
from worker.integrations.webhook import ApiKeyAuth, BearerAuth, NoAuth, Webhook

__all__ = [
    "AUTH_KINDS",
    "DESTINATION_TYPES",
    "ApiKeyAuth",
    "BearerAuth",
    "Destination",
    "NoAuth",
    "SplunkHec",
    "SyslogCef",
    "TlsOptions",
    "Webhook",
]

Destination = Annotated[SplunkHec | SyslogCef | Webhook, Field(discriminator="type")]

#: Every type of destination; each has a Celery queue of that name, and a task `deliver_<type>`.
DESTINATION_TYPES = ("splunk_hec", "syslog_cef", "webhook")

#: What an endpoint of a webhook may ask for.
AUTH_KINDS = ("none", "bearer", "api_key")
