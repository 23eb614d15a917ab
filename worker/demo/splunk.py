"""What Splunk makes of a request to its HTTP Event Collector: from bytes to events and a reply.

As strict as Splunk was measured to be (Enterprise 10.4): a batch is read up to its first bad envelope,
what stands before that one is indexed, and the reply names its place, counted from 0. With indexer
acknowledgement, each request that was taken has a number, and its `true` is said once.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import parse_qs

#: Where envelopes are posted; a query may follow.
EVENT_PATHS = frozenset({"/services/collector", "/services/collector/event", "/services/collector/event/1.0"})
ACK_PATH = "/services/collector/ack"
HEALTH_PATHS = frozenset({"/services/collector/health", "/services/collector/health/1.0"})

_STICKY = (
    "If you have multiple indexers, sticky session load balancers must be provisioned and client requests "
    "must be routed accordingly."
)
#: Status and text of each code, as Splunk's "Troubleshoot HTTP Event Collector" lists them; 28 is what
#: Splunk Cloud was seen to answer where Splunk Enterprise says 10.
REPLIES = {
    0: (200, "Success"),
    1: (403, "Token disabled"),
    2: (401, "Token is required"),
    3: (401, "Invalid authorization"),
    4: (403, "Invalid token"),
    5: (400, "No data"),
    6: (400, "Invalid data format"),
    7: (400, "Incorrect index"),
    8: (500, "Internal server error"),
    9: (503, "Server is busy"),
    10: (400, "Data channel is missing"),
    11: (400, "Invalid data channel"),
    12: (400, "Event field is required"),
    13: (400, "Event field cannot be blank"),
    14: (400, "ACK is disabled"),
    15: (400, "Error in handling indexed fields"),
    16: (400, "Query string authorization is not enabled"),
    17: (200, "HEC is healthy"),
    18: (503, "HEC is unhealthy, queues are full"),
    19: (503, "HEC is unhealthy, ack service unavailable"),
    20: (503, "HEC is unhealthy, queues are full, ack service unavailable"),
    21: (400, "Invalid token"),
    22: (400, "Token disabled"),
    23: (503, "Server is shutting down"),
    24: (200, "HEC queue is approaching its capacity limit"),
    25: (200, "HEC ACK is approaching its capacity limit"),
    26: (429, "HEC queue is at capacity and cannot process any more requests"),
    27: (429, "HEC ACK channel is at capacity and cannot process any more requests"),
    28: (400, f"Data channel is missing. {_STICKY}"),
    404: (404, "The requested URL was not found on this server."),
    405: (405, "The requested URL was not found on this server."),
}

_ENVELOPE_KEYS = frozenset({"time", "host", "source", "sourcetype", "index", "event", "fields"})
_NO_DATA, _INVALID, _EVENT_MISSING, _EVENT_BLANK, _FIELDS_BAD = 5, 6, 12, 13, 15


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the collector; `invalid_event` is the place of the first bad envelope, from 0.

    `ack_id` is the number of what was taken, if the token has indexer acknowledgement.
    """

    code: int
    invalid_event: int | None = None
    ack_id: int | None = None

    @property
    def status(self) -> int:
        """The HTTP status that goes with the code."""
        return REPLIES[self.code][0]

    @property
    def body(self) -> bytes:
        """The reply as JSON, its keys in Splunk's order."""
        # For a path or method that it does not know, Splunk gives 404 as the code whatever the status.
        answer = {"text": REPLIES[self.code][1], "code": min(self.code, 404)}
        if self.invalid_event is not None:
            answer["invalid-event-number"] = self.invalid_event
        if self.ack_id is not None:
            answer["ackId"] = self.ack_id
        return json.dumps(answer, separators=(",", ":")).encode()


class Indexed(NamedTuple):
    """The events that were indexed, the reply, and the event that was refused, if it came that far."""

    events: list[Any]
    reply: Reply
    refused: Any = None


def judge_token(authorization: str | None, token: str) -> Reply | None:
    """Return the reply to a request whose `Authorization` does not carry the token, else None."""
    if not authorization:
        return Reply(2)
    scheme, _, given = authorization.partition(" ")
    if scheme != "Splunk":
        return Reply(3)
    return None if given.strip() == token else Reply(4)


_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def channel_of(header: str | None, query: str) -> str:
    """Return the channel that a request names: in its header, or else in its query; empty without one."""
    return parse_qs(query).get("channel", [""])[0] if header is None else header


def judge_channel(channel: str | None) -> Reply | None:
    """Return the reply to a request without a proper channel, where the token demands one; else None."""
    if not channel:
        return Reply(10)
    return None if _GUID.fullmatch(channel) else Reply(11)


class Acknowledgements:
    """The numbers of what was taken, counted from 0 in each channel, and what is indexed of it."""

    def __init__(self) -> None:
        """Begin with nothing taken."""
        self._next: dict[str, int] = {}
        self._unreported: dict[str, set[int]] = {}

    def number(self, channel: str) -> int:
        """Give the request that was just taken its number; it is indexed at once."""
        number = self._next.get(channel, 0)
        self._next[channel] = number + 1
        self._unreported.setdefault(channel, set()).add(number)
        return number

    def answer(self, channel: str, question: bytes) -> bytes | None:
        """Answer `{"acks":[…]}`: `true` once for what is indexed, `false` ever after. Else None."""
        try:
            asked = json.loads(question)["acks"]
        except (ValueError, RecursionError, TypeError, KeyError):
            return None
        if not isinstance(asked, list) or not all(type(number) is int for number in asked):
            return None
        indexed = self._unreported.get(channel, set())
        indexed_ids = {str(number): number in indexed for number in asked}
        indexed.difference_update(asked)
        return json.dumps({"acks": indexed_ids}, separators=(",", ":")).encode()

    def forget(self) -> None:
        """Forget everything, as a Splunk that is restarted does."""
        self._next.clear()
        self._unreported.clear()


def index_body(body: bytes, refuses: Callable[[Any], bool] = lambda _event: False) -> Indexed:
    """Index the envelopes of a body up to the first bad one, or the first whose event `refuses` (code 6).

    An unknown key beside `event` is answered with success, but nothing from there on is indexed.
    """
    if not body.strip():
        return Indexed([], Reply(_NO_DATA))
    events: list[Any] = []
    envelopes = read_envelopes(body)
    for number, envelope in enumerate(envelopes):
        if isinstance(envelope, dict) and not envelope.keys() <= _ENVELOPE_KEYS:
            alone = number == 0 and next(envelopes, None) is None
            return Indexed(events, Reply(_NO_DATA if alone else 0))
        code = _complaint(envelope, refuses)
        if code is not None:
            return Indexed(events, Reply(code, number), _event_in(envelope))
        if "event" in envelope:
            events.append(envelope["event"])
    return Indexed(events, Reply(0))


def read_envelopes(body: bytes) -> Iterator[Any]:
    """Yield the JSON values that stand one behind the other; None in place of what is not JSON."""
    try:
        text = body.decode()
        at = _skip_blanks(text, 0)
        while at < len(text):
            value, end = _decoder.raw_decode(text, at)
            yield value
            at = _skip_blanks(text, end)
    except (ValueError, RecursionError):
        yield None


def _skip_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _refuse_constant(name: str) -> None:
    """NaN and Infinity are Python's, not JSON's."""
    raise ValueError(name)


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)


def _complaint(envelope: Any, refuses: Callable[[Any], bool]) -> int | None:
    """Return the code that the envelope is refused with, or None."""
    if not isinstance(envelope, dict):
        return _INVALID
    if not _is_time(envelope.get("time", 0)) or not _is_flat(envelope.get("fields", {})):
        return _FIELDS_BAD
    if "event" not in envelope:
        return None if "fields" in envelope else _EVENT_MISSING
    event = envelope["event"]
    if isinstance(event, str) and not event.strip():
        return _EVENT_BLANK
    return _INVALID if event is None or event is False or refuses(event) else None


def _event_in(envelope: Any) -> Any:
    return envelope.get("event") if isinstance(envelope, dict) else None


def _is_time(value: Any) -> bool:
    """Epoch seconds: a number, or a string that reads as one."""
    if isinstance(value, str):
        return value.replace(".", "", 1).isdecimal()
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_flat(fields: Any) -> bool:
    return isinstance(fields, dict) and not any(isinstance(value, dict) for value in fields.values())
