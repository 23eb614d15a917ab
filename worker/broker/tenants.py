"""Whose an integration is, as Redis has it: what a worker asks before it claims anything of a backlog."""

from typing import TYPE_CHECKING

import msgspec

from worker.broker.redis_stats import standing_document
from worker.model.untrusted_json import DAMAGED

if TYPE_CHECKING:
    import redis

#: Of so many integrations the tenant is remembered; it never changes.
_MOST = 100_000
#: Stands for the tenant where Redis has no document, or none that can be read.
UNKNOWN = ""


class _Owned(msgspec.Struct):
    tenant_id: str = "default"


_decode = msgspec.json.Decoder(_Owned).decode


class Tenants:
    """The tenants of integrations, each asked for once; shared by threads."""

    def __init__(self, client: "redis.Redis") -> None:
        """Use the client, which may be shared between threads."""
        self._client = client
        self._known: dict[str, str] = {}

    def of(self, integration_id: str) -> str:
        """Return the tenant of an integration, or UNKNOWN. Raises BrokerUnavailable."""
        known = self._known.get(integration_id)
        return self._ask(integration_id) if known is None else known

    def _ask(self, integration_id: str) -> str:
        document = standing_document(self._client, integration_id)
        try:
            found = _decode(document or b"")
        except DAMAGED:
            return UNKNOWN
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[integration_id] = found.tenant_id
        return found.tenant_id
