"""The last will of `siem up`: should it be killed outright, this ends what it started, the server last.

Lines "process PID" and "server PID" come in from `siem up`; when they stop coming without the line
"dismissed", it has been killed. Each process leads a process group. Run as a script, so that it weighs
little: it imports nothing of ours.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Self

_PROCESS_SECONDS = 20.0
_SERVER_SECONDS = 60.0
_LEFTOVER_SECONDS = 5.0
_POLL_SECONDS = 0.1

_Send = Callable[[int, int], None]


class OrphanReaper:
    """The side of `siem up`: tells the script what to end."""

    def __init__(self) -> None:
        """Start the script, out of reach of the terminal's Ctrl-C."""
        self._script = subprocess.Popen(  # noqa: S603 - this very file
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def watch_process(self, pid: int) -> None:
        """Have a process and all of its group ended."""
        self._tell(f"process {pid}")

    def watch_server(self, pid: int) -> None:
        """Have the server ended, after the processes."""
        self._tell(f"server {pid}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Dismiss it: everything has been ended in good order."""
        self._tell("dismissed")
        with suppress(OSError):
            self._script.communicate()

    def _tell(self, line: str) -> None:
        # If it was killed, everything goes on without it.
        with suppress(OSError, ValueError):
            if self._script.stdin is not None:
                self._script.stdin.write(f"{line}\n".encode())
                self._script.stdin.flush()


def execute(lines: Iterable[str]) -> None:
    """Read the will; carry it out if it ends without "dismissed"."""
    groups: dict[str, list[int]] = {"process": [], "server": []}
    for line in lines:
        kind, _, pid = line.strip().partition(" ")
        if kind == "dismissed":
            return
        groups[kind].append(int(pid))
    _end(groups["process"], _PROCESS_SECONDS)
    _end(groups["server"], _SERVER_SECONDS)


def _end(groups: list[int], seconds: float) -> None:
    """Ask the leaders to end, then what they left of their groups; kill what does not."""
    _signal(os.kill, groups, signal.SIGTERM)
    _wait_while(os.kill, groups, seconds)
    _signal(os.killpg, groups, signal.SIGTERM)
    _wait_while(os.killpg, groups, _LEFTOVER_SECONDS)
    _signal(os.killpg, groups, signal.SIGKILL)


def _wait_while(send: _Send, groups: list[int], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while _signal(send, groups, 0) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)


def _signal(send: _Send, groups: list[int], number: int) -> bool:
    """Send a signal to each; false if none of them is there."""
    reached = False
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):
            send(group, number)
            reached = True
    return reached


if __name__ == "__main__":
    execute(sys.stdin)
