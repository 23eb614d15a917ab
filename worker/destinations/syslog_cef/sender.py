"""CEF over syslog: events become messages, messages go out as a stream of frames or as datagrams.

There is no answer, so no event is ever refused by the other side: it is delivered as far as can be known, or
unconfirmed, and goes out again, with the same id. `Assurance` says how far that is.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial

from worker.destinations.batching import RequestLimit
from worker.destinations.syslog_cef.sending import SyslogDelivery
from worker.destinations.syslog_cef.syslog import SyslogCefFormat
from worker.destinations.syslog_cef.withdrawals import REFUSED, WithdrawnParts
from worker.destinations.syslog_cef.written_runs import written_runs
from worker.integrations.syslog_cef import SyslogCef, time_zone
from worker.model.batches import Batch, DeliveryAttempt
from worker.model.deliveries import Assurance, DeliveryResult, Failure, Verdict, Withdrawn
from worker.model.errors import TransportError
from worker.model.event_runs import EventRun
from worker.model.events import QueuedEvent
from worker.model.failures import FailureCode
from worker.transports.failures import describe
from worker.transports.guard import Guard
from worker.transports.syslog.connection import SyslogTarget
from worker.transports.syslog.datagrams import SentDatagrams, SyslogDatagrams
from worker.transports.syslog.stream import SyslogStream

_OUT_OF_TIME = Failure(
    FailureCode.OUT_OF_TIME,
    "the time for this batch ran out before these events were sent",
    "if it lasts, raise the integration's `max_datagrams_per_second`, or lower its `batch_events`",
)
_TOO_LARGE = Failure(
    FailureCode.TOO_LARGE,
    "this event makes a datagram larger than the network takes",
    "lower the integration's `max_message_bytes`: longer messages are shortened",
)


def syslog_transport(config: SyslogCef, guard: Guard, *, connections: int) -> SyslogStream | SyslogDatagrams:
    """Return what carries messages to this receiver; dials nothing yet."""
    target = SyslogTarget(*config.target)
    if config.transport == "udp":
        rate = config.max_datagrams_per_second
        return SyslogDatagrams(guard, target, rate=rate, connections=connections)
    tls = config if config.transport == "tls" else None
    return SyslogStream(guard, target, tls, confirms=config.confirm_by_shutdown, connections=connections)


class SyslogCefSender:
    """Sends batches to one syslog receiver."""

    def __init__(
        self,
        config: SyslogCef,
        guard: Guard,
        *,
        connections: int,
        withdraw: Callable[[Withdrawn], None] | None = None,
    ) -> None:
        """Prepare the format; connect when the first batch comes.

        `withdraw` writes what counts as delivered no longer, where no further batch comes to report it.
        Raises InvalidIntegration when this machine does not know the time zone.
        """
        self._config = config
        self._format = SyslogCefFormat.of(
            facility=config.facility,
            header=config.header,
            hostname=config.hostname,
            send_src=config.send_src,
            limit=config.message_limit,
            zone=time_zone(config.time_zone),
        )
        self._way = syslog_transport(config, guard, connections=connections)
        self._limit = RequestLimit(events=config.batch_events, size=config.batch_bytes)
        self._withdrawn = WithdrawnParts(withdraw)

    def send(self, attempt: DeliveryAttempt, deadline: float) -> list[DeliveryResult]:
        """Send what is to be sent of the batch; see `worker.destinations.Sender`."""
        places, batch = attempt.places, attempt.batch
        if isinstance(self._way, SyslogDatagrams):
            messages = self._written(attempt, counts_octets=None)
            results = self._send_datagrams(self._way, attempt, messages, deadline)
            return results + self._withdrawn.results(batch)
        frames = self._written(attempt, counts_octets=self._config.counts_octets)
        sending = SyslogDelivery(self._way, self._limit, self._withdrawn, attempt, deadline)
        results = sending.run(dict(zip(places, frames, strict=True)), self._config.timeout_seconds)
        return results + self._withdrawn.results(batch)

    def watch(self, seconds: float) -> Failure | None:
        """Watch for so long whether the receiver hangs up on what was sent last; say how it did."""
        error = self._way.watch(seconds) if isinstance(self._way, SyslogStream) else None
        return describe(error) if error is not None else None

    def preview(self, events: Sequence[QueuedEvent]) -> bytes:
        """Return the very bytes for these events, frames and all; dials nothing.

        Over UDP each message is a datagram of its own, and the newlines between them are only shown here.
        """
        if isinstance(self._way, SyslogDatagrams):
            return b"\n".join(self._format.messages(events))
        return b"".join(self._format.frames(events, counts_octets=self._config.counts_octets))

    def close(self, *, notice: float = 0.0) -> None:
        """Let go of idle connections; give the receiver so many seconds to notice."""
        if notice and isinstance(self._way, SyslogStream):
            self._way.hang_up(notice)
        self._way.close()
        self._withdrawn.write_now()

    def _written(self, attempt: DeliveryAttempt, *, counts_octets: bool | None) -> Sequence[bytes]:
        """Return what is to be sent, by the places of the attempt; see `written_runs`."""
        places, batch = attempt.places, attempt.batch
        runs = batch.in_runs()
        if len(places) < len(batch.events):
            runs = [EventRun([batch.events[place] for place in places])]
        return written_runs(runs, self._format, counts_octets=counts_octets)

    def _send_datagrams(
        self, way: SyslogDatagrams, attempt: DeliveryAttempt, messages: Sequence[bytes], deadline: float
    ) -> list[DeliveryResult]:
        places = attempt.places
        seconds = min(self._config.timeout_seconds, deadline - time.monotonic())
        if seconds <= 0:
            return _results(attempt.batch, (places, Verdict.RETRY, _OUT_OF_TIME))
        begun: list[range] = []
        on_end = partial(self._withdraw, attempt.batch, bytes(attempt.request_counts), places)
        try:
            handed = way.send(messages, seconds, begun.append, on_end)
        except TransportError as error:
            attempt.count(places)
            return _results(attempt.batch, (places, Verdict.RETRY, describe(error)))
        except Exception:  # a shortage or a fault of ours: what may have gone out counts
            attempt.count({places[at] for burst in begun for at in burst})
            raise
        attempt.count(places[: handed.count])
        gone, refused = _split(places, handed)
        return _results(
            attempt.batch,
            (gone, Verdict.ACCEPTED, None),
            (refused, Verdict.REFUSED, _TOO_LARGE),
            (places[handed.count :], Verdict.RETRY, describe(handed.lack) if handed.lack else _OUT_OF_TIME),
        )

    def _withdraw(self, batch: Batch, counts: bytes, places: Sequence[int], handed: SentDatagrams) -> None:
        gone, _ = _split(places, handed)
        self._withdrawn.add(batch, counts, gone, REFUSED)


def _split(places: Sequence[int], handed: SentDatagrams) -> tuple[Sequence[int], Sequence[int]]:
    """Return which events went to the network, and which are too long for it."""
    tried = places[: handed.count]
    if not handed.too_long:
        return tried, ()
    gone = [place for at, place in enumerate(tried) if at not in handed.too_long]
    return gone, [places[at] for at in sorted(handed.too_long)]


def _results(batch: Batch, *parts: tuple[Sequence[int], Verdict, Failure | None]) -> list[DeliveryResult]:
    elapsed = batch.elapsed_ms()
    return [
        DeliveryResult(places, verdict, elapsed, failure, assurance=Assurance.SENT)
        for places, verdict, failure in parts
        if places
    ]
