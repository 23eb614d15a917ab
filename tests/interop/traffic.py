"""What the receivers are sent: the control plane's usual events, every tenth with hostile text in it.

The hostile texts are what readers of CEF, syslog, JSON and HTTP stumble over; each stands in every field
of an event that takes text, its id apart, over and over until all of them have been everywhere.
"""

from collections.abc import Iterator
from typing import Any

from worker.samples import sample_events

_HOSTILE_ONE_IN = 10

HOSTILE = (
    "pipes | and || one at the end|",
    "back\\slashes \\\\ \\| \\= \\n \\u0041 and one at the end\\",
    "a=b act=allow src=10.0.0.1 outcome=allow =",
    "two\nlines\n\nand a blank one",
    "\r\n<13>Jan  2 03:04:05 evil CEF:0|X|Y|1|z|z|10|act=allow\n",
    "12 <134>1 2026-01-02T03:04:05.678Z evil - - - - CEF:0|X|Y|1|z|z|10|act=allow",
    "tabs\tand\x00nul\x01\x1b[31m\x7f\x9b and \x85 \u2028 \u2029 ends of lines",
    "  blanks around  ",
    "😀 𝄞 \u202eRTL\u202c e\u0301 \u00a0 \u3000 \ufeff é 漢字 ",
    "\"quoted\" 'twice' %n%s %25 #011 ${HOST} $(echo x) `x` {msg} <b>&amp;</b> -->",
    "CEF:0|MITRITY|MITRITY Platform|1.0|policy.allow|x|2|rt=1 act=allow",
    "",
    " ",
    "x" * 5000,
    "é=\\|" * 1500,
    "🚀" * 2500,
    "a" * 511 + "|" * 3,
    "a" * 62 + "\\\\\\",
)

#: Days of one digit, zones, fractions finer than a millisecond, other years.
TIMES = (
    "2026-01-02T03:04:05.678901+05:30",
    "2026-10-31T23:59:59.999999-11:00",
    "2031-09-09T09:09:09Z",
    "1999-12-31T23:59:59.5Z",
    "2040-07-01T00:00:00.000Z",
)


def hostile(event: dict[str, Any], text: str) -> dict[str, Any]:
    """Put the text wherever an event takes one; its id and tenant stay what they are."""
    policy = event.get("policy")
    return event | {
        "agent_id": text,
        "agent_name": f"{text} {text}",
        "action_type": text,
        "policy": policy and policy | {"id": text, "name": text},
        "behavioral_hash": text,
        "behavioral_hash_delta": text,
        "hold": {"approver": text},
        "reason": text,
        "context": {"text": text, text: [text, {"deep": text}], "number": 1e-7, "none": None},
    }


def traffic(count: int, tenant_id: str = "default") -> Iterator[dict[str, Any]]:
    """Yield that many events of the tenant, all of which differ in their ids."""
    for number, event in enumerate(sample_events(count, run=tenant_id, tenant_id=tenant_id)):
        turn, is_usual = divmod(number, _HOSTILE_ONE_IN)
        if is_usual:
            yield event
        else:
            odd_id = f'{event["id"]} | = \\ "é" {"x" * 60}'
            odd_time = TIMES[turn % len(TIMES)]
            yield hostile(event, HOSTILE[turn % len(HOSTILE)]) | {"id": odd_id, "timestamp": odd_time}
