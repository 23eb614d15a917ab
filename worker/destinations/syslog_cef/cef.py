"""A governance event as one CEF message: what each field of the event becomes.

In goes a queued event, out comes `CEF:0|MITRITY|MITRITY Platform|1.0|type|name|severity|extension` (ArcSight
CEF standard) behind whatever header it travels with. Only what the message needs is read from the event's
bytes. An event that cannot be read any more is shown by its id, type and time: it is never held up here.
"""

import msgspec

from worker.destinations.syslog_cef.mapping import OUTCOMES, CefEventKind
from worker.destinations.syslog_cef.runs import (
    AGENTS,
    DEEDS,
    LEADS,
    Deed,
    TooLong,
    action_in_words,
    agent_in_words,
    policy_in_words,
    score_in_words,
    written,
)
from worker.destinations.syslog_cef.truncation import fitted
from worker.destinations.syslog_cef.values import (
    digest,
    escaped,
    id_or_digest,
    json_value,
    lines,
    one_line,
    plain_json,
    without_controls,
)
from worker.model.events import QueuedEvent
from worker.model.untrusted_json import DAMAGED

_COMPACT = -1
_NO_OBJECT = frozenset({b"null", b"{}"})
_NUMBER = "0123456789+-.eE"

_EXTERNAL_ID, _LONGEST_SHORT_ID = LEADS["externalId"]
_PAYLOAD_ID, _LONGEST_ID = LEADS["devicePayloadId"]
_CS1, (_CFP1, _LONGEST_SCORE) = LEADS["cs1"][0], LEADS["cfp1"]
_MSG, _LONGEST_SENTENCE = LEADS["msg"]


class _Policy(msgspec.Struct, gc=False):
    id: str | None = None
    name: str | None = None


class EventDetails(msgspec.Struct, gc=False):
    """What a message says of an event beyond its id, type and time."""

    tenant_id: str = "default"
    agent_id: str | None = None
    agent_name: str | None = None
    action_type: str | None = None
    policy: _Policy | None = None
    decision: str | None = None
    #: A number keeps the digits that it was published with.
    drift_score: msgspec.Raw = msgspec.Raw()
    behavioral_hash: str | None = None
    behavioral_hash_delta: msgspec.Raw = msgspec.Raw()
    hold: msgspec.Raw = msgspec.Raw()
    reason: str | None = None
    context: msgspec.Raw = msgspec.Raw()
    siem_repaired: msgspec.Raw = msgspec.Raw()


_decoder = msgspec.json.Decoder(EventDetails)
_NO_POLICY = _Policy()
_UNREADABLE = EventDetails(
    tenant_id="", reason="the event could not be read any more: only its id, type and time are known"
)


def facts_of(raw: bytes) -> EventDetails:
    """Read an event's bytes; what cannot be read any more says so as its reason. Never raises."""
    try:
        return _decoder.decode(raw)
    except DAMAGED:
        return _UNREADABLE


def cef_message(
    event: QueuedEvent, facts: EventDetails, deed: Deed, *, header: str, send_src: bool, limit: int
) -> bytes:
    """Return the header, which is plain ASCII, and the event in CEF behind it: `limit` bytes at most.

    `deed` is that of the event (`deed_of`); `send_src` is whether `src` carries the agent's id. Never raises,
    whatever the event holds.
    """
    score = _as_published(facts.drift_score)
    try:
        message = _usual_message(event, facts, deed, score, header, send_src=send_src)
    except TooLong:
        pass
    else:
        if len(message) <= limit:
            return message
    values = _values(event, deed.kind, facts, score, send_src=send_src)
    return fitted(header + deed.kind.head, deed.name, deed.kind.tail, values, limit)


def deed_of(event_type: str, facts: EventDetails) -> Deed:
    """Return what was done under which policy: from what is kept, where that has it."""
    policy = facts.policy or _NO_POLICY
    key = event_type, facts.decision, facts.action_type, policy.id, policy.name
    return DEEDS.find(key) or DEEDS.add(key)


def _usual_message(
    event: QueuedEvent, facts: EventDetails, deed: Deed, score: str | None, header: str, *, send_src: bool
) -> bytes:
    """Write every key in the order of `KEYS`. Raises TooLong where one may not be whole."""
    key = send_src, deed.kind.category, facts.tenant_id, facts.agent_id, facts.agent_name
    agent = AGENTS.find(key) or AGENTS.add(key)
    if not (deed.is_usual and agent.is_usual):
        raise TooLong
    before, between, end = deed.sentence
    if deed.has_score:
        between += escaped(without_controls(score_in_words(score)))
    sentence = before + agent.words + between + end
    if len(sentence) > _LONGEST_SENTENCE:
        raise TooLong
    return (
        f"{header}{deed.title}rt={event.time_ms}{deed.did}{_ids(event.id)}{agent.keys}"
        f"{_scores(score)}{written('cs2', facts.behavioral_hash)}{deed.policy}"
        f"{written('cs4', _as_published(facts.behavioral_hash_delta))}"
        f"{_object('cs5', facts.hold)}{_object('requestContext', facts.context)}"
        f"{written('reason', facts.reason)}{_MSG}{sentence}{_written_repairs(facts.siem_repaired)}"
    ).encode("utf-8", "replace")


def _ids(event_id: str) -> str:
    """Write the keys that carry the event's id: whole where it fits, else as its digest."""
    if len(event_id) > _LONGEST_SHORT_ID or event_id != lines(event_id):
        raise TooLong
    text = escaped(event_id)
    return f"{_EXTERNAL_ID}{text}{_PAYLOAD_ID}{text}" if text else ""


def _scores(score: str | None) -> str:
    """Write the keys that carry the score; a text, which no number is, is left to others."""
    if not score:
        return ""
    if len(score) > _LONGEST_SCORE or score.strip(_NUMBER):
        raise TooLong
    return f"{_CS1}{score}{_CFP1}{score}"


def _object(key: str, raw: msgspec.Raw) -> str:
    """Write an object of the event as compact JSON."""
    text = _json(raw)
    if text is None:
        return ""
    lead, most = LEADS[key]
    if len(text) > most:
        raise TooLong
    return lead + escaped(text)


def _written_repairs(raw: msgspec.Raw) -> str:
    return written("flexString2", _repairs(raw)) if len(raw) else ""


def _values(
    event: QueuedEvent, kind: CefEventKind, facts: EventDetails, score: str | None, *, send_src: bool
) -> tuple[str | None, ...]:
    """Return the raw value of every key, in the order of `KEYS`."""
    carried = id_or_digest(event.id, _LONGEST_ID)
    return (
        str(event.time_ms),
        facts.action_type,
        OUTCOMES.get(facts.decision or "", kind.outcome),
        carried if len(carried) <= _LONGEST_SHORT_ID else digest(event.id),
        carried,
        facts.agent_id,
        facts.agent_name,
        facts.agent_id if send_src else None,
        kind.category,
        facts.tenant_id,
        score,
        score,
        facts.behavioral_hash,
        None if facts.policy is None else facts.policy.id,
        _as_published(facts.behavioral_hash_delta),
        _json(facts.hold),
        _json(facts.context),
        facts.reason,
        _sentence(kind, facts, score),
        _repairs(facts.siem_repaired),
    )


def _as_published(raw: msgspec.Raw) -> str | None:
    """Return a number by its own digits, and a string's text; nothing for null, or if there is none."""
    if len(raw) == 0:
        return None
    text = str(raw, "utf-8", "replace")
    if text.startswith('"'):
        return msgspec.json.decode(raw, type=str)
    return None if text == "null" else text


def _repairs(raw: msgspec.Raw) -> str | None:
    """Return what was repaired, separated by commas; `true` for anything else that stands there."""
    if len(raw) == 0:
        return None
    try:
        return ",".join(msgspec.json.decode(raw, type=list[str]))
    except msgspec.MsgspecError:
        return "true"


def _json(raw: msgspec.Raw) -> str | None:
    """Return an object of the event as compact JSON; nothing if it is empty or missing."""
    if len(raw) <= len("{}"):
        return None
    try:
        compact = msgspec.json.format(raw, indent=_COMPACT)
    except DAMAGED:
        return plain_json(str(raw, "utf-8", "replace"))
    return None if compact in _NO_OBJECT else json_value(compact)


def _sentence(kind: CefEventKind, facts: EventDetails, score: str | None) -> str:
    """Sum the event up for people, in one line."""
    policy = facts.policy or _NO_POLICY
    sentence = kind.sentence.format(
        policy=policy_in_words(policy.name or policy.id),
        action=action_in_words(facts.action_type),
        agent=agent_in_words(facts.agent_name or facts.agent_id),
        score=score_in_words(score),
    )
    return one_line(sentence)
