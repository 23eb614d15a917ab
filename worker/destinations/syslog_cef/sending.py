"""One sending of one batch over a syslog stream: which events go together, and what came of each.

There is no answer, so all that is learned of a part is whether the receiver took it and kept the
connection open. One message on which it hangs up must not take its batch with it: what failed goes out
again at once in smaller parts, and one by one with the last request. That is only of use while the
receiver takes anything: so first one event goes out alone, and where that fails as well, all of it waits
for the next sending.

To a slow receiver smaller parts go out, by what it was seen to take (`RequestLimit`).
"""

import logging
import time
from collections.abc import Mapping, Sequence
from functools import partial

from worker.destinations.batching import IF_UNSENT, BatchPlan, RequestLimit
from worker.destinations.syslog_cef.withdrawals import WithdrawnParts
from worker.model.batches import DeliveryAttempt
from worker.model.deliveries import Assurance, DeliveryResult, Failure, Verdict
from worker.model.errors import (
    DeadlinePassed,
    InvalidIntegration,
    OutOfResources,
    TlsFailed,
    TransportError,
    Unconfirmed,
)
from worker.model.failures import FailureCode
from worker.transports.failures import describe
from worker.transports.syslog.stream import SyslogStream

log = logging.getLogger(__name__)

#: After so many failed parts in a row, a receiver that took something before is doubted.
_MOST_IN_A_ROW = 3
_OUT_OF_TIME = Failure(
    FailureCode.OUT_OF_TIME,
    "the time for this batch ran out before these events were sent",
    "if it lasts, the receiver is too slow for what it is sent",
)


class SyslogDelivery:
    """One sending of one batch; a part of it is what one request carries, as places in the batch."""

    def __init__(
        self,
        stream: SyslogStream,
        limit: RequestLimit,
        withdrawn: WithdrawnParts,
        attempt: DeliveryAttempt,
        deadline: float,
    ) -> None:
        """Send until `deadline` (monotonic seconds)."""
        self._stream = stream
        self._limit = limit
        self._withdrawn = withdrawn
        self._attempt = attempt
        self._deadline = deadline
        self._results: list[DeliveryResult] = []
        self._is_taking = False
        self._failures = 0
        self._longest = 0.0

    def run(self, frames: Mapping[int, bytes], patience: float) -> list[DeliveryResult]:
        """Send the frames, which stand under their places in the batch; return a result for each.

        The receiver may take nothing for `patience` seconds.
        """
        self._frames = frames
        self._patience = patience
        sizes = dict(zip(frames, map(len, frames.values()), strict=True))
        self._plan = BatchPlan(self._attempt, self._limit, sizes)
        self._queue(list(frames))
        while self._plan:
            self._send(self._plan.next_part())
        return self._results

    def _queue(self, places: Sequence[int]) -> None:
        """Send these behind all that waits; what fewer failed requests have carried goes first."""
        least_sent = sorted(places, key=self._attempt.request_counts.__getitem__)
        self._plan.add(least_sent, whole=IF_UNSENT)

    def _send(self, part: Sequence[int]) -> None:
        seconds = self._deadline - time.monotonic()
        if seconds <= self._longest:
            self._give_up(part, _OUT_OF_TIME)
            return
        frames = list(map(self._frames.__getitem__, part))
        began, begun = time.monotonic(), list[int]()
        try:
            on_end = self._withdrawn.of(self._attempt, part)
            assurance = self._stream.send(
                frames,
                seconds,
                patience=self._patience,
                on_send=partial(begun.extend, part),
                on_end=on_end,
                sending=self,
                is_suspect=self._is_suspect(part),
            )
        except TransportError as error:
            self._fail(part, error)
        except InvalidIntegration as error:
            self._plan.count(part)
            hint = "correct the integration's TLS settings"
            self._give_up(part, Failure(FailureCode.CONFIGURATION, str(error), hint))
        except Exception:  # a shortage or a fault of ours: it counts if it may have gone out
            self._plan.count(begun)
            raise
        else:
            self._longest = max(self._longest, time.monotonic() - began)
            self._limit.grow(self._plan.size_of(part))
            self._accept(part, assurance)

    def _is_suspect(self, part: Sequence[int]) -> bool:
        """Whether it is one event that has failed before, and so the reason if the receiver hangs up."""
        return len(part) == 1 and self._attempt.request_counts[part[0]] > 0

    def _accept(self, part: Sequence[int], assurance: Assurance) -> None:
        self._is_taking, self._failures = True, 0
        self._plan.count(part)
        self._add_result(part, Verdict.ACCEPTED, None, assurance)

    def _fail(self, part: Sequence[int], error: TransportError) -> None:
        if isinstance(error, OutOfResources):  # whatever has gone out goes out once more
            self._give_up(part, describe(error))
        elif not error.tried:
            self._plan.count(part)
            self._give_up(part, describe(error))
        elif isinstance(error, DeadlinePassed | Unconfirmed):
            self._reduce(part, error)
        else:
            self._plan.count(part[: error.tried])
            self._narrow(part[: error.tried], part[error.tried :], error)

    def _reduce(self, part: Sequence[int], error: TransportError) -> None:
        """Let through what the receiver has taken in the time; the rest goes out in smaller parts later."""
        tried = part[: error.tried]
        size = self._plan.size_of(tried)
        self._limit.shrink(size, rate=error.rate)
        if error.taken:
            self._accept(part[: error.taken], Assurance.SENT)
        failure = describe(error)
        failure = Failure(
            failure.code, f"{failure.message}; {self._limit.description(len(tried), size)}", failure.hint
        )
        late = part[error.taken : error.tried]
        self._plan.count(late)
        self._add_result(late, Verdict.RETRY, failure)
        self._give_up(part[error.tried :], failure)

    def _narrow(self, suspects: Sequence[int], rest: Sequence[int], error: TransportError) -> None:
        """Look for the event on which the receiver hangs up, unless it does so on everything."""
        self._failures += 1
        if self._failures > _MOST_IN_A_ROW:
            self._is_taking, self._failures = False, 0
        if len(suspects) == 1:
            if self._is_taking:
                self._add_result(suspects, Verdict.RETRY, _alone(describe(error)))
                self._queue(rest)
            else:
                self._give_up([*suspects, *rest], describe(error))
            return
        if not isinstance(error, TlsFailed):  # who refuses us in TLS has read nothing
            self._plan.mark_repeated(suspects)
        self._queue(rest)
        if self._is_taking:
            self._queue(suspects)
        else:
            self._queue(suspects[:-1])
            self._plan.put_first(suspects[-1:])

    def _give_up(self, part: Sequence[int], failure: Failure) -> None:
        """Whatever kept this part from the receiver keeps the others as well: they all come back later."""
        self._add_result(part, Verdict.RETRY, failure)
        for waiting in self._plan.stop():
            self._add_result(waiting, Verdict.RETRY, failure)

    def _add_result(
        self,
        part: Sequence[int],
        verdict: Verdict,
        failure: Failure | None,
        assurance: Assurance = Assurance.SENT,
    ) -> None:
        if not part:
            return
        elapsed = self._attempt.batch.elapsed_ms()
        # Whatever keeps it back at last, what went out before may have arrived.
        not_accepted = False if self._plan.is_repeated(part) else None
        result = DeliveryResult(
            part, verdict, elapsed, failure, assurance=assurance, not_accepted=not_accepted
        )
        self._results.append(result)


def _alone(failure: Failure) -> Failure:
    hint = (
        "the receiver takes other events, but not this one: look into its log; if the message is too long "
        "for it, lower the integration's `max_message_bytes`"
    )
    return Failure(failure.code, f"{failure.message}; this event was sent by itself", hint)
