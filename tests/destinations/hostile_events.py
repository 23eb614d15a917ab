"""Events made to break formats: strategies for text that ends lines, forges keys and fills limits."""

import datetime as dt
import hashlib
import itertools
import json
import unicodedata
from typing import Any

from hypothesis import strategies as st

from worker.model.event_decoder import decode_event
from worker.model.events import EventType, QueuedEvent

#: Has a reader see another text than is there: bidirectional controls, byte order mark, annotations.
MISLEADING = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff\ufff9\ufffa\ufffb"
)
#: Pieces that mean something to CEF, to syslog or to JSON, and characters that end a line for someone.
_PIECES = (
    *("\\", "=", "|", "\\=", "\\|", "\\n", "\\\\", " ", "  ", '"', "{", "}", "[", "<13>", "%s", "{agent}"),
    *(" act=allow", " suid=root", "|10|", "CEF:0|", "flexString1=true", "\n<13>Jan  1 00:00:00 h CEF:0|x"),
    *("\n", "\r", "\r\n", "\t", "\0", "\v", "\f", "\x1b", "\x1c", "\x7f", "\x85", "\x9f", "\u2028", "\u2029"),
    *("é", "経", "🚀", "\ufeff", "\u00a0", "\u202e", "\u2066", "\u200f", "e\u0301", "a", "0"),
)
hostile_text = st.lists(st.sampled_from(_PIECES) | st.characters(codec="utf-8"), max_size=12).map("".join)
long_text = st.builds(lambda piece, count: piece * count, hostile_text, st.integers(1, 60))
#: Ids are printable, and at most 128 characters long.
printable_ids = st.text(
    # What `str.isprintable` takes: of all blanks the ASCII one alone, and nothing that has no glyph.
    st.sampled_from("\\=|é経🚀 a0") | st.characters(codec="utf-8", exclude_categories=["C", "Z"]),
    min_size=1,
    max_size=128,
)
_leaves = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | hostile_text
# One level is as good as many to what writes JSON into a value, and takes a third of the time to draw.
_json = _leaves | st.lists(_leaves, max_size=3) | st.dictionaries(hostile_text, _leaves, max_size=2)
_objects = st.dictionaries(hostile_text, _json, max_size=3)
_scores = st.floats(allow_nan=False, allow_infinity=False)
_moments = st.datetimes(dt.datetime(1970, 1, 1), timezones=st.just(dt.UTC))  # noqa: DTZ001 - hypothesis adds the zone
_texts = hostile_text | long_text

hostile_events = st.fixed_dictionaries(
    {
        "id": printable_ids,
        "type": st.sampled_from([event_type.value for event_type in EventType]),
        "timestamp": _moments.map(dt.datetime.isoformat),
    },
    optional={
        "tenant_id": printable_ids,
        "agent_id": _texts,
        "agent_name": _texts,
        "action_type": _texts,
        "policy": st.fixed_dictionaries({}, optional={"id": _texts, "name": _texts}),
        "decision": st.sampled_from(["allow", "deny", "block", "alert", "hold"]),
        "drift_score": _scores,
        "behavioral_hash": _texts,
        "behavioral_hash_delta": _scores | _texts,
        "hold": _objects,
        "reason": _texts,
        "context": _objects,
    },
)


_overlong_texts = st.builds(
    lambda piece, size: (piece * size)[:size],
    hostile_text.filter(str.strip),
    st.sampled_from([70, 600, 1100, 4100]),
)
#: Events whose texts are as long as the longest keys, and longer.
overlong_events = st.fixed_dictionaries(
    {
        "id": printable_ids,
        "type": st.sampled_from([event_type.value for event_type in EventType]),
        "timestamp": st.just("2026-01-02T03:04:05.678Z"),
    },
    optional={
        "agent_id": _overlong_texts,
        "agent_name": _overlong_texts,
        "action_type": _overlong_texts,
        "policy": st.fixed_dictionaries({}, optional={"id": _overlong_texts, "name": _overlong_texts}),
        "hold": st.dictionaries(hostile_text, _overlong_texts | _json, max_size=4),
        "reason": _overlong_texts,
        "context": st.dictionaries(hostile_text, _overlong_texts | _json, max_size=4),
    },
)


def published(event: dict[str, Any]) -> QueuedEvent:
    """Queue it as the router does; control characters that JSON lets stand stay as they are."""
    raw = json.dumps(event, ensure_ascii=False).encode()
    judged = decode_event(raw)
    return QueuedEvent(judged.id, judged.type, judged.time_ms, 0, raw)


def documented(text: str, most: int) -> str:
    """Say what becomes of an extension's value: controls blank, line ends kept, stripped, cut, marked."""
    return _cut(_plain(text), most)


def documented_id(text: str, most: int) -> str:
    """Say what becomes of an id in an extension: as other text, but whole, or its digest stands there."""
    plain = _plain(text)
    return plain if len(plain) <= most else digest(text)


def documented_event_id(text: str, most: int) -> str:
    """Say what becomes of the event's id: whole, blanks at its ends included, or its digest stands there."""
    return text if len(text) <= most and text == text.strip() else digest(text)


def digest(text: str) -> str:
    """Say what stands for an id that has no room."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def documented_in_header(text: str, most: int) -> str:
    """Say what becomes of a header field: a blank for each run of controls, stripped, cut, marked."""
    runs = itertools.groupby(text, _is_control)
    plain = "".join(" " if control else "".join(run) for control, run in runs)
    return _cut(plain.strip(), most)


def is_part_of(part: dict[str, Any], whole: dict[str, Any]) -> bool:
    """Whether an object says that it is not whole, and what is left in it is the whole's, text cut or not."""
    members = dict(part)
    is_marked = members.pop("…", None) == "truncated" and [*part][-1] == "…"
    return is_marked and all(
        value == whole[name]
        or (value.endswith("…") and whole[name].startswith(value.removesuffix("…").rstrip()))
        for name, value in members.items()
    )


def _plain(text: str) -> str:
    plain = ""
    for character in text.replace("\r\n", "\n"):
        if character in "\n\r\v\f\x85\u2028\u2029":
            plain += "\n"
        else:
            plain += " " if _is_control(character) else character
    return plain.strip()


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Zl", "Zp"} or character in MISLEADING
