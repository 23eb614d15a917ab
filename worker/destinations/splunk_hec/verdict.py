"""What a reply of Splunk's HTTP Event Collector means for the events of the request. Pure.

Splunk answers `{"text":…,"code":N[,"invalid-event-number":n][,"ackId":k]}`; the HTTP status alone does
not distinguish a wrong token, a full queue and one bad event, so both are read. Codes and texts:
"Troubleshoot HTTP Event Collector" in Splunk's documentation. The place of the offender counts from 0,
and what stands before it was taken; what stands behind it was not.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import lru_cache
from typing import Any

from worker.destinations.splunk_hec.answer import (
    answer_fields,
    answer_text,
    retry_after_seconds,
    whole_number,
)
from worker.model.deliveries import Failure
from worker.model.failures import FailureCode
from worker.transports.failures import certificate_refusal


class HecMeaning(Enum):
    """The closed set of what a reply can mean for the whole request."""

    #: Every event was accepted.
    ACCEPTED = auto()
    #: Nothing was accepted; the same request may succeed later, or once a setting is corrected.
    RETRY = auto()
    #: The event at `offender` was refused, those before it accepted, those behind it not looked at.
    OFFENDER = auto()
    #: Some event was refused, or the request is too large: send it in smaller parts.
    SPLIT = auto()


@dataclass(frozen=True, slots=True)
class HecVerdict:
    """The meaning, the place of the offender, the reason in words, and when to come back (seconds).

    `ack_id` is the number under which Splunk can be asked whether what it took is indexed; `strained` says
    that it took the request but is about to be overrun, and `cool_down` for how many seconds to spare it.
    `not_accepted` is as in `worker.model.deliveries.DeliveryResult`; `rate` is how many bytes
    a second Splunk took.
    `cut_off`: the request met a kept connection just as the other side ended it (RFC 9112, section 9.3.1).
    """

    meaning: HecMeaning
    failure: Failure | None = None
    offender: int = 0
    retry_after: float | None = None
    http_status: int | None = None
    code: int | None = None
    ack_id: int | None = None
    cool_down: float = 0.0
    not_accepted: bool | None = None
    cut_off: bool = False
    rate: float = 0.0

    @property
    def is_too_slow(self) -> bool:
        """Whether it did not take or answer the request in time; 408 and 504 say so of what is in between."""
        code = self.failure.code if self.failure else None
        return code is FailureCode.TIMED_OUT or self.http_status in _TOO_SLOW

    @property
    def strained(self) -> bool:
        """Whether Splunk asks to be sent less (codes 24 and 25)."""
        return self.code in _STRAINED_CODES

    @property
    def spends_channel(self) -> bool:
        """Whether Splunk takes nothing more on this channel (codes 10, 11, 27 and 28)."""
        return self.code in _CHANNEL_CODES

    @property
    def is_configuration(self) -> bool:
        """Whether only a person can fix it, in Splunk or in the integration."""
        named = self.http_status == _BAD_REQUEST and self.code in _HINTS
        return named or self.http_status in _UNAUTHORIZED


_HTTP_OK = 200
_SUCCESSES = range(200, 300)
#: A body that only says that all is well is no longer, in bytes, and has no other members.
_LONGEST_ACCEPTANCE, _SAYS_NO_MORE = 64, frozenset({"text", "code"})
_BUSY_STATUSES = frozenset({408, 425, 429})
_TOO_LARGE = 413
_TOO_SLOW = frozenset({408, 504})
_BAD_REQUEST = 400
_UNAUTHORIZED = frozenset({401, 403})

_STRAINED_CODES = frozenset({24, 25})
_ACCEPTED_CODES = frozenset({0}) | _STRAINED_CODES
#: Codes by which Splunk refuses one event (protocol: invalid data format, event field, indexed fields).
_EVENT_CODES = frozenset({6, 12, 13, 15})
#: Codes that pass by themselves, whatever status a proxy makes of theirs.
_BUSY_CODES = frozenset({8, 9, 18, 19, 20, 23, 26, 27})
#: Codes by which Splunk says that it did not take the request; after code 8 that is unknown.
_NOT_ACCEPTED_CODES = _BUSY_CODES - {8}
_ACK_ID = re.compile(r"[0-9]{1,18}")
_ACK_ID_LIMIT = 10**18
_CHANNEL_FULL = 27
_CHANNEL_CODES = frozenset({10, 11, _CHANNEL_FULL, 28})

_WHERE = "Settings > Data inputs > HTTP Event Collector"
_TOKEN = f"correct the integration's `token`: compare it with the one in Splunk, {_WHERE}"
_ENABLE = f"enable the token in Splunk, {_WHERE}, or give the integration another `token`"
_CHANNEL = (
    "let proxies pass the header X-Splunk-Request-Channel, and lead a client to one indexer (sticky sessions)"
    "; or give the integration a token without indexer acknowledgement and switch `use_ack` off"
)
ENABLE_ACK = (
    f"enable indexer acknowledgement for this token in Splunk, {_WHERE}, "
    "or switch the integration's `use_ack` off"
)
#: Splunk's codes that waiting does not help: our code for each, and the setting to change.
_HINTS = {
    1: (FailureCode.TOKEN_DISABLED, _ENABLE),
    2: (FailureCode.TOKEN_MISSING, _TOKEN),
    3: (FailureCode.TOKEN_INVALID, _TOKEN),
    4: (FailureCode.TOKEN_INVALID, _TOKEN),
    5: (FailureCode.NO_DATA, "report this: an empty request was sent"),
    7: (
        FailureCode.INDEX_INCORRECT,
        "correct the integration's `index`, or allow it for this token in Splunk",
    ),
    10: (FailureCode.CHANNEL_MISSING, _CHANNEL),
    11: (FailureCode.CHANNEL_INVALID, _CHANNEL),
    14: (FailureCode.ACK_DISABLED, ENABLE_ACK),
    16: (
        FailureCode.QUERY_TOKEN,
        "correct the integration's `url`: something adds a query with a token to it",
    ),
    21: (FailureCode.TOKEN_INVALID, _TOKEN),
    22: (FailureCode.TOKEN_DISABLED, _ENABLE),
    28: (FailureCode.CHANNEL_MISSING, _CHANNEL),
}
_BUSY_HINT = "if it lasts, Splunk's queues are full, or it is too small for what it is sent"
_FULL_CHANNEL_HINT = (
    "if it lasts, the acknowledgements of this token are not polled: set `use_ack` to true, "
    "or indexer acknowledgement off for the token in Splunk"
)


#: A connection that is cut behind the headers looks like this: no setting is known to be wrong.
_CUT = HecVerdict(
    HecMeaning.RETRY,
    Failure(
        FailureCode.ANSWER_CUT,
        "HTTP 200 without an answer",
        "if it lasts, look at proxies, and check that the integration's `url` is that of Splunk's HEC",
        _HTTP_OK,
    ),
    http_status=_HTTP_OK,
)


def hec_verdict(status: int, headers: Mapping[str, str], body: bytes, count: int) -> HecVerdict:
    """Judge the reply to a request that carried `count` events."""
    if (
        status == _HTTP_OK
        and len(body) <= _LONGEST_ACCEPTANCE
        and (accepted := _acceptance(body)) is not None
    ):
        return accepted
    if status == _HTTP_OK and not body:
        return _CUT
    if (refusal := certificate_refusal(status, body)) is not None:
        return HecVerdict(HecMeaning.RETRY, refusal, http_status=status)
    answer = answer_fields(body)
    words = answer_text(status, answer) if body else f"HTTP {status} without an answer"
    code, ack_id = whole_number(answer.get("code")), whole_number(answer.get("ackId"))
    known = ack_id is not None and 0 <= ack_id < _ACK_ID_LIMIT
    verdict = _judge(status, headers, answer, words, count)
    return replace(verdict, http_status=status, code=code, ack_id=ack_id if known else None)


@lru_cache(maxsize=64)
def _acceptance(body: bytes) -> HecVerdict | None:
    """Return the verdict of a 200 that says no more than that all was accepted; None for any other."""
    answer = answer_fields(body)
    if whole_number(answer.get("code")) != 0 or answer.keys() - _SAYS_NO_MORE:
        return None
    return HecVerdict(HecMeaning.ACCEPTED, http_status=_HTTP_OK, code=0)


def _judge(
    status: int, headers: Mapping[str, str], answer: dict[str, Any], words: str, count: int
) -> HecVerdict:
    code = whole_number(answer.get("code"))
    if status in _SUCCESSES:
        return _judge_success(status, code, words)
    # A busy Splunk may name an event as well. Those who met it disagree on whether it took what stands
    # before that one, so all of it is sent again: a duplicate is better than a loss.
    if status in _BUSY_STATUSES or status >= 500 or code in _BUSY_CODES:  # noqa: PLR2004 - the 5xx class of RFC 9110
        hint = _FULL_CHANNEL_HINT if code == _CHANNEL_FULL else _BUSY_HINT
        failure = Failure(FailureCode.DESTINATION_BUSY, words, hint, status)
        return HecVerdict(
            HecMeaning.RETRY,
            failure,
            retry_after=retry_after_seconds(headers),
            not_accepted=_names_no_event(answer) if code in _NOT_ACCEPTED_CODES else None,
        )
    if status == _TOO_LARGE:
        hint = "raise max_content_length in Splunk's limits.conf, or lower the integration's batch_bytes"
        return HecVerdict(HecMeaning.SPLIT, Failure(FailureCode.TOO_LARGE, words, hint, status))
    if status == _BAD_REQUEST and code in _EVENT_CODES:
        return _judge_refused(answer, words, count)
    # A wrong index is reported with a place that is one too far: 0 or 1 means the first event.
    not_accepted = None if _names_no_event(answer, beyond=1) else False
    return HecVerdict(HecMeaning.RETRY, _misconfigured(status, code, words), not_accepted=not_accepted)


def confirmed_acks(status: int, headers: Mapping[str, str], body: bytes) -> frozenset[int] | HecVerdict:
    """Return which ackIds are said to be indexed, or the meaning of an answer that does not say so.

    Only `true` counts; whatever else stands there is no confirmation.
    """
    answer = answer_fields(body)
    acks = answer.get("acks")
    if status in _SUCCESSES and isinstance(acks, dict):
        return frozenset(
            int(key) for key, indexed in acks.items() if indexed is True and _ACK_ID.fullmatch(key)
        )
    verdict = hec_verdict(status, headers, body, 0)
    if verdict.failure is not None:
        return verdict
    return replace(
        verdict, meaning=HecMeaning.RETRY, failure=_not_splunk(status, answer_text(status, answer))
    )


def _judge_success(status: int, code: int | None, words: str) -> HecVerdict:
    """Splunk's code decides: it answers with one, always. Without it, even a 204 is the word of a gateway."""
    if code in _ACCEPTED_CODES:
        return HecVerdict(HecMeaning.ACCEPTED)
    return HecVerdict(HecMeaning.RETRY, _not_splunk(status, words))


def _names_no_event(answer: dict[str, Any], *, beyond: int = 0) -> bool:
    """Whether the answer leaves no doubt that not even the first events were taken."""
    place = whole_number(answer.get("invalid-event-number"))
    return place is None or place <= beyond


def _not_splunk(status: int, words: str) -> Failure:
    hint = (
        "correct the integration's `url`: it should end in /services/collector/event; "
        "and let no proxy replace Splunk's answers"
    )
    return Failure(FailureCode.NOT_SPLUNK, words, hint, status)


def _judge_refused(answer: dict[str, Any], words: str, count: int) -> HecVerdict:
    hint = "look at the event and the integration's `fields`: Splunk cannot read them"
    failure = Failure(FailureCode.EVENT_REFUSED, words, hint, _BAD_REQUEST)
    place = whole_number(answer.get("invalid-event-number"))
    if place is not None and 0 <= place < count:
        return HecVerdict(HecMeaning.OFFENDER, failure, offender=place)
    return HecVerdict(HecMeaning.SPLIT, failure)


def _misconfigured(status: int, code: int | None, words: str) -> Failure:
    if code in _HINTS:
        name, hint = _HINTS[code]
        return Failure(name, words, hint, status)
    if 300 <= status < 400:  # noqa: PLR2004 - the 3xx class of RFC 9110
        return Failure(
            FailureCode.REDIRECTED,
            words,
            "put the final address into the integration's `url`: none is followed",
            status,
        )
    hint = "check the integration's `url` and `token`: is this Splunk's HTTP Event Collector?"
    return Failure(FailureCode.REFUSED, words, hint, status)
