"""The demo accounts for every event that it publishes, and says so in its exit status."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from worker.demo.play import Line


def _demo(directory: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """Run the demo; return its exit status and the account on its last line."""
    program = Path(sys.executable).parent / "siem"
    done = subprocess.run(
        [program, "up", "--demo", "--exit", "--json", *options],
        env={**os.environ, "SIEM_DATA_DIR": str(directory), "SIEM_REDIS_URL": "", "SIEM_DATABASE_URL": ""},
        capture_output=True,
        timeout=100,
        check=False,
    )
    lines = done.stdout.decode().splitlines()
    assert lines, done.stderr.decode()
    return done.returncode, json.loads(lines[-1])


def test_published_and_accounted_for_are_equal_twice_on_the_same_data(tmp_path: Path) -> None:
    """On a bare directory, and again on what the first demo left, every event is delivered or dead."""
    for _ in range(2):
        status, account = _demo(tmp_path, "--events", "1500")

        assert status == 0
        assert account["published"] == 1500
        assert account["accounted_for"] is True
        assert [line["integration"] for line in account["integrations"]] == [
            "demo splunk",
            "demo archive",
            "demo moody",
        ]
        for line in account["integrations"]:
            assert line["delivered"] + line["dead"] == line["published"]
            assert line["p50_ms"] <= line["p99_ms"]
        assert account["integrations"][1]["delivered"] == 1500


@pytest.mark.parametrize(("delivered", "dead", "missing"), [(10, 0, 0), (7, 3, 0), (7, 2, 1), (11, 0, -1)])
def test_an_account_that_does_not_add_up_is_seen(delivered: int, dead: int, missing: int) -> None:
    """One event too few, or one too many, is not accounted for."""
    line = Line("x", 10, delivered, 0, dead, 0, None, None)

    assert line.missing == missing
