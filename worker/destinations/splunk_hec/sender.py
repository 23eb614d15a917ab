"""Splunk over its HTTP Event Collector.

Events become envelopes, envelopes become requests (`hec_sending`), each request has one answer
(`hec_client`) with one meaning (`hec_verdict`); with `use_ack`, delivered means that Splunk has said that
the events are indexed (`hec_acks`).
"""

from collections.abc import Sequence

from worker.destinations.batching import PartSize
from worker.destinations.splunk_hec.client import HecClient
from worker.destinations.splunk_hec.format import HecFormat
from worker.destinations.splunk_hec.sending import HecSending
from worker.integrations import SplunkHec
from worker.model.batches import Batch
from worker.model.deliveries import DeliveryResult
from worker.model.events import QueuedEvent
from worker.transports.guard import Guard


class SplunkHecSender:
    """Sends batches to one HTTP Event Collector."""

    def __init__(self, config: SplunkHec, guard: Guard, *, connections: int) -> None:
        """Prepare headers and envelopes; connect when the first batch comes."""
        self._format = HecFormat.of(
            host=config.host,
            source=config.source,
            source_type=config.source_type,
            index=config.index,
            fields=config.fields,
        )
        self._client = HecClient(config, guard, connections=connections)
        self._size = PartSize(events=config.batch_events, size=config.batch_bytes)

    def send(self, batch: Batch, deadline: float) -> list[DeliveryResult]:
        """Send what is open of the batch; see `worker.destinations.Sender`."""
        places = batch.open_places()
        wrapped = self._format.envelopes([batch.events[place] for place in places])
        with self._client.channel() as channel:
            sending = HecSending(self._client, channel, self._size, batch, deadline)
            return sending.run(dict(zip(places, wrapped, strict=True)))

    def preview(self, events: Sequence[QueuedEvent]) -> bytes:
        """Return the very requests for these events, one after the other, but for the token; dials nothing.

        Each is request line, headers, an empty line and the body. With `gzip`, the headers are those of the
        compressed body, which is shown uncompressed. Raises InvalidIntegration if the url cannot be used.
        """
        envelopes = dict(enumerate(self._format.envelopes(events)))
        parts = self._size.cut(list(envelopes), {place: len(one) for place, one in envelopes.items()})
        with self._client.channel() as channel:
            bodies = (b"".join(envelopes[place] for place in part) for part in parts)
            return b"\r\n\r\n".join(self._client.written(channel, body) for body in bodies)

    def close(self) -> None:
        """Let go of idle connections."""
        self._client.close()
