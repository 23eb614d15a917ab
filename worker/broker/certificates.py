"""When the certificates of destinations end, as workers see them in the handshake of a new connection.

They stand in `siem:certificates`: the id of an integration, and seconds since 1970 UTC. A worker writes one
that it has not written in the last hour, so that connections cost nothing, and what another worker saw of
another host of the same name is corrected in time.
"""

import time
from typing import TYPE_CHECKING, Any

from worker.broker import keys
from worker.broker.connection import broker_errors
from worker.broker.oom import ask_when_full
from worker.broker.packing import whole
from worker.model.errors import BrokerUnavailable

if TYPE_CHECKING:
    import redis


#: How long a worker believes what it has written, in seconds, and of how many integrations.
_BELIEVED, _MOST = 3600.0, 100_000


class CertificateNotes:
    """Writes when certificates end; may be shared between threads."""

    def __init__(self, client: "redis.Redis") -> None:
        """Use the client, which may be shared between threads."""
        self._client = client
        self._written: dict[str, tuple[float | None, float]] = {}

    def note(self, integration_id: str, ends: float | None) -> None:
        """Write the end of the certificate of this integration's server; None if there is none.

        Without Redis nothing is written: the next connection does it.
        """
        known, written = self._written.get(integration_id, (0.0, 0.0))
        now = time.monotonic()
        if known == ends and now - written < _BELIEVED:
            return
        command = ("HDEL", keys.CERTIFICATES, integration_id)
        if ends is not None:
            command = ("HSET", keys.CERTIFICATES, integration_id, str(round(ends)))  # type: ignore[assignment]  # longer
        try:
            with broker_errors():
                ask_when_full(self._client, *command)
        except BrokerUnavailable:
            return  # that Redis is away, others say
        if len(self._written) >= _MOST:
            self._written.clear()
        self._written[integration_id] = (ends, now)


def certificate_ends(client: "redis.Redis") -> dict[str, int]:
    """Return when the certificates end that were seen, by integration. Raises BrokerUnavailable."""
    with broker_errors():
        found: Any = client.hgetall(keys.CERTIFICATES)
    return {one.decode(errors="replace"): whole(ends) for one, ends in found.items()}
