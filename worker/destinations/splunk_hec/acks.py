"""Waiting until Splunk says that what it took is indexed (Splunk: "About HEC indexer acknowledgment").

Every event of the requests that one sending had accepted gets a result:
accepted once Splunk has said `true` for its request, to be sent again if it never does.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from worker.destinations.splunk_hec.channels import Channel
from worker.destinations.splunk_hec.client import HecClient
from worker.destinations.splunk_hec.verdict import HecVerdict
from worker.model.deliveries import Failure, Verdict
from worker.model.failures import FailureCode

#: Splunk was seen to index within about a second; each further question comes after twice the time.
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 2.0
#: Kept of the deadline for the answer to the last question: a `true` that is not received is lost.
_LAST_ANSWER = 0.5

_STICKY = "let load balancers keep a client on one indexer (sticky sessions)"
_AMBIGUOUS = Failure(
    FailureCode.NOT_INDEXED,
    "Splunk gave two requests the same ackId: it was restarted, or they reached two indexers",
    f"if it lasts, {_STICKY}, or switch the integration's `use_ack` off",
)

#: Takes places in the batch, the verdict on their events, and why.
AddResult = Callable[[Sequence[int], Verdict, HecVerdict], None]


@dataclass(frozen=True, slots=True)
class _Taken:
    """A request that Splunk has taken, at `replied` (monotonic seconds)."""

    places: Sequence[int]
    verdict: HecVerdict
    replied: float


class PendingAcks:
    """The requests of one sending, on one channel, that Splunk has taken and not yet confirmed."""

    def __init__(
        self, client: HecClient, channel: Channel, seconds: float, deadline: float, add_result: AddResult
    ) -> None:
        """Wait for each request up to `seconds` from its reply, and for all until `deadline` (monotonic)."""
        self._client = client
        self._channel = channel
        self._seconds = seconds
        self._deadline = deadline
        self._add_result = add_result
        self._taken: dict[int, _Taken] = {}
        self._ambiguous: set[int] = set()

    def add(self, ack_id: int, places: Sequence[int], verdict: HecVerdict) -> None:
        """Take in a request that was just accepted; of two with one ackId both are unsure."""
        other = self._taken.pop(ack_id, None)
        if other is None and ack_id not in self._ambiguous:
            self._taken[ack_id] = _Taken(places, verdict, time.monotonic())
            return
        self._ambiguous.add(ack_id)
        for lost in (places, other.places if other else ()):
            self._add_result(lost, Verdict.RETRY, _because(verdict, _AMBIGUOUS))

    def wait(self) -> None:
        """Ask at growing intervals until every request is confirmed or its time is over."""
        pause = _FIRST_PAUSE
        while self._taken:
            time.sleep(self._until_next_question(pause))
            pause = min(pause * 2, _LONGEST_PAUSE)
            self._ask()

    def _until_next_question(self, pause: float) -> float:
        latest = max(taken.replied for taken in self._taken.values()) + self._seconds
        last = min(latest, self._deadline - _LAST_ANSWER)
        return max(0.0, min(pause, last - time.monotonic()))

    def _ask(self) -> None:
        answer = self._client.ask_indexed(self._channel, self._taken, self._deadline)
        if not isinstance(answer, HecVerdict):
            for ack_id in answer & self._taken.keys():
                self._confirm(self._taken.pop(ack_id))
            self._give_back_late(None)
        elif answer.is_configuration:
            why = replace(answer, not_accepted=False)  # it is about the question; these were taken before
            for taken in self._taken.values():
                self._add_result(taken.places, Verdict.RETRY, why)
            self._taken.clear()
        else:
            self._give_back_late(answer.failure)

    def _confirm(self, taken: _Taken) -> None:
        self._channel.unconfirmed -= 1
        self._add_result(taken.places, Verdict.ACCEPTED, taken.verdict)

    def _give_back_late(self, trouble: Failure | None) -> None:
        """Give up what will not be asked about again; `trouble` is why the last question had no answer."""
        now = time.monotonic()
        over = now >= self._deadline - _LAST_ANSWER
        for ack_id, taken in list(self._taken.items()):
            waited = now - taken.replied
            if over or waited >= self._seconds:
                del self._taken[ack_id]
                reason = _because(taken.verdict, _not_indexed(waited, trouble))
                self._add_result(taken.places, Verdict.RETRY, reason)


def _not_indexed(waited: float, trouble: Failure | None) -> Failure:
    words = f"Splunk took these events, but did not confirm within {waited:.0f} s that they are indexed"
    if trouble is not None:
        # Where we were short of what it takes to ask, it was not Splunk that failed.
        is_ours = trouble.code == FailureCode.OUT_OF_RESOURCES
        code = trouble.code if is_ours else FailureCode.NOT_INDEXED
        return Failure(code, f"{words}; asked at last: {trouble.message}", trouble.hint)
    hint = (
        "look at Splunk's indexing queues, raise the integration's `ack_timeout_seconds` (SIEM_SEND_DEADLINE "
    )
    return Failure(FailureCode.NOT_INDEXED, words, f"if it lasts, {hint}bounds it), and {_STICKY}")


def _because(verdict: HecVerdict, failure: Failure) -> HecVerdict:
    return HecVerdict(verdict.meaning, failure, http_status=verdict.http_status, cool_down=verdict.cool_down)
