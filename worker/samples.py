"""Governance events as a busy control plane publishes them, for demonstrations, tests and benchmarks.

In goes a number, out come that many events: all eleven types in a lifelike mixture, 600 to 900 bytes
each, with the quotes, pipes, equals signs and scripts of real names. The same seed, run and index
always give the same id, and no two events of any run share one.
"""

import datetime as dt
import hashlib
import itertools
import json
import random
import re
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from worker.model.events import EventType

#: Multiplying by an odd number modulo 2^64 is a bijection: ids look random and never repeat.
_SCATTER = 0x9E3779B97F4A7C15
_64_BITS = (1 << 64) - 1
_SHORTEST = 620


def sample_events(
    count: int, *, seed: int = 0, run: str = "", tenant_id: str = "default", start_ms: int | None = None
) -> Iterator[dict[str, Any]]:
    """Yield `count` events as dictionaries; see `sample_lines`, which is the faster one."""
    lines = sample_lines(count, seed=seed, run=run, tenant_id=tenant_id, start_ms=start_ms)
    return map(msgspec.json.decode, lines)


def sample_lines(
    count: int, *, seed: int = 0, run: str = "", tenant_id: str = "default", start_ms: int | None = None
) -> Iterator[bytes]:
    """Yield `count` events, each one line of compact JSON in UTF-8 without its newline.

    The events happen one a millisecond from `start_ms` (milliseconds since 1970 UTC) on; without it,
    each happens at the moment in which it is made. `run` sets the ids of one run apart from another's.
    """
    run_id = hashlib.blake2b(f"{seed}\0{run}".encode(), digest_size=8).hexdigest().encode()
    templates = itertools.cycle(_templates(seed, tenant_id))
    for index, template, stamp in zip(range(count), templates, _timestamps(start_ms), strict=False):
        place = b"%016x" % (index * _SCATTER & _64_BITS)
        yield template % {
            b"id": run_id + place,
            b"time": stamp,
            b"place": place,
            b"digits": b"%03d" % (index * 7 % 1000),
        }


def _timestamps(start_ms: int | None) -> Iterator[bytes]:
    """Write RFC 3339 quickly: the calendar is consulted once a second."""
    moments = iter(_now_ms, None) if start_ms is None else itertools.count(start_ms)
    known, prefix = -1, b""
    for moment in moments:
        second, millisecond = divmod(moment, 1000)
        if second != known:
            known = second
            prefix = dt.datetime.fromtimestamp(second, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.").encode()
        yield b"%b%03dZ" % (prefix, millisecond)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _templates(seed: int, tenant_id: str) -> list[bytes]:
    """Build one cycle of the mixture: JSON with places for what varies from event to event."""
    dice = random.Random(seed)  # noqa: S311 - sample data, no secret
    kinds = [kind for kind, share in _MIXTURE.items() for _ in range(share)]
    dice.shuffle(kinds)
    return [_template(_event(kind, tenant_id, dice), dice) for kind in kinds]


def _template(event: dict[str, Any], dice: random.Random) -> bytes:
    """Turn an event into a format: `<<key>>` and the rest of scores like `"<<0.7>>"` become places."""
    while len(_compact(event)) < _SHORTEST:
        event["context"].setdefault("transcript", []).append(dice.choice(_UTTERANCES))
    text = _compact(event).replace(b"%", b"%%")
    text = re.sub(rb'"<<(0\.\d+)>>"', rb"\1%(digits)b", text)
    return re.sub(rb"<<(id|time|place)>>", rb"%(\1)b", text)


def _compact(event: dict[str, Any]) -> bytes:
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def _event(kind: EventType, tenant_id: str, dice: random.Random) -> dict[str, Any]:
    agent_id, agent_name, framework = dice.choice(_AGENTS)
    head = {
        "id": "evt_<<id>>",
        "type": kind.value,
        "timestamp": "<<time>>",
        "tenant_id": tenant_id,
        "agent_id": agent_id,
        "agent_name": agent_name,
    }
    behaviour = hashlib.sha256(agent_id.encode()).hexdigest()[:48]
    fingerprint = {"behavioral_hash": f"sha256:{behaviour}<<place>>"}
    context = {"framework": framework, "environment": dice.choice(_ENVIRONMENTS), "trace_id": "<<place>>"}
    family = kind.partition(".")[0]
    details = _DETAILS[family](kind, dice)
    return head | details | fingerprint | {"context": context | details.pop("context")}


def _policy_details(kind: EventType, dice: random.Random) -> dict[str, Any]:
    policy_id, policy_name, reason, tools = dice.choice(_POLICIES[kind])
    tool = dice.choice(tools)
    action_type, arguments = _ACTIONS[tool]
    details = {
        "action_type": action_type,
        "policy": {"id": policy_id, "name": policy_name, "version": dice.randint(1, 40)},
        "decision": _DECISIONS[kind],
        "drift_score": f"<<0.{dice.randint(0, 3)}>>",
        "reason": reason,
        "context": {"tool": tool, "arguments": arguments, "source_ip": f"10.4.7.{dice.randint(2, 250)}"},
    }
    if kind is EventType.POLICY_HOLD:
        details["hold"] = _hold("pending", None, dice)
    return details


def _hold_details(kind: EventType, dice: random.Random) -> dict[str, Any]:
    details = _policy_details(EventType.POLICY_HOLD, dice)
    status = kind.partition(".")[2]
    approver = None if kind is EventType.HOLD_EXPIRED else dice.choice(_APPROVERS)
    hold = _hold(status, approver, dice) | {"waited_seconds": dice.randint(4, 900)}
    return details | {"decision": _DECISIONS[kind], "hold": hold}


def _hold(status: str, approver: str | None, dice: random.Random) -> dict[str, Any]:
    hold: dict[str, Any] = {"id": "hold_<<place>>", "status": status, "expires_in_seconds": 900}
    if approver is not None:
        hold |= {"approver": approver, "comment": dice.choice(_COMMENTS)}
    return hold


def _drift_details(kind: EventType, dice: random.Random) -> dict[str, Any]:
    critical = kind is EventType.DRIFT_CRITICAL
    delta = f"<<0.{dice.randint(1, 4)}>>"
    return {
        "action_type": "behavior.evaluate",
        "policy": {"id": "pol_drift", "name": "Drift | behavioural baseline", "version": "2026.4"},
        "decision": _DECISIONS[kind],
        "drift_score": f"<<0.{9 if critical else dice.randint(6, 8)}>>",
        "behavioral_hash_delta": delta if dice.random() < 0.5 else "+3 tools, -1 data source",  # noqa: PLR2004 - half and half
        "reason": f"drift score above the {'critical' if critical else 'warning'} threshold",
        "context": {
            "threshold": 0.9 if critical else 0.6,
            "baseline_days": dice.choice((7, 14, 30)),
            "unusual": dice.sample(_DEVIATIONS, 3),
        },
    }


def _agent_details(kind: EventType, dice: random.Random) -> dict[str, Any]:
    connected = kind is EventType.AGENT_CONNECTED
    return {
        "action_type": kind.value,
        "reason": "session opened" if connected else dice.choice(_GOODBYES),
        "context": {
            "session_id": "ses_<<place>>",
            "sdk": f"mitrity-python/2.{dice.randint(0, 9)}.{dice.randint(0, 9)}",
            "source_ip": f"2001:db8::{dice.randint(1, 9999):x}",
            "tools": list(_ACTIONS),
        },
    }


_DETAILS = {
    "policy": _policy_details,
    "hold": _hold_details,
    "drift": _drift_details,
    "agent": _agent_details,
}

#: How many of each there are in one cycle of two hundred.
_MIXTURE = {
    EventType.POLICY_ALLOW: 100,
    EventType.POLICY_DENY: 24,
    EventType.POLICY_ALERT: 24,
    EventType.POLICY_HOLD: 14,
    EventType.DRIFT_WARNING: 12,
    EventType.HOLD_APPROVED: 9,
    EventType.HOLD_DENIED: 4,
    EventType.DRIFT_CRITICAL: 4,
    EventType.HOLD_EXPIRED: 3,
    EventType.AGENT_CONNECTED: 3,
    EventType.AGENT_DISCONNECTED: 3,
}

_DECISIONS = {
    EventType.POLICY_ALLOW: "allow",
    EventType.POLICY_DENY: "deny",
    EventType.POLICY_ALERT: "alert",
    EventType.POLICY_HOLD: "hold",
    EventType.HOLD_APPROVED: "allow",
    EventType.HOLD_DENIED: "deny",
    EventType.HOLD_EXPIRED: "deny",
    EventType.DRIFT_WARNING: "alert",
    EventType.DRIFT_CRITICAL: "block",
}

_AGENTS = (
    ("agent-7", "Invoice Matcher", "langgraph"),
    ("agent-12", "Zahlungsprüfer München", "crewai"),
    ("agent-31", "経費精算エージェント", "autogen"),
    ("agent-44", 'Support "Tier 1" | EMEA', "openai-agents"),
    ("agent-58", "O'Brien's research helper", "langgraph"),
    ("agent-63", "deploy=prod bot 🚀", "custom"),
    ("agent-90", "Аналитик данных", "llamaindex"),
)
_ENVIRONMENTS = ("production", "production", "staging", "eu-west=primary")

#: What each tool does, and the arguments of a call.
_ACTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "postgres.execute": (
        "db.write",
        {"sql": "UPDATE invoices\nSET paid = true\nWHERE id = 4711", "rows": 1},
    ),
    "postgres.query": (
        "db.read",
        {"sql": "SELECT name FROM people WHERE name LIKE 'O''B%'", "limit": 100},
    ),
    "fs.write": (
        "file.write",
        {"path": "C:\\Reports\\Q3=final|v2.xlsx", "mode": "overwrite", "bytes": 48213},
    ),
    "http.post": ("http.request", {"url": "https://api.example.com/v1?to=a&cc=b%20c", "timeout": 30}),
    "mail.send": (
        "tool.call",
        {"to": ["müller@example.com"], "subject": 'Re: "urgent" | refund = 30 %'},
    ),
    "shell.run": ("tool.call", {"command": 'grep -E "a|b" app.log \\\n  | sort', "cwd": "/srv"}),
    "stripe.charge": ("payment.create", {"amount": 129900, "currency": "EUR", "memo": "Café · août"}),
}

#: Id, name, reason, and the tools to whose calls the policy applies.
_POLICIES = {
    EventType.POLICY_ALLOW: (
        ("pol_read", "Allow reads on reporting data", "the table is on the allow list", ("postgres.query",)),
        ("pol_mail", "Allow mail to known recipients", "recipient=known; below 50/hour", ("mail.send",)),
        ("pol_base", "Default | allow", "no rule objected", tuple(_ACTIONS)),
    ),
    EventType.POLICY_DENY: (
        ("pol_prod", "Block | prod DB writes", "no change ticket (ticket=none)", ("postgres.execute",)),
        (
            "pol_pii",
            'No "PII" outside the EU',
            "Empfänger außerhalb der EU: région=us",
            ("http.post", "mail.send"),
        ),
        ("pol_shell", "Shell: no pipes \\ redirects", "the command has a pipe (|)", ("shell.run",)),
    ),
    EventType.POLICY_ALERT: (
        ("pol_vol", "Alert: unusual volume", "48 calls in 60 s, usual are 3", tuple(_ACTIONS)),
        (
            "pol_night",
            "Alert | outside office hours",
            "03:12 local; owner=on call",
            ("fs.write", "http.post"),
        ),
    ),
    EventType.POLICY_HOLD: (
        ("pol_pay", "Payments > 1 000 € need a person", "amount=1299.00 EUR", ("stripe.charge",)),
        ("pol_new", "New recipient | four eyes", "first message to this recipient", ("mail.send",)),
    ),
}

_APPROVERS = ("dana@example.com", "j.müller@example.com", "okta|sre-lead", "山田 太郎")
_COMMENTS = ("checked against PO=4711", 'Refund is "fine" | see ticket', "nicht ohne zweite Unterschrift")
_DEVIATIONS = ("new tool: shell.run", "calls=8x baseline", "hour 03-04", "target \\\\nas\\hr", "data|payroll")
_GOODBYES = ("heartbeat missed for 30 s", "process ended (exit=0)", "replaced by a newer session")
_UTTERANCES = (
    "Please settle the open invoices of last week.",
    "I will look up the account first, then ask for approval.",
    "Die Rechnung 4711 ist fällig; ich prüfe den Betrag.",
    "Looks right: total=1299.00, tax=19 %, vendor|Café Noir.",
)
