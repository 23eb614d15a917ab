"""Runs the program `siem` as its users do: in a shell, in a pipe, in a terminal; or, quicker, in-process.

In comes an environment and what is typed, out comes what a person would see and the exit status.
"""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any
from unittest.mock import patch

from worker.cli import main
from worker.settings import settings
from worker.views.integrations import COMMON, READ_ONLY

SIEM = str(Path(sys.executable).parent / "siem")
PATIENCE = 180.0

#: Gives a program a terminal of its own, between whose ends it copies; a fork here would copy our threads.
_TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


@dataclass(frozen=True, slots=True)
class Ran:
    """How a run ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line of an error; nothing else may have been printed."""
        assert self.out == ""
        assert self.err.startswith("Error: ")
        assert self.err.count("\n") == 1
        return self.err.removeprefix("Error: ").rstrip("\n")

    def refuses(self, words: str) -> bool:
        """Whether it ended with 2 and one line on standard error, an error that begins with these words."""
        found = (self.code, self.out, self.err.count("\n"))
        return found == (2, "", 1) and self.err.startswith(f"Error: {words}")

    @property
    def json(self) -> Any:
        """The document on standard output, which nothing may surround."""
        assert self.code == 0, self.err
        return json.loads(self.out)

    @property
    def report(self) -> Any:
        """The document of a command that exits with 1 where something is not well."""
        assert self.code in {0, 1}, self.err
        return json.loads(self.out)


def run(environment: Mapping[str, str], *arguments: str, stdin: bytes = b"", **changes: str) -> Ran:
    """Run `siem` to its end, with these variables changed."""
    done = subprocess.run(
        [SIEM, *arguments],
        env={**environment, **changes},
        input=stdin,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


class _Printed(io.TextIOWrapper):
    def __init__(self, *, to_terminal: bool = False) -> None:
        self.memory, self.to_terminal = io.BytesIO(), to_terminal
        super().__init__(self.memory, encoding="utf-8", write_through=True)

    def isatty(self) -> bool:
        return self.to_terminal


def call(
    environment: Mapping[str, str],
    *arguments: str,
    stdin: bytes = b"",
    columns: int | None = None,
    **changes: str,
) -> Ran:
    """Run `siem` within this process, where no process is the subject: its start alone takes a second.

    With `columns`, what it prints goes to something that says that it is so wide a terminal.
    """
    out, err = _Printed(to_terminal=columns is not None), _Printed()
    environment = {**environment, **changes, **({"COLUMNS": str(columns)} if columns else {})}
    settings.cache_clear()
    with (
        io.TextIOWrapper(TemporaryFile()) as typed,  # a file, since commands read its descriptor
        patch.dict(os.environ, environment, clear=True),
        patch.object(sys, "argv", ["siem", *arguments]),
        patch.object(sys, "stdin", typed),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        typed.buffer.write(stdin)
        typed.seek(0)
        code = _exit_code_of(main)
    settings.cache_clear()
    return Ran(code, out.memory.getvalue().decode(), err.memory.getvalue().decode())


def create(environment: Mapping[str, str], url: str, *options: str, name: str = "siem") -> Ran:
    """Create an integration, within this process."""
    return call(environment, "integrations", "create", "--name", name, "--url", url, *options)


def destination_of(document: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of an integration's destination; of a secret, whether it is set or unreadable."""
    return {name: _in_a_word(value) for name, value in document.items() if name not in {*COMMON, *READ_ONLY}}


def _in_a_word(value: Any) -> Any:
    match value:
        case {"set": True, "since": str(), "readable": readable}:
            return "set" if readable else "unreadable"
        case dict():
            return {name: _in_a_word(one) for name, one in value.items()}
        case list():
            return [_in_a_word(one) for one in value]
        case _:
            return value


def start(environment: Mapping[str, str], *arguments: str) -> "subprocess.Popen[bytes]":
    """Start `siem` with pipes on all sides."""
    pipe = subprocess.PIPE
    return subprocess.Popen([SIEM, *arguments], env=environment, stdin=pipe, stdout=pipe, stderr=pipe)


def in_terminal(environment: Mapping[str, str], *arguments: str, prompt: str, answer: bytes) -> Ran:
    """Run `siem` in a terminal; type the answer once it shows the prompt. What it prints comes as `out`."""
    command = [sys.executable, "-c", _TERMINAL, SIEM, *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe) as process:
        try:
            return _dialogue(process, prompt.encode(), answer)
        finally:
            process.kill()


def _dialogue(process: "subprocess.Popen[bytes]", prompt: bytes, answer: bytes) -> Ran:
    assert process.stdin is not None
    assert process.stdout is not None
    shown = b""
    # The space behind a prompt comes last, once what was typed before has been thrown away.
    while not (prompt in shown and (shown.endswith(b" ") or not answer)):
        piece = os.read(process.stdout.fileno(), 4096)
        assert piece, f"ended without asking: {shown.decode()}"
        shown += piece
    process.stdin.write(answer)
    process.stdin.flush()
    shown += process.stdout.read()
    return Ran(process.wait(PATIENCE), shown.decode(), "")


def _exit_code_of(program: Callable[[], None]) -> int:
    try:
        program()
    except SystemExit as end:
        return int(end.code or 0)
    return 0
