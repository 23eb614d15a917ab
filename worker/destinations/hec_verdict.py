"""What a reply of Splunk's HTTP Event Collector means for the events of the request. Pure.

Splunk answers `{"text":…,"code":N[,"invalid-event-number":n]}`; the HTTP status alone does not tell a
wrong token from a full queue from one bad event, so both are read. Codes and texts: "Troubleshoot HTTP
Event Collector" in Splunk's documentation. The place of the offender counts from 0, and what stands
before it was indexed; what stands behind it was not.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Any

from worker.model.deliveries import Finding


class Meaning(Enum):
    """The closed set of what a reply can mean for the whole request."""

    #: Every event was accepted.
    ACCEPTED = auto()
    #: Nothing was accepted; the same request may succeed later, or once a setting is mended.
    RETRY = auto()
    #: The event at `offender` was refused, those before it accepted, those behind it not looked at.
    OFFENDER = auto()
    #: Some event was refused, or the request is too large: send it in smaller parts.
    SPLIT = auto()


@dataclass(frozen=True, slots=True)
class HecVerdict:
    """The meaning, the place of the offender, the reason in words, and when to come back (seconds)."""

    meaning: Meaning
    finding: Finding | None = None
    offender: int = 0
    retry_after: float | None = None
    http_status: int | None = None


_HTTP_OK = 200
_BUSY_STATUSES = frozenset({408, 425, 429})
_TOO_LARGE = 413
_BAD_REQUEST = 400

_ACCEPTED_CODES = frozenset({0, 24, 25})
#: Codes by which Splunk refuses one event (protocol: invalid data format, event field, indexed fields).
_EVENT_CODES = frozenset({6, 12, 13, 15})

_TOKEN = "check the integration's token against Splunk: Settings > Data inputs > HTTP Event Collector"  # noqa: S105 - advice, no secret
_ACK = "switch indexer acknowledgement off for this token in Splunk"
_HINTS = {
    1: ("token_disabled", "enable the token in Splunk: Settings > Data inputs > HTTP Event Collector"),
    2: ("token_missing", _TOKEN),
    3: ("token_invalid", _TOKEN),
    4: ("token_invalid", _TOKEN),
    5: ("no_data", "tell us: an empty request was sent"),
    7: ("index_incorrect", "allow the integration's index for this token in Splunk, or correct `index`"),
    10: ("channel_missing", _ACK),
    11: ("channel_invalid", _ACK),
    14: ("ack_disabled", _ACK),
    16: ("query_token", "remove the query string from the integration's url"),
    21: ("token_invalid", _TOKEN),
    22: ("token_disabled", "enable the token in Splunk: Settings > Data inputs > HTTP Event Collector"),
    28: ("channel_missing", _ACK),
}
_BUSY_HINT = "if it lasts, Splunk's queues are full, or it is too small for what it is sent"


def judge(status: int, headers: Mapping[str, str], body: bytes, count: int) -> HecVerdict:
    """Judge the reply to a request that carried `count` events."""
    return replace(_judge(status, headers, body, count), http_status=status)


def _judge(status: int, headers: Mapping[str, str], body: bytes, count: int) -> HecVerdict:
    answer = _parsed(body)
    code = _number(answer.get("code"))
    words = _words(status, answer)
    if status == _HTTP_OK:
        return _judge_ok(code, words)
    if status in _BUSY_STATUSES or status >= 500:  # noqa: PLR2004 - the 5xx class of RFC 9110
        finding = Finding("destination_busy", words, _BUSY_HINT, status)
        return HecVerdict(Meaning.RETRY, finding, retry_after=_retry_after(headers))
    if status == _TOO_LARGE:
        hint = "raise max_content_length in Splunk's limits.conf, or lower the integration's batch_bytes"
        return HecVerdict(Meaning.SPLIT, Finding("too_large", words, hint, status))
    if status == _BAD_REQUEST and code in _EVENT_CODES:
        return _judge_refused(answer, words, count)
    return HecVerdict(Meaning.RETRY, _misconfigured(status, code, words))


def _judge_ok(code: int | None, words: str) -> HecVerdict:
    if code in _ACCEPTED_CODES:
        return HecVerdict(Meaning.ACCEPTED)
    hint = "correct the integration's url: it should end in /services/collector/event"
    return HecVerdict(Meaning.RETRY, Finding("not_splunk", words, hint, _HTTP_OK))


def _judge_refused(answer: dict[str, Any], words: str, count: int) -> HecVerdict:
    hint = "look at the event: Splunk cannot read it"
    finding = Finding("event_refused", words, hint, _BAD_REQUEST)
    place = _number(answer.get("invalid-event-number"))
    if place is not None and 0 <= place < count:
        return HecVerdict(Meaning.OFFENDER, finding, offender=place)
    return HecVerdict(Meaning.SPLIT, finding)


def _misconfigured(status: int, code: int | None, words: str) -> Finding:
    if code in _HINTS:
        name, hint = _HINTS[code]
        return Finding(name, words, hint, status)
    if 300 <= status < 400:  # noqa: PLR2004 - the 3xx class of RFC 9110
        return Finding(
            "redirected", words, "put the final address into the integration's url: none is followed", status
        )
    return Finding("refused", words, "check the integration's url and token; is this Splunk's HEC?", status)


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _number(value: Any) -> int | None:
    """Return a whole number, and None for whatever else JSON may bring, True and 0.0 included."""
    return value if type(value) is int else None


def _words(status: int, answer: dict[str, Any]) -> str:
    if "code" not in answer:
        return f"HTTP {status} with an answer that is not Splunk's"
    text = str(answer.get("text", ""))[:200]
    words = f"HTTP {status}: {text} (code {str(answer['code'])[:20]})"
    return words.encode(errors="replace").decode()  # JSON may bring lone surrogates, which nothing can store


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Read Retry-After (RFC 9110 section 10.2.3): seconds, or an HTTP date."""
    text = headers.get("Retry-After", "").strip()
    if text.isdecimal() and text.isascii():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
