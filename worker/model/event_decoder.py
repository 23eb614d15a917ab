"""Judges the bytes of an event, once, wherever they come in."""

import datetime as dt
from typing import Any

import msgspec

from worker.model import invalid_events as refusals
from worker.model.errors import InvalidEvent
from worker.model.events import DEFAULT_TENANT, MAX_EVENT_BYTES, EventHead, GovernanceEvent, Policy
from worker.model.time import EPOCH, moment_of_leap_second
from worker.model.untrusted_json import (
    Members,
    is_deeper,
    levelled,
    may_hold_long_integer,
    may_repeat,
    members_of,
    read_members,
    repaired,
    repeated_name,
)
from worker.model.usual_events import usual_event

#: How deep an event may be nested. Readers differ in what they bear; all of them bear this.
MAX_DEPTH = 500


#: The last moment that every reader can write: its year has four digits.
_END = dt.datetime.max.replace(tzinfo=dt.UTC)


_FIRST_YEAR, _LAST_YEAR = 1970, 9999


#: A valid event, and its bytes: as they were published, or as they were repaired (`event_repair`).
AcceptedEvent = tuple[EventHead, bytes]


class _UsualEvent(GovernanceEvent, frozen=True, gc=False):
    hold: msgspec.Raw = msgspec.Raw()  # type: ignore[assignment]  # its bytes are counted
    context: msgspec.Raw = msgspec.Raw()  # type: ignore[assignment]  # the same


class _EventOfLeapSecond(GovernanceEvent, frozen=True, gc=False):
    timestamp: str  # type: ignore[assignment]  # the one text that RFC 3339 allows and datetime cannot hold


_decoder = msgspec.json.Decoder(GovernanceEvent)


_usual_decoder = msgspec.json.Decoder(_UsualEvent)


_leap_decoder = msgspec.json.Decoder(_EventOfLeapSecond)


_any = msgspec.json.Decoder()


_object_decoder = msgspec.json.Decoder(dict[str, Any])


_FIELDS = frozenset(GovernanceEvent.__struct_fields__)


_POLICY_FIELDS = frozenset(Policy.__struct_fields__)


def decode_event(raw: bytes) -> GovernanceEvent:
    """Judge the bytes of an event, and read all of it. Raises InvalidEvent as `accept_event` does."""
    return _decoded(accept_event(raw)[1])


def accept_event(raw: bytes) -> AcceptedEvent:
    """Judge the bytes of an event, and return what routing needs with the bytes that are to travel.

    These are the same bytes, unless they hold what common readers of JSON do not take. Raises InvalidEvent,
    which names the field, what is wrong with it and what would be right.
    """
    if len(raw) > 2 * MAX_DEPTH:  # what is shorter cannot be deeper
        _check_size(raw)
    usual = usual_event(raw)
    return (usual, raw) if usual is not None else judge_event(raw)


def _check_size(raw: bytes) -> None:
    if len(raw) > MAX_EVENT_BYTES:
        raise InvalidEvent(refusals.WHOLE, f"is {len(raw)} bytes long", refusals.WHOLE_HINT)
    if is_deeper(raw, MAX_DEPTH):
        raise InvalidEvent(refusals.WHOLE, "is nested too deeply", f"nest at most {MAX_DEPTH} levels")


def judge_event(raw: bytes) -> AcceptedEvent:
    """Judge an event of a size that may be, as `accept_event` does. Raises InvalidEvent."""
    try:
        # msgspec does not look into the strings of fields that it skips.
        raw.isascii() or raw.decode()
        event = _usual_decoder.decode(raw)
        surplus = raw.count(b'"') - _fewest_quotes(event)
        if (surplus and surplus != _escaped_quotes(raw, event)) or may_hold_long_integer(raw):
            return _on_second_look(raw)
    except UnicodeDecodeError as error:
        raise refusals.not_utf8(raw, error) from None
    except msgspec.DecodeError:  # ValidationError is one
        return _on_second_look(raw)
    if not event.id.isprintable() or not _FIRST_YEAR < event.timestamp.year < _LAST_YEAR:
        _check_beyond_shape(event)
    return event, raw


def to_publish(raw: bytes, accepted: bytes) -> bytes:
    """Return which bytes of an event to publish: those of `accept_event`, unless they are too large.

    A router of the release before refuses what it would have to repair. What only the repair makes too
    large stays as it came: the router that takes it repairs it.
    """
    return accepted if len(accepted) <= MAX_EVENT_BYTES else raw


def _fewest_quotes(event: _UsualEvent) -> int:
    """Return how many quotes the JSON of such an event has at the least.

    It has more if a field is repeated, null or unknown, or if there is a quote in a text. Raises
    msgspec.ValidationError for a number in `hold` or `context` that no double holds.
    """
    texts = 9 - (
        event.agent_id,
        event.agent_name,
        event.action_type,
        event.decision,
        event.behavioral_hash,
        event.reason,
    ).count(None)
    quotes = 4 * (texts + (event.tenant_id is not DEFAULT_TENANT)) + 2 * (event.drift_score is not None)
    if (delta := event.behavioral_hash_delta) is not None:
        quotes += 4 if isinstance(delta, str) else 2
    if (policy := event.policy) is not None:
        version = policy.version
        quotes += 2 + 4 * ((policy.id is not None) + (policy.name is not None) + isinstance(version, str))
        quotes += 2 * isinstance(version, (int, float))
    for raw in (event.hold, event.context):
        if len(raw):
            _object_decoder.decode(raw)
            quotes += 2 + bytes(raw).count(b'"')
    return quotes


def _escaped_quotes(raw: bytes, event: _UsualEvent) -> int:
    """Return how many quotes its texts have outside `hold` and `context`, or -1 if that is not so easy."""
    if rb"\\" in raw:
        return -1
    escape = rb"\""
    return raw.count(escape) - bytes(event.hold).count(escape) - bytes(event.context).count(escape)


def _check_members(raw: bytes, known: frozenset[str], path: str = "") -> Members:
    """Look at what the decoder does not: repeated fields of an object, and numbers in fields that it skips.

    Raises InvalidEvent for the former, msgspec.ValidationError for the latter.
    """
    members = members_of(raw)
    if may_repeat(raw, members):
        if name := repeated_name(raw, known):
            raise refusals.repeated(path + name)
        _any.decode(raw)  # the members hold only the last value of a name
    else:
        for name in members.keys() - known:
            _any.decode(members[name])
    return members


def _on_second_look(raw: bytes) -> AcceptedEvent:
    """Accept what is a valid event, or is once it is repaired. Raises InvalidEvent for anything else."""
    try:
        return _on_close_look(raw)
    except msgspec.DecodeError as error:
        is_hopeless = b"\\u" not in raw and refusals.OUT_OF_RANGE not in str(error)
        if is_hopeless or (fixed := repaired(raw)) is None:
            raise _refusal(raw, error) from None
    try:
        _decoded(levelled(raw))  # what is wrong without a repair, too, and may be hidden by it
        accepted = _on_close_look(fixed)
    except msgspec.DecodeError as error:
        raise _refusal(raw, error) from None
    _check_names(raw)
    return accepted


def _on_close_look(text: bytes) -> AcceptedEvent:
    """Accept a valid event. Raises InvalidEvent, and msgspec.DecodeError for what may be repaired."""
    event = _decoded(text)
    policy = bytes(_check_members(text, _FIELDS).get("policy", b""))
    if policy.startswith(b"{"):
        _check_members(policy, _POLICY_FIELDS, "policy.")
    if may_hold_long_integer(text) and repaired(text) is not None:
        raise msgspec.ValidationError(refusals.OUT_OF_RANGE)
    _check_beyond_shape(event)
    return event, text


def _refusal(raw: bytes, error: msgspec.DecodeError) -> InvalidEvent:
    if isinstance(error, msgspec.ValidationError):
        return refusals.not_an_event(raw, error)
    return refusals.not_json(raw, error)


def _decoded(text: bytes) -> GovernanceEvent:
    """Decode an event, of a leap second too: it happened a second after :59. Raises msgspec.DecodeError."""
    try:
        return _decoder.decode(text)
    except msgspec.ValidationError:
        try:
            found = _leap_decoder.decode(text)
        except msgspec.DecodeError:
            moment = None
        else:
            moment = moment_of_leap_second(found.timestamp)
        if moment is None:
            raise
        return GovernanceEvent(**msgspec.structs.asdict(found) | {"timestamp": moment})


def _check_names(raw: bytes) -> None:
    """Refuse an id or tenant that had to be repaired: two of them would become one."""
    for name, value in read_members(raw):
        if name in {"id", "tenant_id"} and repaired(value) is not None:
            raise refusals.refuse_field(name, "has half a character (an unpaired surrogate)")


def _check_beyond_shape(event: EventHead) -> None:
    """Refuse what a type cannot express: unprintable ids, times before 1970 and after 9999."""
    if not event.id.isprintable():
        raise refusals.refuse_field("id", "has characters that cannot be printed")
    if event.timestamp < EPOCH:
        raise refusals.refuse_field("timestamp", "lies before 1970")
    if event.timestamp > _END:
        raise refusals.refuse_field("timestamp", "lies after the year 9999 in UTC")
