"""What becomes of a batch: the result for each of its events, and the record that outlives it.

A sender reports facts, a verdict turns them into `DeliveryResult`s, a settle writes those as `Outcome`s
(and `DeadLetter`s), and the recorder makes rows of them. Times are milliseconds since 1970 UTC by
the clock of Redis, so that latencies never compare two clocks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from worker.model.events import QueuedEvent
from worker.model.failures import FailureCode
from worker.model.untrusted_text import in_one_line

#: No event is carried by more requests than this, but for those that were certainly not accepted while its
#: backlog was held; one whose worker crashed before the reply is always sent once more.
MAX_REQUESTS = 4


class Status(StrEnum):
    """Where one event stands with one integration."""

    #: The destination has accepted it.
    DELIVERED = "delivered"
    #: An attempt failed; the next one is due at `retry_at_ms`.
    RETRYING = "retrying"
    #: It is a dead letter.
    DEAD = "dead"


class Cause(StrEnum):
    """Why an event is a dead letter, as far as what to do next depends on it."""

    #: Every attempt failed, though nothing is wrong with the event: replay it once the destination works.
    EXHAUSTED = "exhausted"
    #: The destination refused this very event: sending it again will not help.
    REFUSED = "refused"
    #: It was never a governance event.
    INVALID = "invalid"
    #: Its integration was deleted before it could be sent.
    DELETED = "deleted"
    #: Worker after worker died while sending it, and it alone.
    WORKER_LOST = "worker_lost"
    #: Its bytes in Redis were damaged: what is left of them may not be the event.
    UNREADABLE = "unreadable"


#: What is never sent again: it is not an event, or maybe not the one that was published.
NOT_REPLAYABLE = frozenset({Cause.INVALID, Cause.UNREADABLE})


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """What went wrong, for people: a stable code, a sentence, and a hint.

    The sentence may hold words of others, such as a SIEM's answer: it is cleaned of what cannot be printed.
    """

    code: FailureCode
    message: str
    hint: str
    http_status: int | None = None

    def __post_init__(self) -> None:
        """Clean the words, also of what the release before this one has written."""
        if not self.message.isprintable():
            msgspec.structs.force_setattr(self, "message", in_one_line(self.message))
        if not self.hint.isprintable():
            msgspec.structs.force_setattr(self, "hint", in_one_line(self.hint))


class Verdict(StrEnum):
    """What a reply means for an event."""

    ACCEPTED = "accepted"
    RETRY = "retry"
    REFUSED = "refused"


class Assurance(StrEnum):
    """What a delivery can honestly claim: how far the event is known to have come."""

    #: The bytes were handed over to the network (UDP), or to the receiver's system (TCP, TLS).
    SENT = "sent"
    #: The receiver has read all bytes and closed the connection in answer to our end of it.
    RECEIVED = "received"
    #: The receiver's software has said yes (HTTP).
    ACCEPTED = "accepted"
    #: It can be searched (HEC with indexer acknowledgement).
    INDEXED = "indexed"


#: Failures that come before the first byte of an event, or amid the handshake before it is read.
_NOT_SENT = frozenset(
    {
        FailureCode.NAME_UNKNOWN,
        FailureCode.ADDRESS_REFUSED,
        FailureCode.CONNECT_FAILED,
        FailureCode.TLS_FAILED,
        FailureCode.NOT_PROCESSED,
        FailureCode.CONFIGURATION,
        FailureCode.OUT_OF_TIME,
        FailureCode.OUT_OF_RESOURCES,
    }
)


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Events that were said to be delivered, of which that is no longer certain, and why.

    `attempts`, how many requests have carried each, runs parallel to `events`.
    """

    events: list[QueuedEvent]
    attempts: list[int]
    failure: Failure


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """The verdict on some events of a batch, which are named by their places in it.

    `elapsed_ms` counts from the claim of the batch to the reply; `retry_after` is what the
    destination asked for, in seconds. `assurance` goes with ACCEPTED. `cool_down` is for how many seconds the
    integration should be spared, although all went well: the destination is about to be overrun.
    `withdrawn` are events of an earlier batch.
    `not_accepted` is whether it is certain that the destination accepted none of these events; None leaves
    that to the finding and the status.
    """

    places: Sequence[int]
    verdict: Verdict
    elapsed_ms: int
    failure: Failure | None = None
    retry_after: float | None = None
    http_status: int | None = None
    assurance: Assurance = Assurance.ACCEPTED
    cool_down: float = 0.0
    withdrawn: Withdrawn | None = None
    not_accepted: bool | None = None

    @property
    def is_shortage(self) -> bool:
        """Whether it was our own shortage (of files, threads, …): no attempt, and no verdict on the SIEM."""
        short = self.failure is not None and self.failure.code == FailureCode.OUT_OF_RESOURCES
        return short and self.verdict is Verdict.RETRY

    @property
    def is_certainly_not_accepted(self) -> bool:
        """Whether these events cannot have arrived: they were not sent, or turned away unread.

        A status of the classes 3xx and 4xx says that the request was not carried out (RFC 9110, 15.4 and
        15.5). One of 5xx does not: a proxy may have lost the answer to what was carried out.
        """
        if self.not_accepted is not None:
            return self.not_accepted
        if self.http_status is not None:
            return 300 <= self.http_status < 500  # noqa: PLR2004 - the classes of RFC 9110
        return self.failure is not None and self.failure.code in _NOT_SENT


class EventTrace(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the ledger keeps of an event that is not dead: all but its payload.

    `content` is the digest of its bytes (`worker.model.outcomes`); empty if they are lost, or if a worker
    of an earlier release wrote this, which skips it as well.
    """

    id: str
    type: str
    time_ms: int
    published_ms: int
    attempts: int
    content: str = ""


class Outcome(msgspec.Struct, frozen=True, array_like=True):
    """Events of one batch that share a fate. `settled_ms` is when the destination's reply came.

    `http_status` is that reply's; what failed without one, or without HTTP, has none. `assurance` is set
    with what was delivered. Without `sent`, no request carried the events this time: they wait, or have died
    of something else than an attempt.
    """

    integration_id: str
    status: str
    settled_ms: int
    failure: Failure | None
    retry_at_ms: int | None
    events: list[EventTrace]
    http_status: int | None = None
    assurance: str | None = None
    sent: bool = True


class DeadLetter(msgspec.Struct, frozen=True, array_like=True):
    """Events that will not be tried again by themselves, with their payload and the reason.

    `integration_id` is None for what was never a valid event, and so has no destination; `tenant_id` then
    says whose it is, where that can be read (an earlier release neither writes nor reads it). `attempts`
    runs parallel to `events`.
    """

    integration_id: str | None
    cause: str
    failure: Failure
    dead_ms: int
    events: list[QueuedEvent]
    attempts: list[int]
    tenant_id: str | None = None


class BreakerSignal(StrEnum):
    """What one sending says of the destination as a whole."""

    #: Something came through, or was refused for what it is: it answers.
    WELL = "well"
    #: Nothing came through.
    FAILED = "failed"
    #: Nothing will come through before a person has corrected a setting, here or there.
    MISCONFIGURED = "misconfigured"
    #: Nothing was sent, so that nothing is known.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Retry:
    """When what is left of a batch is due again; Celery waits for it when it may, else the sweeper.

    `reason` is a finding's code: Celery's log and Flower show it, and a destination's own words might
    repeat an event.
    """

    seconds: float
    by_celery: bool
    request_counts: bytes
    attempts: int
    reason: str


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of a batch: `settled` events are delivered or dead, the rest awaits its retry.

    For `cool_down` seconds no further slot is leased. With `disable`, nothing more is claimed until a user
    switches the integration on again. `health` is what the sending says of the destination, `cause` the code
    of the finding behind it, `asked` the seconds that it wants to be left alone. What is `suspicious` is
    still sent in parts when it is claimed again. Of those delivered, `retried` took more than one request.
    """

    settled: int
    outcomes: list[Outcome]
    dead: list[DeadLetter]
    retry: Retry | None
    cool_down: float = 0.0
    disable: bool = False
    health: BreakerSignal = BreakerSignal.UNKNOWN
    cause: str = FailureCode.UNKNOWN
    asked: float = 0.0
    suspicious: bool = False
    retried: int = 0
