"""How each type of destination is reached: what a customer configures, and what is refused at the door.

Secrets are `SecretStr`; whatever else is here may be shown. Complaints name what is wrong and what
would be right, and never repeat a value, for it may be a secret.
"""

from worker.integrations.destination import REQUIRED_FIELDS, DestinationConfig
from worker.integrations.fields import fields_of
from worker.integrations.splunk_hec import SplunkHec
from worker.integrations.syslog_cef import SyslogCef
from worker.integrations.tls import TlsOptions
from worker.integrations.webhook import Webhook

__all__ = [
    "CONFIGS",
    "DestinationConfig",
    "TlsOptions",
    "destination_types",
    "register",
]

#: The configuration of each type of destination, by the type's name, in the order of registration.
CONFIGS: dict[str, type[DestinationConfig]] = {}


def register(config: type[DestinationConfig]) -> None:
    """Add a type of destination: integrations may have it from now on.

    What is built of all types at import, such as Celery's queues, has it if this comes before that import.
    Raises ValueError if another configuration has the same type, or if the class lacks a field of
    DestinationConfig, and TypeError if a field has no Described (see `worker.integrations.fields`).
    """
    fields_of(config)
    fields = config.model_fields
    if lacking := [name for name in REQUIRED_FIELDS if name not in fields]:
        msg = f"{config.__name__} has no field {', '.join(lacking)}"
        raise ValueError(msg)
    name = fields["type"].default
    if CONFIGS.setdefault(name, config) is not config:
        msg = f"there is a destination of the type {name} already"
        raise ValueError(msg)


def destination_types() -> tuple[str, ...]:
    """Return the name of every type; each has a Celery queue of that name, and a task `deliver_<name>`."""
    return tuple(CONFIGS)


for _config in (SplunkHec, SyslogCef, Webhook):
    register(_config)
