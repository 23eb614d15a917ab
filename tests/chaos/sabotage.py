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
from worker.broker import connection, hand_over, keys
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

    def in_two(ingress: Ingress, given: RoutingResult, _behind: object = None) -> None:
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


def count_lost() -> None:
    """Count one reference too few to what several integrations share: the last finds no events."""
    _count_references(lambda count: count - 1)


def count_doubled() -> None:
    """Count each reference twice: nobody takes the events along."""
    _count_references(lambda count: 2 * count)


def payload_deleted() -> None:
    """Delete shared events with the first entry that goes: the others refer to nothing."""
    _replace("payloads", "if left == 0 then", "if left >= 0 then")


def payload_left() -> None:
    """Forget to delete shared events with the last entry that refers to them."""
    _replace("payloads", "if left == 0 then", "if false then")


def _count_references(counted: Callable[[int], int]) -> None:
    whole = hand_over.append

    def append(pipeline: Any, *given: Any, **named: Any) -> None:
        commands = pipeline.command_stack
        before = len(commands)
        whole(pipeline, *given, **named)
        for place in range(before, len(commands)):
            words, options = commands[place]
            if words[:2] == ("HINCRBY", keys.CHUNKS):
                commands[place] = ((*words[:3], counted(int(words[3]))), options)

    hand_over.append = append


#: How chunks of backlogs that several integrations want may be miscounted: what shows without a kill.
SHARED = {each.__name__: each for each in (count_lost, count_doubled, payload_deleted, payload_left)}

SABOTAGES: dict[str, Callable[[], None]] = {
    **{each.__name__: each for each in (settle, outcome, claim, routing, recorder)},
    **SHARED,
}


#: Whoever must be killed for a break to show; the monkey then does nothing else.
VICTIM = {"routing": "router", "recorder": "recorder"} | dict.fromkeys(
    ("settle", "outcome", "claim", *SHARED), "router"
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
