"""The crew: a process is its own program, and commands that need a shell get one."""

import queue
import signal
from pathlib import Path

import pytest

from tests.up.programs import command, holding, is_free, text_of, wait_until
from worker.up import process_group as module
from worker.up.process_group import Exited, ProcessGroup, Watcher


@pytest.fixture
def news() -> "queue.SimpleQueue[Exited]":
    """Give the queue in which ends are reported."""
    return queue.SimpleQueue()


def run(command_line: str, news: "queue.SimpleQueue[Exited]") -> tuple[int, bytes]:
    """Run a command to its end; return its exit status and what it said."""
    lines: list[bytes] = []
    crew = ProcessGroup(Watcher(lambda _name, line: lines.append(line), news.put))
    crew.start("one", command_line, {"PATH": "/usr/bin:/bin", "GREETING": "hello"})
    return news.get(timeout=90).status, b"".join(lines)


@pytest.mark.parametrize(
    ("command_line", "said"),
    [
        ("echo plain", b"plain\n"),
        ("echo 'a;b' \"(c)\"", b"a;b (c)\n"),
        ("echo $GREETING", b"hello\n"),
        ("GREETING=bye; echo $GREETING", b"bye\n"),
        ("GREETING=bye sh -c 'echo $GREETING'", b"bye\n"),
        ("echo one && echo two", b"one\ntwo\n"),
        ("echo last line without end | tr -d '\\n'", b"last line without end"),
    ],
)
def test_commands_mean_what_they_mean_in_a_shell(
    command_line: str, said: bytes, news: "queue.SimpleQueue[Exited]"
) -> None:
    """Quotes, variables, assignments and pipes work as in any Procfile."""
    assert run(command_line, news) == (0, said)


def test_a_mistake_in_a_command_is_reported_by_the_shell(news: "queue.SimpleQueue[Exited]") -> None:
    """A command that cannot be read fails with what the shell says of it."""
    status, said = run("echo 'open", news)

    assert status != 0
    assert said


def test_the_exit_status_is_the_programs_own(news: "queue.SimpleQueue[Exited]") -> None:
    """No shell stands between: a signal that ended the program is seen as such."""
    status, _ = run(command("import os; os.kill(os.getpid(), 9)"), news)

    assert status == -signal.SIGKILL


def test_what_a_dead_process_left_is_killed_if_it_must(
    news: "queue.SimpleQueue[Exited]", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A descendant that ignores the request to end does not survive its ancestor for long."""
    monkeypatch.setattr(module, "LEFTOVER_SECONDS", 0.3)
    lock = tmp_path / "lock"
    crew = ProcessGroup(Watcher(lambda *_: None, news.put, tmp_path))
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + holding(lock)
    crew.start("left", f"{command(deaf)} & wait", {"PATH": "/usr/bin:/bin"})
    wait_until(lambda: text_of(lock) == "held", "the descendant's start")
    crew.end(10)

    assert news.get(timeout=90) == Exited("left", -signal.SIGTERM)
    assert is_free(lock)
