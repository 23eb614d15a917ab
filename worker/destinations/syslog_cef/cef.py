"""A governance event as one CEF message: what each field of the event becomes.

In goes a queued event, out comes `CEF:0|MITRITY|MITRITY Platform|1.0|type|name|severity|extension` (ArcSight
CEF standard) behind whatever header it travels with. Only what the message needs is read from the event's
bytes. An event that cannot be read any more is shown by its id, type and time: it is never held up here.
"""

import msgspec

from worker.destinations.syslog_cef.extension import (
    LEADS,
    TooLong,
    as_json,
    as_published,
    delta,
    digits_of,
    json_object,
    lead_of,
    plain_id,
    repairs,
    text,
)
from worker.destinations.syslog_cef.mapping import OUTCOMES, CefEventKind
from worker.destinations.syslog_cef.runs import (
    AGENTS,
    DEEDS,
    Deed,
    action_in_words,
    agent_in_words,
    policy_in_words,
    score_in_words,
)
from worker.destinations.syslog_cef.truncation import fitted
from worker.destinations.syslog_cef.values import digest, id_or_digest, one_line
from worker.model.events import QueuedEvent
from worker.model.untrusted_json import DAMAGED

_EXTERNAL_ID, _LONGEST_SHORT_ID = lead_of("externalId")
_PAYLOAD_ID, _LONGEST_ID = lead_of("devicePayloadId")
_CS1, (_CFP1, _LONGEST_SCORE) = lead_of("cs1")[0], lead_of("cfp1")
_HASH, _DELTA, _REASON, _REPAIRS = lead_of("cs2"), lead_of("cs4"), lead_of("reason"), lead_of("flexString2")
_HOLD, _CONTEXT = lead_of("cs5"), lead_of("requestContext")
_LONGEST_SENTENCE = LEADS["msg"][1]
_WITH_SCORE = score_in_words("\r").partition("\r")[0].encode()


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
    event: QueuedEvent, facts: EventDetails, deed: Deed, *, header: bytes, send_src: bool, limit: int
) -> bytes:
    """Return the header, which is plain ASCII, and the event in CEF behind it: `limit` bytes at most.

    `deed` is that of the event (`deed_of`); `send_src` is whether `src` carries the agent's id. Never raises,
    whatever the event holds.
    """
    try:
        message = _usual_message(event, facts, deed, header, send_src=send_src)
    except TooLong:
        pass
    else:
        if len(message) <= limit:
            return message
    values = _values(event, deed.kind, facts, as_published(facts.drift_score), send_src=send_src)
    return fitted(header.decode() + deed.kind.head, deed.name, deed.kind.tail, values, limit)


def deed_of(event_type: str, facts: EventDetails) -> Deed:
    """Return what was done under which policy: from what is kept, where that has it."""
    policy = facts.policy or _NO_POLICY
    key = event_type, facts.decision, facts.action_type, policy.id, policy.name
    return DEEDS.find(key) or DEEDS.add(key)


def _usual_message(
    event: QueuedEvent, facts: EventDetails, deed: Deed, header: bytes, *, send_src: bool
) -> bytes:
    """Write every key in the order of `KEYS`. Raises TooLong where one may not be whole."""
    key = send_src, deed.kind.category, facts.tenant_id, facts.agent_id, facts.agent_name
    agent = AGENTS.find(key) or AGENTS.add(key)
    if not (deed.is_usual and agent.is_usual):
        raise TooLong
    event_id = plain_id(event.id, _LONGEST_SHORT_ID)
    score = digits_of(facts.drift_score, _LONGEST_SCORE)
    says_score = bool(score) and deed.has_score
    if deed.length + agent.length + (len(_WITH_SCORE) + len(score) if says_score else 0) > _LONGEST_SENTENCE:
        raise TooLong
    return b"".join(
        (
            header,
            deed.title,
            b"%d" % event.time_ms,
            deed.did,
            _EXTERNAL_ID,
            event_id,
            _PAYLOAD_ID,
            event_id,
            agent.keys,
            _CS1 if score else b"",
            score,
            _CFP1 if score else b"",
            score,
            text(facts.behavioral_hash, _HASH) if facts.behavioral_hash else b"",
            deed.policy,
            delta(facts.behavioral_hash_delta, _DELTA) if len(facts.behavioral_hash_delta) else b"",
            json_object(facts.hold, _HOLD) if len(facts.hold) > len("{}") else b"",
            json_object(facts.context, _CONTEXT) if len(facts.context) > len("{}") else b"",
            text(facts.reason, _REASON) if facts.reason else b"",
            deed.before,
            agent.words,
            deed.between,
            _WITH_SCORE if says_score else b"",
            score if says_score else b"",
            deed.end,
            _repaired(facts.siem_repaired) if len(facts.siem_repaired) else b"",
        )
    )


def _repaired(raw: msgspec.Raw) -> bytes:
    words = repairs(raw)
    return text(words, _REPAIRS) if words else b""


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
        as_published(facts.behavioral_hash_delta),
        as_json(facts.hold),
        as_json(facts.context),
        facts.reason,
        _sentence(kind, facts, score),
        repairs(facts.siem_repaired),
    )


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
