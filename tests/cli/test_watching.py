"""A status that renews itself, failures alone, and a shell that completes."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.running import run
from tests.fleet import Fleet, wait_until

_SIEM = Path(sys.executable).parent / "siem"


def test_a_watched_status_renews_itself_until_ctrl_c(told: Fleet) -> None:
    """It goes home and writes over what stood there; it ends with 130."""
    ours, theirs = pty.openpty()
    watching = subprocess.Popen(
        [_SIEM, "status", "--watch"], env=told.environment, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    seen = bytearray()

    def twice() -> bool:
        seen.extend(os.read(ours, 65536))
        return seen.count(b"\x1b[H") >= 2

    try:
        wait_until(twice, "the second picture")
        watching.send_signal(signal.SIGINT)
        code = watching.wait(timeout=20)
    finally:
        watching.kill()
        watching.wait()
        os.close(ours)

    assert code == 130
    assert seen.count(b"Deliveries since") >= 2
    assert b"well" in seen


def test_failures_alone(told: Fleet) -> None:
    """Those that are dead or to be tried again, of the last hour."""
    rows = run(told.environment, "deliveries", "--failed", "--since", "1h", "--json").json

    assert sorted(row["event_id"] for row in rows) == ["ill-1", "ill-2"]
    assert {row["status"] for row in rows} == {"dead"}


@pytest.mark.parametrize(
    "arguments", [["status", "--watch", "--json"], ["deliveries", "--failed", "--status", "dead"]]
)
def test_two_wishes_that_cannot_both_be_met(told: Fleet, arguments: list[str]) -> None:
    """Exit code 2, in words."""
    ran = run(told.environment, *arguments)

    assert ran.code == 2
    assert "not both" in ran.complaint


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes(shell: str) -> None:
    """What is printed is that shell's."""
    ran = run({}, "completion", shell)

    assert ran.code == 0
    assert "_SIEM_COMPLETE" in ran.out


def test_bash_gets_what_it_asks_for() -> None:
    """Commands and options, as the printed function asks for them."""
    asked = {"_SIEM_COMPLETE": "bash_complete", "COMP_WORDS": "siem integrations up", "COMP_CWORD": "2"}
    done = subprocess.run([_SIEM], env=os.environ | asked, capture_output=True, check=False)

    assert done.stdout.decode().split() == ["plain,update"]


def test_an_unknown_shell_is_named() -> None:
    """Left out, it is the shell of the one who asks; if that is none that we know, it is said."""
    assert run({"SHELL": "/bin/sh"}, "completion").code == 2
    assert run({"SHELL": "/usr/bin/zsh"}, "completion").code == 0
