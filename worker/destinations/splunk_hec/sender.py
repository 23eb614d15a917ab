"""Splunk over its HTTP Event Collector.

Events become envelopes, envelopes become requests (`HecDelivery`), each request has one answer
(`client`) with one meaning (`verdict`); with `use_ack`, delivered means that Splunk has said that
the events are indexed (`acks`).

One sending of one batch to Splunk: which events go into which request, and what came of each.

A refused event must not take its batch with it, and no event may be carried by more than four
requests. So what an offender left behind goes out whole while three requests are left to it, in parts of
about its square root while two are left, and one by one with the last, which settles every event of it.
A batch that has come apart before is treated so from the start: it may hold another offender, and with
its last request carried whole, the good ones behind that would be lost.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import msgspec

from worker.destinations.batching import IF_UNSENT, TO_THE_LAST, WITH_THREE_LEFT, BatchPlan, RequestLimit
from worker.destinations.splunk_hec.acks import PendingAcks
from worker.destinations.splunk_hec.channels import Channel
from worker.destinations.splunk_hec.client import HecClient
from worker.destinations.splunk_hec.format import HecEnvelopes, HecFormat
from worker.destinations.splunk_hec.verdict import ENABLE_ACK, HecMeaning, HecVerdict
from worker.integrations.splunk_hec import SplunkHec
from worker.model.batches import DeliveryAttempt
from worker.model.deliveries import Assurance, DeliveryResult, Failure, Verdict
from worker.model.events import QueuedEvent
from worker.model.failures import FailureCode
from worker.transports.guard import Guard

#: A larger part is tried after one that was answered within this fraction of the time that Splunk may take.
_SOON = 4
_OUT_OF_TIME = Failure(
    FailureCode.OUT_OF_TIME,
    "the time for this batch ran out before these events were sent",
    "if it lasts, the destination is too slow for what it is sent",
)
_NOT_REACHED = Failure(
    FailureCode.NOT_REACHED,
    "Splunk refused another event of the same request, and this one's requests were used up",
    "replay it: nothing is known to be wrong with it",
)
_ACK_MISSING = Failure(
    FailureCode.ACK_MISSING,
    "Splunk took these events but gave no ackId, so it is unknown when they are indexed",
    ENABLE_ACK,
)
_PREFIX_UNCONFIRMED = Failure(
    FailureCode.NOT_INDEXED,
    "Splunk refused another event of the same request, and gave no ackId for these",
    "replay it: nothing is known to be wrong with it",
)


class HecDelivery:
    """One sending of one batch; a part of it is what one request carries, as places in the batch."""

    def __init__(
        self,
        client: HecClient,
        channel: Channel,
        limit: RequestLimit,
        attempt: DeliveryAttempt,
        deadline: float,
    ) -> None:
        """Send until `deadline` (monotonic seconds); half of the time, at most, is kept for confirmations."""
        self._client = client
        self._channel = channel
        self._limit = limit
        self._attempt = attempt
        self._post_until = deadline
        self._pending: PendingAcks | None = None
        if client.ack_timeout is not None:
            kept = min(client.ack_timeout, max(0.0, deadline - time.monotonic()) / 2)
            self._post_until = deadline - kept
            self._pending = PendingAcks(client, channel, client.ack_timeout, deadline, self._add_result)
        self._results: list[DeliveryResult] = []
        self._longest = 0.0

    def run(self, envelopes: HecEnvelopes) -> list[DeliveryResult]:
        """Send those of the attempt's places, of the envelopes of all events; return a result for each."""
        places = self._attempt.places
        self._envelopes = envelopes
        self._plan = BatchPlan(self._attempt, self._limit, envelopes.sizes)
        came_apart = len(places) < len(self._attempt.request_counts)
        self._plan.add(places, whole=WITH_THREE_LEFT if came_apart else TO_THE_LAST)
        while self._plan:
            self._send(self._plan.next_part())
        if self._pending is not None:
            self._pending.wait()
        return self._results

    def _send(self, part: Sequence[int]) -> None:
        began = time.monotonic()
        # What would not be answered in time is not begun: it would only be sent once more.
        if self._post_until - began <= self._longest:
            self._give_up(part, HecVerdict(HecMeaning.RETRY, _OUT_OF_TIME))
            return
        body = self._envelopes.body(part)
        verdict = self._client.post(
            self._channel, body, len(part), self._post_until, partial(self._plan.count, part)
        )
        seconds = time.monotonic() - began
        if verdict.meaning is HecMeaning.ACCEPTED:
            self._learn(len(body), seconds)
            self._accept(part, verdict)
        elif verdict.cut_off and self._plan.repeat(part):
            return
        elif verdict.meaning is HecMeaning.RETRY:
            self._give_up(part, self._reduced(part, len(body), verdict))
        elif verdict.meaning is HecMeaning.OFFENDER:
            self._cut_out(part, verdict)
        else:
            self._split(part, verdict, len(body))

    def _learn(self, size: int, seconds: float) -> None:
        """Dare a little more after what was answered soon; what took its time is as large as it may be."""
        self._longest = max(self._longest, seconds)
        if seconds <= self._client.timeout / _SOON:
            self._limit.grow(size, seconds)

    def _reduced(self, part: Sequence[int], size: int, verdict: HecVerdict) -> HecVerdict:
        """Make the parts that follow so small that Splunk takes and answers them in time; say so."""
        if verdict.failure is None or not verdict.is_too_slow or len(part) == 1:
            return verdict
        in_time = int(verdict.rate * self._client.timeout)
        self._limit.shrink(min(size, in_time) if in_time else size, rate=verdict.rate)
        message = f"{verdict.failure.message}; {self._limit.description(len(part), size)}"
        return replace(verdict, failure=msgspec.structs.replace(verdict.failure, message=message))

    def _accept(self, part: Sequence[int], verdict: HecVerdict) -> None:
        if self._pending is None:
            self._add_result(part, Verdict.ACCEPTED, verdict)
        elif verdict.ack_id is None:
            self._give_up(part, replace(verdict, failure=_ACK_MISSING))
        else:
            self._pending.add(verdict.ack_id, part, verdict)

    def _give_up(self, part: Sequence[int], verdict: HecVerdict) -> None:
        """Return all parts for later: what turned this one away would turn the others away as well."""
        self._add_result(part, Verdict.RETRY, verdict)
        for waiting in self._plan.stop():
            self._add_result(waiting, Verdict.RETRY, verdict)

    def _cut_out(self, part: Sequence[int], verdict: HecVerdict) -> None:
        """Let through what stands before the offender; send again what stands behind it."""
        at = verdict.offender
        self._add_result(part[at : at + 1], Verdict.REFUSED, verdict)
        self._send_again(part[at + 1 :], HecVerdict(HecMeaning.RETRY, _NOT_REACHED), whole=WITH_THREE_LEFT)
        if at == 0:
            return
        if self._pending is not None and verdict.ack_id is None:
            # It was taken, but that it is indexed can never be known.
            self._plan.mark_repeated(part[:at])
            unconfirmed = HecVerdict(HecMeaning.RETRY, _PREFIX_UNCONFIRMED)
            self._send_again(part[:at], unconfirmed, whole=TO_THE_LAST)
        else:
            self._accept(part[:at], verdict)

    def _split(self, part: Sequence[int], verdict: HecVerdict, size: int) -> None:
        """Send in smaller parts what was refused without naming an offender, or was too large."""
        if len(part) == 1:
            self._add_result(part, Verdict.REFUSED, verdict)
            return
        if verdict.failure is not None and verdict.failure.code == FailureCode.TOO_LARGE:
            self._limit.shrink(size)
        self._send_again(part, verdict, whole=IF_UNSENT)

    def _send_again(self, places: Sequence[int], if_spent: HecVerdict, *, whole: int) -> None:
        """Send these next, in parts so small that the requests that are left suffice to settle them all."""
        self._add_result(self._plan.add_first(places, whole=whole), Verdict.RETRY, if_spent)

    def _add_result(self, places: Sequence[int], verdict: Verdict, why: HecVerdict) -> None:
        if not places:
            return
        elapsed = self._attempt.batch.elapsed_ms()
        accepted = verdict is Verdict.ACCEPTED
        assurance = Assurance.ACCEPTED if self._pending is None else Assurance.INDEXED
        self._results.append(
            DeliveryResult(
                places,
                verdict,
                elapsed,
                failure=None if accepted else why.failure,
                retry_after=why.retry_after,
                http_status=why.http_status,
                assurance=assurance,
                cool_down=why.cool_down,
                # Whatever the last answer says, what was cut off or taken before may have arrived.
                not_accepted=False if self._plan.is_repeated(places) else why.not_accepted,
            )
        )


class SplunkHecSender:
    """Sends batches to one HTTP Event Collector."""

    def __init__(self, config: SplunkHec, guard: Guard, **_unused: object) -> None:
        """Prepare headers and envelopes; connect when the first batch comes."""
        self._format = HecFormat.of(
            host=config.host,
            source=config.source,
            source_type=config.source_type,
            index=config.index,
            fields=config.fields,
        )
        self._client = HecClient(config, guard)
        self._limit = RequestLimit(events=config.batch_events, size=config.batch_bytes)

    def send(self, attempt: DeliveryAttempt, deadline: float) -> list[DeliveryResult]:
        """Send what is to be sent of the batch; see `worker.destinations.Sender`."""
        envelopes = self._format.wrapped_runs(attempt.batch.in_runs())
        with self._client.channel() as channel:
            sending = HecDelivery(self._client, channel, self._limit, attempt, deadline)
            return sending.run(envelopes)

    def preview(self, events: Sequence[QueuedEvent]) -> bytes:
        """Return the very requests for these events, one after the other, but for the token; dials nothing.

        Each is request line, headers, an empty line and the body. With `gzip`, the headers are those of the
        compressed body, which is shown uncompressed. Raises InvalidIntegration if the url cannot be used.
        """
        envelopes = self._format.wrapped(events)
        parts = self._limit.cut(range(len(events)), envelopes.sizes)
        with self._client.channel() as channel:
            bodies = (envelopes.body(part) for part in parts)
            return b"\r\n\r\n".join(self._client.written(channel, body) for body in bodies)

    def close(self, *, notice: float = 0.0) -> None:  # noqa: ARG002 - web servers take many connections
        """Let go of idle connections."""
        self._client.close()
