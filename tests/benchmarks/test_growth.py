"""Each number of processes is a run in which everything arrives, and shows what each role has used."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.growth import arguments, measure
from tests.benchmarks.measuring import tree
from tests.fleet import wait_until


@pytest.mark.slow
def test_two_of_each_deliver_what_waited_for_six_integrations() -> None:
    """Of two tenants, one has two integrations: its events become two deliveries each."""
    given = arguments(["--events", "200", "--integrations", "6", "--waiting"])

    figures = measure(given, 2)

    assert figures["deliveries"] == 100 * 4 + 100 * 2
    assert set(figures["peak_mb"]) == {"router", "recorder", "worker"}
    assert all(value > 0 for value in figures["peak_mb"].values())
    assert figures["per_second"] > 0


@pytest.mark.slow
def test_sigterm_leaves_nothing_running() -> None:
    """What ends it from outside, as `timeout` does, ends all that it has started."""
    run = [sys.executable, "-m", "tests.benchmarks.growth", "--events", "10000000"]
    with subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as growth:
        try:
            roles = ("receiver", "redis", "router", "recorder", "worker")
            wait_until(lambda: len(tree(growth.pid)) > len(roles), "all run")
            started = tree(growth.pid)
            growth.send_signal(signal.SIGTERM)
            _, error = growth.communicate(timeout=60)
        finally:
            growth.kill()

    assert b"SIGTERM" in error
    wait_until(lambda: not [pid for pid in started if Path(f"/proc/{pid}").exists()], "all have ended")
