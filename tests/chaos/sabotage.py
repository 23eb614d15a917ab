"""Breaks one of the steps on purpose, to see whether the account notices it.

An oracle that cannot fail proves nothing.

Run as a program, it breaks the code of its own process and goes on as the program that it was given:

    python -m tests.chaos.sabotage claim siem route
"""

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fleet import Fleet
from worker.broker import connection
from worker.broker.ingress import Ingress, RoutingResult
from worker.pipeline.recorder import Recorder

#: How long the gap is that was none, in seconds: long enough for somebody to be killed in it.
_GAP = 0.4


class SabotagedFleet(Fleet):
    """A fleet of which every process has the same break."""

    sabotage = ""

    def _command(self, role: str) -> list[str]:
        program, *arguments = super()._command(role)
        if not self.sabotage:
            return [program, *arguments]
        return [sys.executable, "-m", "tests.chaos.sabotage", self.sabotage, program, *arguments]


def settle() -> None:
    """Free the slot of a batch that is to be sent again: nobody looks for its events any more."""
    _replace(
        "settle",
        "redis.call('ZADD', KEYS[1], now + tonumber(ARGV[rest + 4]), member(slot))",
        "free(slot)",
    )


def outcome() -> None:
    """Settle a batch without a trace: it is deleted, and nobody is told what became of it."""
    _replace("settle", "if ARGV[6] ~= '' then", "if false then")


def claim() -> None:
    """Hand out one chunk less than was claimed."""
    _replace(
        "claim",
        "return urgent, bulk\nend",
        "if #urgent > 1 then table.remove(urgent) end\n  return urgent, bulk\nend",
    )


def routing() -> None:
    """Finish the arrivals first, and append to the backlogs a moment later: two steps instead of one."""
    whole = Ingress.hand_over

    def in_two(ingress: Ingress, given: RoutingResult) -> None:
        whole(ingress, RoutingResult(done=given.done))
        time.sleep(_GAP)
        whole(
            ingress, RoutingResult(given.routed_chunks, given.dead, given.unwanted, given.volumes, [b"0-1"])
        )

    Ingress.hand_over = in_two  # type: ignore[assignment, method-assign]  # that is the sabotage


def recorder() -> None:
    """Finish outcomes in Redis before they stand in the ledger."""

    def step(broken: Any, stopping: threading.Event) -> int:
        settled = broken._gather(stopping)  # noqa: SLF001 - a break is made from inside
        if settled:
            broken._outcomes.finish(settled)  # noqa: SLF001 - a break is made from inside
            time.sleep(_GAP)
            broken._record_all(settled)  # noqa: SLF001 - a break is made from inside
        broken._reconcile()  # noqa: SLF001 - a break is made from inside
        return len(settled)

    Recorder.step = step  # type: ignore[assignment, method-assign]  # that is the sabotage


SABOTAGES: dict[str, Callable[[], None]] = {
    each.__name__: each for each in (settle, outcome, claim, routing, recorder)
}


#: Whoever must be killed for a break to show; the monkey then does nothing else.
VICTIM = {"routing": "router", "recorder": "recorder"} | dict.fromkeys(
    ("settle", "outcome", "claim"), "router"
)


def _replace(script: str, sound: str, broken: str) -> None:
    """Change a line of a script, for this process alone."""
    read = connection.script_text

    def script_text(name: str) -> str:
        text = read(name)
        if name != script:
            return text
        if sound not in text:
            raise AssertionError(f"{script} has changed: its sabotage no longer breaks anything")
        return text.replace(sound, broken)

    connection.script_text = script_text


def main() -> None:
    """Break, and go on as the program that was named."""
    name, program, *arguments = sys.argv[1:]
    SABOTAGES[name]()
    sys.argv = [program, *arguments]
    if Path(program).name == "celery":
        from celery.__main__ import main as run  # noqa: PLC0415 - only what is asked for is loaded
    else:
        from worker.cli import main as run  # noqa: PLC0415 - only what is asked for is loaded
    run()


if __name__ == "__main__":
    main()
