"""The processes of the Procfile: started in sessions of their own, watched, and ended without a trace.

Names and commands come in; their lines go to the terminal or to log files, and their ends are reported.
A process is reported as gone only when nothing that it started is left.
"""

import os
import re
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from honcho.process import Popen

#: What a process leaves behind gets this long, in seconds, before it is killed.
LEFTOVER_SECONDS = 5.0
_POLL_SECONDS = 0.02

_ASSIGNMENT = re.compile(r"\s*\w+=")
_PUNCTUATION = frozenset("();<>|&")


@dataclass(frozen=True, slots=True)
class Exited:
    """A process has ended, with this exit status (negative: the signal)."""

    name: str
    status: int

    @property
    def words(self) -> str:
        """The exit status as people know it: "exit 3", or "exit -9, SIGKILL"."""
        with suppress(ValueError):
            return f"exit {self.status}, {signal.Signals(-self.status).name}"
        return f"exit {self.status}"


@dataclass(frozen=True, slots=True)
class Watcher:
    """Where a crew's news go: lines to `show` (or into files, if `logs` is given), ends to `report`."""

    show: Callable[[str, bytes], None]
    report: Callable[[Exited], None]
    logs: Path | None = None


class ProcessGroup:
    """All processes of a stack, each with its descendants."""

    def __init__(self, watcher: Watcher) -> None:
        """Take where the news go."""
        self._watcher = watcher
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._all_gone = threading.Condition()

    def start(self, name: str, command: str, environment: Mapping[str, str]) -> int:
        """Start a shell command and return its process id."""
        process = self._launch(name, command, environment)
        self._running[name] = process
        threading.Thread(target=self._watch, args=(name, process), name=name, daemon=True).start()
        return process.pid

    def end(self, seconds: float) -> None:
        """Ask each process to end, kill after that time what did not, and return when nothing is left."""
        with self._all_gone:
            for process in self._running.values():
                process.terminate()
            if self._all_gone.wait_for(lambda: not self._running, seconds):
                return
            for process in self._running.values():
                _signal_group(process.pid, signal.SIGKILL)
            self._all_gone.wait_for(lambda: not self._running)

    def _launch(self, name: str, command: str, environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        if self._watcher.logs is None:
            return _shell(command, environment, subprocess.PIPE)
        self._watcher.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._watcher.logs / f"{name}.log").open("ab") as log:
            return _shell(command, environment, log)

    def _watch(self, name: str, process: "subprocess.Popen[bytes]") -> None:
        relay = threading.Thread(target=self._relay, args=(name, process), name=f"{name} lines", daemon=True)
        relay.start()
        status = process.wait()
        _end_group(process.pid)
        # Its last words may still be in the pipe; something that fled its session may hold that open.
        relay.join(LEFTOVER_SECONDS)
        self._watcher.report(Exited(name, status))
        with self._all_gone:
            del self._running[name]
            self._all_gone.notify_all()

    def _relay(self, name: str, process: "subprocess.Popen[bytes]") -> None:
        if process.stdout is None:
            return
        with process.stdout as lines:
            for line in lines:
                self._watcher.show(name, line)


def _shell(command: str, environment: Mapping[str, str], output: int | BinaryIO) -> "subprocess.Popen[bytes]":
    """Run a command in a session of its own, and so out of reach of the terminal's Ctrl-C."""
    process: subprocess.Popen[bytes] = Popen(
        # Without a shell in between, signals and the exit status are the program's own.
        f"exec {command}" if _is_one_program(command) else command,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=output,
    )
    return process


def _is_one_program(command: str) -> bool:
    """Whether a command is nothing but a program and its arguments, as `exec` wants it."""
    words = shlex.shlex(command, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    try:
        return not _ASSIGNMENT.match(command) and not any(
            _PUNCTUATION.issuperset(word) for word in words if word
        )
    except ValueError:
        return False  # an open quote: the shell itself will say so


def _end_group(group: int) -> None:
    """End what a process left behind: ask, wait a little, kill."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        _signal_group(group, number)
        deadline = time.monotonic() + LEFTOVER_SECONDS
        while _signal_group(group, 0) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)


def _signal_group(group: int, number: int) -> bool:
    """Send a signal to all of a process group; false if there is none (or, on macOS, only zombies)."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
        return True
    return False
