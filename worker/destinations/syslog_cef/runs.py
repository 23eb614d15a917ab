"""Runs of keys that many events share, written once and kept: what was done under which policy, and by whom.

A template has both, for the events of which they are the same.

What is kept is bounded in entries and in characters, for all tenants of a process together: one whose names
never repeat costs time, not memory. A run with a value that does not fit its key is marked: such a message is
written value by value (`worker.destinations.syslog_cef.truncation`).
"""

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import attrgetter
from typing import Generic, TypeVar

from worker.destinations.syslog_cef.details import EventDetails, PolicyName
from worker.destinations.syslog_cef.extension import LEADS, TooLong, lead_of, written
from worker.destinations.syslog_cef.mapping import ANOMALY, LONGEST_NAME, OUTCOMES, CefEventKind, cef_kind
from worker.destinations.syslog_cef.values import escaped, header_value, one_line, without_controls

#: How many runs of one sort are kept, and how many characters their keys have together at the most. A run
#: takes a few times what its key takes: all of them stay below some tens of megabytes.
MOST_RUNS, MOST_CHARACTERS = 4096, 1_000_000
#: What is longer is not kept at all, so that it drives nothing else out.
_LONGEST_KEY = 4096

_AGENT, _SCORE = "\n", "\r"
_LONGEST_SENTENCE = LEADS["msg"][1]

#: Decision, action, policy, tenant, id and name of the agent.
Shared = tuple[str | None, str | None, PolicyName | None, str, str | None, str | None]
_shared: Callable[[EventDetails], Shared] = attrgetter(
    "decision", "action_type", "policy", "tenant_id", "agent_id", "agent_name"
)

_Key = TypeVar("_Key", bound=tuple[Hashable, ...])
_Run = TypeVar("_Run")


@dataclass(frozen=True, slots=True)
class Deed:
    """What was done, and under which policy: of all events that say the same of it.

    `title` is all of the header's fields and the first key, up to its value. `did` and `policy` are written
    keys; `before`, `between` and `end` are the parts of `msg` before the agent (its key included), between
    agent and score, and behind the score, `length` characters together. Where `is_usual` is False, only
    `kind` and `name` are of use.
    """

    kind: CefEventKind
    name: str
    is_usual: bool = False
    title: bytes = b""
    did: bytes = b""
    policy: bytes = b""
    before: bytes = b""
    between: bytes = b""
    end: bytes = b""
    length: int = 0
    #: Whether the sentence says the score.
    has_score: bool = False


@dataclass(frozen=True, slots=True)
class Agent:
    """Who did it: the written keys, and the words for it in `msg`, escaped, of `length` characters.

    Where `is_usual` is False, neither is of use.
    """

    is_usual: bool = False
    keys: bytes = b""
    words: bytes = b""
    length: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """The parts of a message that do not differ between events with the same deed and agent.

    `title` is all of the header's fields and the first key, up to its value; `before_id` what follows the
    time; `agent` and `policy` are written keys. `sentence` is `msg` without a score; if it has a place for
    one, `before_score` and `behind_score` are its parts, and `room` the longest that it may be. Where
    `is_usual` is False, only `deed` is of use.
    """

    deed: Deed
    is_usual: bool
    title: bytes
    before_id: bytes
    agent: bytes
    policy: bytes
    sentence: bytes
    before_score: bytes
    behind_score: bytes
    room: int


class _Kept(Generic[_Key, _Run]):
    """Runs by what they are made of; all are dropped when there are too many. Shared by threads."""

    def __init__(self, make: Callable[[_Key], _Run]) -> None:
        self._make = make
        self._runs: dict[_Key, _Run] = {}
        #: Looks one up: most are there.
        self.find = self._runs.get
        self._characters = 0
        self._lock = threading.Lock()

    def add(self, key: _Key) -> _Run:
        """Make one, and keep it."""
        run = self._make(key)
        size = _characters(key)
        if size > _LONGEST_KEY:
            return run
        with self._lock:
            if len(self._runs) >= MOST_RUNS or self._characters + size > MOST_CHARACTERS:
                self._runs.clear()
                self._characters = 0
            self._runs[key] = run
            self._characters += size
        return run

    def counts(self) -> tuple[int, int]:
        """Return how many are kept, and of how many characters."""
        return len(self._runs), self._characters


def _characters(part: object) -> int:
    if isinstance(part, PolicyName):
        return _characters((part.id, part.name))
    if isinstance(part, tuple):
        return sum(map(_characters, part))
    return len(part) if isinstance(part, str) else 0


#: Type, decision, action, id and name of the policy.
DeedKey = tuple[str, str | None, str | None, str | None, str | None]
#: Whether `src` carries the id, category, tenant, id and name of the agent.
AgentKey = tuple[bool, str, str, str | None, str | None]
#: Whether `src` carries the agent's id, the type, and what events with the same template say alike.
TemplateKey = tuple[bool, str, Shared]


def _deed(key: DeedKey) -> Deed:
    event_type, decision, action, policy_id, policy_name = key
    kind = cef_kind(event_type, decision)
    name = _name(kind, policy_id, policy_name)
    try:
        did = written("act", action) + written("outcome", OUTCOMES.get(decision or "", kind.outcome))
        policy = written("cs3", policy_id)
    except TooLong:
        return Deed(kind, name)
    sentence = _sentence(kind, policy_name or policy_id, action)
    before, has_agent, behind = sentence.partition(_AGENT)
    if len(name) > LONGEST_NAME or not has_agent:  # a type that is none of ours names no agent
        return Deed(kind, name)
    between, has_score, end = behind.partition(_SCORE)
    return Deed(
        kind,
        name,
        is_usual=True,
        title=_encoded(kind.head + header_value(name) + kind.tail + LEADS["rt"][0].lstrip()),
        did=_encoded(did),
        policy=_encoded(policy),
        before=_encoded(LEADS["msg"][0] + escaped(before)),
        between=_encoded(escaped(between)),
        end=_encoded(escaped(end)),
        length=sum(len(escaped(part)) for part in (before, between, end)),
        has_score=bool(has_score),
    )


def _agent(key: AgentKey) -> Agent:
    send_src, category, tenant_id, agent_id, agent_name = key
    try:
        keys = (
            written("suid", agent_id)
            + written("suser", agent_name)
            + written("src", agent_id if send_src else None)
            + written("cat", category)
            + written("deviceExternalId", tenant_id)
        )
    except TooLong:
        return Agent()
    words = escaped(without_controls(agent_in_words(agent_name or agent_id)))
    return Agent(is_usual=True, keys=_encoded(keys), words=_encoded(words), length=len(words))


def _template(key: TemplateKey) -> Template:
    send_src, event_type, (decision, action, policy, tenant_id, agent_id, agent_name) = key
    policy = policy or PolicyName()
    deed_key = event_type, decision, action, policy.id, policy.name
    deed = DEEDS.find(deed_key) or DEEDS.add(deed_key)
    agent_key = send_src, deed.kind.category, tenant_id, agent_id, agent_name
    agent = AGENTS.find(agent_key) or AGENTS.add(agent_key)
    with_score = _encoded(score_in_words(_SCORE).partition(_SCORE)[0])
    length = deed.length + agent.length
    before = deed.before + agent.words + deed.between
    return Template(
        deed,
        is_usual=deed.is_usual and agent.is_usual and length <= _LONGEST_SENTENCE,
        title=deed.title,
        before_id=deed.did + lead_of("externalId")[0],
        agent=agent.keys,
        policy=deed.policy,
        sentence=before + deed.end,
        before_score=before + with_score if deed.has_score else b"",
        behind_score=deed.end,
        room=_LONGEST_SENTENCE - length - len(with_score),
    )


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _name(kind: CefEventKind, policy_id: str | None, policy_name: str | None) -> str:
    """Return the name for the header: the policy's wherever one is named, but for drift; else the kind's."""
    if kind.name == ANOMALY:
        return ANOMALY
    return one_line(policy_name or "") or one_line(policy_id or "") or kind.name


def _sentence(kind: CefEventKind, policy: str | None, action: str | None) -> str:
    """Sum up what was done, with `_AGENT` and `_SCORE` for what is none of this; no other controls."""
    return kind.sentence.format(
        policy=without_controls(policy_in_words(policy)),
        action=without_controls(action_in_words(action)),
        agent=_AGENT,
        score=_SCORE,
    )


def policy_in_words(policy: str | None) -> str:
    """Return what a sentence calls a policy."""
    return f'Policy "{policy}"' if policy else "A policy"


def action_in_words(action: str | None) -> str:
    """Return what a sentence calls an action."""
    return action or "an action"


def agent_in_words(agent: str | None) -> str:
    """Return what a sentence calls an agent."""
    return f'agent "{agent}"' if agent else "an agent"


def score_in_words(score: str | None) -> str:
    """Return how a sentence goes on where there is a score."""
    return f", with a score of {score}" if score else ""


DEEDS: _Kept[DeedKey, Deed] = _Kept(_deed)
AGENTS: _Kept[AgentKey, Agent] = _Kept(_agent)
TEMPLATES: _Kept[TemplateKey, Template] = _Kept(_template)


def templates_of(
    types: Sequence[str], details: Sequence[EventDetails], *, send_src: bool
) -> Sequence[Template]:
    """Return the template of each event: from what is kept, where that has it."""
    keys = list(zip(repeat(send_src), types, map(_shared, details), strict=False))
    found = list(map(TEMPLATES.find, keys))
    return [one or TEMPLATES.add(key) for one, key in zip(found, keys, strict=True)]
