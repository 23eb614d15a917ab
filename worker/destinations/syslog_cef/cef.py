"""Governance events as CEF messages: what each field of an event becomes.

In go queued events, out comes `CEF:0|MITRITY|MITRITY Platform|1.0|type|name|severity|extension` (ArcSight
CEF standard) for each, behind whatever header it travels with. Only what the message needs is read from the
event's bytes. An event that cannot be read any more is shown by its id, type and time: it is never held up.

A batch is written field by field (`worker.destinations.syslog_cef.columns`) between the parts that many
events share (`worker.destinations.syslog_cef.runs`). A message that is too long, or has a value that may be,
is written by itself (`worker.destinations.syslog_cef.truncation`).
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from operator import attrgetter

from worker.destinations.syslog_cef.columns import ColumnWriter
from worker.destinations.syslog_cef.details import EventDetails, PolicyName, details_of
from worker.destinations.syslog_cef.extension import as_json, as_published, lead_of, repairs
from worker.destinations.syslog_cef.mapping import OUTCOMES, CefEventKind
from worker.destinations.syslog_cef.runs import (
    Template,
    action_in_words,
    agent_in_words,
    policy_in_words,
    score_in_words,
    templates_of,
)
from worker.destinations.syslog_cef.truncation import fitted
from worker.destinations.syslog_cef.values import digest, id_or_digest, one_line
from worker.model.events import QueuedEvent

_LONGEST_SHORT_ID = lead_of("externalId")[1]
_PAYLOAD_ID, _LONGEST_ID = lead_of("devicePayloadId")
_CS1, (_CFP1, _LONGEST_SCORE) = lead_of("cs1")[0], lead_of("cfp1")
_HASH, _LONGEST_HASH = lead_of("cs2")
_DELTA, _LONGEST_DELTA = lead_of("cs4")
_HOLD, _LONGEST_HOLD = lead_of("cs5")
_CONTEXT, _LONGEST_CONTEXT = lead_of("requestContext")
_REASON, _LONGEST_REASON = lead_of("reason")
_REPAIRS, _LONGEST_REPAIRS = lead_of("flexString2")
_NO_POLICY = PolicyName()
_MILLISECONDS = [b"%03d" % number for number in range(1000)]
#: Of an earlier time the digits are not those of the second and three of the millisecond.
_FIRST_USUAL_MS = 1000
_head, _is_usual = attrgetter("id", "type", "time_ms"), attrgetter("is_usual")

#: The header of a message, plain ASCII: what stands before the milliseconds, and behind them, which is
#: nothing where a header has no milliseconds.
Header = tuple[bytes, bytes]
#: Writes the header of an event of a kind and a time, in seconds since 1970 UTC.
WriteHeader = Callable[[CefEventKind, int], Header]
#: A part of each message.
_Column = Iterable[bytes]


def cef_messages(
    events: Sequence[QueuedEvent], header: WriteHeader, *, send_src: bool, limit: int, end: bytes = b""
) -> list[bytes]:
    """Return each event in CEF behind its header, in `limit` bytes at most, with `end` behind that.

    `send_src` is whether `src` carries the agent's id. Never raises, whatever the events hold.
    """
    if not events:
        return []
    details = details_of(events)
    ids, types, times = zip(*map(_head, events), strict=True)
    templates = templates_of(types, details, send_src=send_src)
    columns = ColumnWriter()
    parts = *_starts(times, templates, header), *_keys(ids, templates, details, columns), repeat(end)
    messages = list(map(b"".join, zip(*parts, strict=False)))
    longest = limit + len(end)
    if (
        min(times) < _FIRST_USUAL_MS
        or max(map(len, messages)) > longest
        or not all(map(_is_usual, templates))
    ):
        columns.unusual.update(
            at
            for at, (message, template, time_ms) in enumerate(zip(messages, templates, times, strict=True))
            if len(message) > longest or time_ms < _FIRST_USUAL_MS or not template.is_usual
        )
    for at in columns.unusual:
        deed = templates[at].deed
        values = _values(events[at], deed.kind, details[at], send_src=send_src)
        start = _whole_header(header, deed.kind, times[at]) + deed.kind.head
        messages[at] = fitted(start, deed.name, deed.kind.tail, values, limit) + end
    return messages


def _starts(
    times: Sequence[int], templates: Sequence[Template], header: WriteHeader
) -> Sequence[Sequence[bytes]]:
    """Return headers, titles and times, of which the milliseconds alone differ as a rule."""
    keys = list(zip(templates, [time_ms // 1000 for time_ms in times], strict=True))
    starts = {key: _start(header, *key) for key in set(keys)}
    before, behind = zip(*map(starts.__getitem__, keys), strict=True)
    milliseconds = [_MILLISECONDS[time_ms % 1000] for time_ms in times]
    return (before, milliseconds, behind, milliseconds) if behind[0] else (before, milliseconds)


def _start(header: WriteHeader, template: Template, second: int) -> Header:
    before, behind = header(template.deed.kind, second)
    title = b"%b%d" % (template.title, second)
    return (before, behind + title) if behind else (before + title, b"")


def _whole_header(header: WriteHeader, kind: CefEventKind, time_ms: int) -> str:
    before, behind = header(kind, time_ms // 1000)
    return (before + (_MILLISECONDS[time_ms % 1000] + behind if behind else b"")).decode()


def _keys(
    ids: Sequence[str], templates: Sequence[Template], details: Sequence[EventDetails], columns: ColumnWriter
) -> Sequence[_Column]:
    """Return every key in the order of `KEYS`, from behind the time on."""
    short_ids = columns.ids(ids, _LONGEST_SHORT_ID)
    scores = columns.numbers([one.drift_score for one in details], _LONGEST_SCORE)
    return (
        *([one.before_id for one in templates], short_ids, repeat(_PAYLOAD_ID), short_ids),
        [one.agent for one in templates],
        *_led(_CS1, scores),
        *_led(_CFP1, scores),
        *_led(_HASH, columns.texts([one.behavioral_hash for one in details], _LONGEST_HASH)),
        [one.policy for one in templates],
        *_led(_DELTA, columns.deltas([one.behavioral_hash_delta for one in details], _LONGEST_DELTA)),
        *_led(_HOLD, columns.objects([one.hold for one in details], _LONGEST_HOLD)),
        *_led(_CONTEXT, columns.objects([one.context for one in details], _LONGEST_CONTEXT)),
        *_led(_REASON, columns.texts([one.reason for one in details], _LONGEST_REASON)),
        _sentences(templates, scores, columns.unusual),
        *_led(_REPAIRS, columns.repairs([one.siem_repaired for one in details], _LONGEST_REPAIRS)),
    )


def _led(lead: bytes, column: Sequence[bytes]) -> Sequence[_Column]:
    """Return what stands before the values of a key, and the values: nothing before one that is empty."""
    if b"" not in column:
        return repeat(lead), column
    return ([lead if value else b"" for value in column], column) if any(column) else ()


def _sentences(templates: Sequence[Template], scores: Sequence[bytes], unusual: set[int]) -> _Column:
    column = [one.sentence for one in templates]
    for at, (template, score) in enumerate(zip(templates, scores, strict=True)):
        if score and template.before_score:
            column[at] = template.before_score + score + template.behind_score
            if len(score) > template.room:
                unusual.add(at)
    return column


def _values(
    event: QueuedEvent, kind: CefEventKind, details: EventDetails, *, send_src: bool
) -> tuple[str | None, ...]:
    """Return the raw value of every key, in the order of `KEYS`."""
    carried = id_or_digest(event.id, _LONGEST_ID)
    score = as_published(details.drift_score)
    return (
        str(event.time_ms),
        details.action_type,
        OUTCOMES.get(details.decision or "", kind.outcome),
        carried if len(carried) <= _LONGEST_SHORT_ID else digest(event.id),
        carried,
        details.agent_id,
        details.agent_name,
        details.agent_id if send_src else None,
        kind.category,
        details.tenant_id,
        score,
        score,
        details.behavioral_hash,
        None if details.policy is None else details.policy.id,
        as_published(details.behavioral_hash_delta),
        as_json(details.hold),
        as_json(details.context),
        details.reason,
        _sentence(kind, details, score),
        repairs(details.siem_repaired),
    )


def _sentence(kind: CefEventKind, details: EventDetails, score: str | None) -> str:
    """Sum the event up for people, in one line."""
    policy = details.policy or _NO_POLICY
    sentence = kind.sentence.format(
        policy=policy_in_words(policy.name or policy.id),
        action=action_in_words(details.action_type),
        agent=agent_in_words(details.agent_name or details.agent_id),
        score=score_in_words(score),
    )
    return one_line(sentence)
