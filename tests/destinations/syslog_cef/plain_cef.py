"""CEF written the plain way, value by value and nothing kept: what the format must give, byte for byte."""

import msgspec

from worker.destinations.syslog_cef.details import EventDetails, details_of
from worker.destinations.syslog_cef.mapping import ANOMALY, KEYS, OUTCOMES, CefEventKind, cef_kind
from worker.destinations.syslog_cef.truncation import fitted
from worker.destinations.syslog_cef.values import digest, id_or_digest, one_line, plain_json
from worker.model.events import QueuedEvent


def plain_message(event: QueuedEvent, start: bytes, *, send_src: bool, limit: int) -> bytes:
    """Return the event in CEF behind the header that it `start`s with."""
    (facts,) = details_of([event])
    kind = cef_kind(event.type, facts.decision)
    values = _values(event, facts, kind, send_src=send_src)
    return fitted(
        start.decode() + kind.head, _name(facts, kind), kind.tail, [values[key.name] for key in KEYS], limit
    )


def _name(facts: EventDetails, kind: CefEventKind) -> str:
    policy = facts.policy
    if kind.name == ANOMALY or policy is None:
        return kind.name
    return one_line(policy.name or "") or one_line(policy.id or "") or kind.name


def _values(
    event: QueuedEvent, facts: EventDetails, kind: CefEventKind, *, send_src: bool
) -> dict[str, str | None]:
    carried = id_or_digest(event.id, 128)
    score, policy = _number(facts.drift_score), facts.policy
    policy_name = policy.name or policy.id if policy else None
    agent = facts.agent_name or facts.agent_id
    sentence = kind.sentence.format(
        policy=f'Policy "{policy_name}"' if policy_name else "A policy",
        action=facts.action_type or "an action",
        agent=f'agent "{agent}"' if agent else "an agent",
        score=f", with a score of {score}" if score else "",
    )
    return {
        "rt": str(event.time_ms),
        "act": facts.action_type,
        "outcome": OUTCOMES.get(facts.decision or "", kind.outcome),
        "externalId": carried if len(carried) <= 40 else digest(event.id),
        "devicePayloadId": carried,
        "suid": facts.agent_id,
        "suser": facts.agent_name,
        "src": facts.agent_id if send_src else None,
        "cat": kind.category,
        "deviceExternalId": facts.tenant_id,
        "cs1": score,
        "cfp1": score,
        "cs2": facts.behavioral_hash,
        "cs3": policy.id if policy else None,
        "cs4": _number(facts.behavioral_hash_delta),
        "cs5": _object(facts.hold),
        "requestContext": _object(facts.context),
        "reason": facts.reason,
        "msg": one_line(sentence),
        "flexString2": _repairs(facts.siem_repaired),
    }


def _number(raw: msgspec.Raw) -> str | None:
    text = bytes(raw).decode("utf-8", "replace")
    if text.startswith('"'):
        try:
            return msgspec.json.decode(text, type=str)
        except msgspec.MsgspecError:
            return text
    return None if text in {"", "null"} else text


def _object(raw: msgspec.Raw) -> str | None:
    if len(bytes(raw)) <= len("{}"):
        return None
    try:
        compact = msgspec.json.format(bytes(raw), indent=-1)
    except RecursionError:
        compact = bytes(raw)
    return None if compact in {b"null", b"{}"} else plain_json(compact.decode("utf-8", "replace"))


def _repairs(raw: msgspec.Raw) -> str | None:
    if not bytes(raw):
        return None
    try:
        return ",".join(msgspec.json.decode(raw, type=list[str]))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return "true"
