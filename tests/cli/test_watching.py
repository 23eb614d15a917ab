"""A status that renews itself, failures alone, and a shell that completes."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.running import call, create
from tests.fleet import Fleet, wait_until

pytestmark = pytest.mark.slow

_SIEM = Path(sys.executable).parent / "siem"


def test_a_watched_status_renews_itself_until_ctrl_c(settled: Fleet) -> None:
    """It goes home and writes over what stood there; it ends with 130."""
    ours, theirs = pty.openpty()
    watching = subprocess.Popen(
        [_SIEM, "status", "--watch"], env=settled.environment, stdout=theirs, stderr=theirs
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
    assert seen.count(b"Counted since") >= 2
    assert b"well" in seen


def test_failures_alone(settled: Fleet) -> None:
    """Those that are dead or to be tried again, of the last hour."""
    rows = call(settled.environment, "deliveries", "--failed", "--since", "1h", "--json").json["items"]

    assert sorted(row["event_id"] for row in rows) == ["ill-1", "ill-2"]
    assert {row["status"] for row in rows} == {"dead"}


@pytest.mark.parametrize(
    "arguments", [["status", "--watch", "--json"], ["deliveries", "--failed", "--status", "dead"]]
)
def test_two_wishes_that_cannot_both_be_met(settled: Fleet, arguments: list[str]) -> None:
    """Exit code 2, in words."""
    ran = call(settled.environment, *arguments)

    assert ran.code == 2
    assert "not both" in ran.complaint


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes(shell: str) -> None:
    """What is printed is that shell's."""
    ran = call({}, "completion", shell)

    assert ran.code == 0
    assert "_SIEM_COMPLETE" in ran.out


def test_bash_gets_what_it_asks_for(tmp_path: Path) -> None:
    """Commands and names of integrations, for an alias of a program that is not on the PATH."""
    environment = {"SIEM_DATA_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    call(environment, "db", "upgrade")
    for name in ("known", "two words"):
        assert create(environment, "syslog://192.0.2.1:514", name=name).code == 0
    script = f"""
        alias siem="'{_SIEM}'"
        eval "$(siem completion bash)"
        complete_words() {{ COMPREPLY=(); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _siem_completion siem; }}
        complete_words siem deliveries --integration k; echo "${{COMPREPLY[@]}}"
        complete_words siem doctor int_; echo "${{#COMPREPLY[@]}}"
    """
    bash = ["bash", "-O", "expand_aliases", "-c", script]
    done = subprocess.run(bash, env=environment, capture_output=True, check=False)

    assert done.stdout.decode().split("\n") == ["known", "1", ""], done.stderr
    asks = environment | {"_SIEM_COMPLETE": "bash_complete", "COMP_CWORD": "2"}
    for typed, completed in {"integrations up": "update", "health kn": "known"}.items():
        assert call(asks, COMP_WORDS=f"siem {typed}").out == f"plain,{completed}\n", typed
    asks["COMP_CWORD"] = "4"
    assert call(asks, COMP_WORDS="siem dead-letters replay --into k").out == "plain,known\n"


def test_an_unknown_shell_is_named() -> None:
    """Left out, it is the shell of the one who asks; if that is none that we know, it is said."""
    assert call({"SHELL": "/bin/sh"}, "completion").code == 2
    assert call({"SHELL": "/usr/bin/zsh"}, "completion").code == 0
