"""`siem up` as a program of its own: the terminal's Ctrl-C, and its sudden death."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.up.programs import POLITE, command, holding, is_free, procfile, text_of, wait_until
from worker.up.orphan_reaper import execute

pytestmark = pytest.mark.slow

_UP = """\
import sys
from pathlib import Path
from worker.settings import Settings
from worker.up import Stack
sys.exit(Stack(Settings(data_dir=Path(sys.argv[1])), procfile=sys.argv[2], roles=()).run())
"""

#: Writes down each request to end; ends only on SIGTERM.
COUNTS = """\
import os, signal, sys
from pathlib import Path
def count(number, _):
    with Path(os.environ["COUNT"]).open("a") as file: file.write(f"{number} ")
    if number == signal.SIGTERM: sys.exit(0)
signal.signal(signal.SIGINT, count)
signal.signal(signal.SIGTERM, count)
print("counting", flush=True)
while True: signal.pause()
"""


class Terminal:
    """A terminal in which `siem up` runs: its output is kept, its process group can be hit."""

    def __init__(self, directory: Path) -> None:
        """Take a directory for the output and the data."""
        self.data = directory / "data"
        self.count = directory / "count"
        self._output = directory / "output"

    def run(self, procfile_text: str) -> "subprocess.Popen[bytes]":
        """Run `siem up` in the foreground."""
        environment = {key: value for key, value in os.environ.items() if key != "SIEM_REDIS_URL"}
        with self._output.open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-c", _UP, str(self.data), procfile_text],
                env={**environment, "COUNT": str(self.count)},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def wait_for(self, text: str) -> None:
        """Wait until the text stands on the screen."""
        wait_until(lambda: text in text_of(self._output), f"{text!r} on the screen")

    def is_free(self) -> bool:
        """Whether no one possesses the data any more, the server included."""
        return is_free(self.data / "lock")


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """Give a terminal; whatever the test leaves running in it is ended."""
    made = Terminal(tmp_path)
    yield made
    wait_until(made.is_free, "the end of everything")


def test_the_terminals_ctrl_c_hits_each_process_once(terminal: Terminal) -> None:
    """A Ctrl-C goes to the whole foreground group; the processes hear of it once, from `siem up`."""
    with terminal.run(procfile(counting=COUNTS)) as up:
        terminal.wait_for("counting | counting")
        terminal.wait_for("Ready.")
        os.killpg(up.pid, signal.SIGINT)

    assert up.returncode == 0
    assert terminal.count.read_text() == f"{int(signal.SIGTERM)} "


def test_sudden_death_leaves_nothing_behind(terminal: Terminal, tmp_path: Path) -> None:
    """If `siem up` is killed outright, its processes are ended, then its server, and the data are free."""
    lock = tmp_path / "held"
    commands = procfile(polite=POLITE) + f"holder: {command(holding(lock))}\n"
    with terminal.run(commands) as up:
        terminal.wait_for("polite program is ready")
        wait_until(lambda: text_of(lock) == "held", "the holder's start")
        terminal.wait_for("Ready.")
        up.kill()
    wait_until(terminal.is_free, "the server's end")

    assert is_free(lock)


def test_after_sudden_death_it_starts_again_with_its_data(terminal: Terminal) -> None:
    """What Redis held when `siem up` was killed is there when it is started again, at the same address."""
    for expected in (None, b"said"):
        with terminal.run(procfile(polite=POLITE)) as up:
            terminal.wait_for("polite program is ready")
            terminal.wait_for("Ready.")
            with redis.Redis.from_url((terminal.data / "redis.url").read_text().strip()) as client:
                before = client.get("good-bye")
            up.kill()
        wait_until(terminal.is_free, "the server's end")

        assert before == expected


def test_a_dismissed_warden_ends_no_process() -> None:
    """After an orderly end the last will is void."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bystander:
        execute([f"process {bystander.pid}\n", "dismissed\n"])

        assert bystander.poll() is None


def test_a_warden_ends_the_processes_it_knows() -> None:
    """Without a dismissal the processes and the server are ended, those that have gone already excepted."""
    with (
        subprocess.Popen([sys.executable, "-c", ""]) as gone,
        subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as process,
        subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as server,
    ):
        gone.wait()
        # A zombie would count as alive until its time is up: the parent takes note of the end meanwhile.
        signal.signal(signal.SIGCHLD, lambda *_: (process.poll(), server.poll()))
        try:
            execute([f"process {gone.pid}\n", f"process {process.pid}\n", f"server {server.pid}\n"])
        finally:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    assert process.returncode == -signal.SIGTERM
    assert server.returncode == -signal.SIGTERM
