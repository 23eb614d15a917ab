"""A governance event as one CEF message: what each field of the event becomes.

In goes a queued event, out comes `CEF:0|MITRITY|MITRITY Platform|1.0|type|name|severity|extension` (ArcSight
CEF standard) behind whatever header it travels with. Only what the message needs is read from the event's
bytes. An event that cannot be read any more is shown by its id, type and time: it is never held up here.
"""

from collections.abc import Sequence

import msgspec

from worker.destinations.syslog_cef.mapping import ANOMALY, KEYS, LONGEST_NAME, OUTCOMES, CefEventKind
from worker.destinations.syslog_cef.truncation import fitted
from worker.destinations.syslog_cef.values import (
    digest,
    extension_value,
    header_value,
    id_or_digest,
    json_value,
    one_line,
)
from worker.model.events import QueuedEvent
from worker.model.untrusted_json import DAMAGED

_COMPACT = -1

_LEADS = [(key.lead, key.most) for key in KEYS]
_LONGEST = {key.name: key.most for key in KEYS}
_LONGEST_ID, _LONGEST_SHORT_ID = _LONGEST["devicePayloadId"], _LONGEST["externalId"]


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
    event: QueuedEvent, facts: EventDetails, kind: CefEventKind, *, header: str, send_src: bool, limit: int
) -> bytes:
    """Return the header, which is plain ASCII, and the event in CEF behind it: `limit` bytes at most.

    `send_src` is whether `src` carries the agent's id. Never raises, whatever the event holds.
    """
    start, name = header + kind.head, _name(kind, facts.policy or _NO_POLICY)
    values = _values(event, kind, facts, send_src=send_src)
    extension = _extension(values)
    if extension is not None and len(name) <= LONGEST_NAME:
        message = (start + header_value(name) + kind.tail + extension).encode("utf-8", "replace")
        if len(message) <= limit:
            return message
    return fitted(start, name, kind.tail, values, limit)


def _extension(values: Sequence[str | None]) -> str | None:
    """Write each key that has a value: an empty one would be a mistake to some parsers.

    Returns None if a value may be too long for its key.
    """
    written: list[str] = []
    for (lead, most), value in zip(_LEADS, values, strict=True):
        if value:
            if len(value) > most:
                return None
            if escaped := extension_value(value):
                written += (lead, escaped)
    return "".join(written)[1:]


def _name(kind: CefEventKind, policy: _Policy) -> str:
    """Return the name for the header: the policy's wherever one is named, but for drift; else the kind's."""
    if kind.name == ANOMALY:
        return ANOMALY
    return one_line(policy.name or "") or one_line(policy.id or "") or kind.name


def _values(
    event: QueuedEvent, kind: CefEventKind, facts: EventDetails, *, send_src: bool
) -> tuple[str | None, ...]:
    """Return the raw value of every key, in the order of `KEYS`."""
    score = _as_published(facts.drift_score)
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
    text = bytes(raw).decode("utf-8", "replace")
    if text.startswith('"'):
        return msgspec.json.decode(raw, type=str)
    return None if text in {"", "null"} else text


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
        compact = bytes(raw)
    return None if compact in {b"null", b"{}"} else json_value(compact)


def _sentence(kind: CefEventKind, facts: EventDetails, score: str | None) -> str:
    """Sum the event up for people, in one line."""
    policy = facts.policy or _NO_POLICY
    policy_name = policy.name or policy.id
    agent = facts.agent_name or facts.agent_id
    sentence = kind.sentence.format(
        policy=f'Policy "{policy_name}"' if policy_name else "A policy",
        action=facts.action_type or "an action",
        agent=f'agent "{agent}"' if agent else "an agent",
        score=f", with a score of {score}" if score else "",
    )
    return one_line(sentence)
