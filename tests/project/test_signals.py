"""Tests that press Ctrl-C do not depend on how the tests themselves were started."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("name", ["INT", "HUP", "QUIT"])
def test_programs_of_the_tests_hear_signals_that_the_tests_ignore(name: str) -> None:
    """`nohup ./tests/run &` starts everything with these signals ignored, which programs inherit."""
    program = f"import signal; print(signal.getsignal(signal.SIG{name}) is signal.SIG_IGN)"
    started = f"import subprocess, sys, tests.conftest; subprocess.run([sys.executable, '-c', {program!r}])"
    ran = subprocess.run(
        ["/bin/bash", "-c", f'trap "" {name}; exec "$0" -c "$1"', sys.executable, started],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "False\n"
