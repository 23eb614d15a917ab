"""The demo accounts for every event that it publishes, and says so in its exit status."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from worker.demo import play
from worker.demo.cast import Role, cast
from worker.settings import Settings


def _demo(directory: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    """Run the demo; return its exit status, the account on its last line, and what it told people."""
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
    return done.returncode, json.loads(lines[-1]), done.stderr.decode()


@pytest.mark.slow
def test_published_and_accounted_for_are_equal_twice_on_the_same_data(tmp_path: Path) -> None:
    """On a bare directory, and again on what the first demo left, every event is delivered or dead.

    The receivers have seen what was delivered, but for datagrams, of which only none may be too many.
    """
    for _ in range(2):
        status, account, told = _demo(tmp_path, "--events", "1500")
        lines = {line["integration"].removeprefix("demo "): line for line in account["integrations"]}

        assert status == 0
        for step in ("Starting the embedded", "Preparing the ledger", "router", "Ready.", "Publishing 1500"):
            assert step in told
        assert account["published"] == 1500
        assert account["accounted_for"] is True
        assert {name: line["over"] for name, line in lines.items()} == {
            "splunk": "HEC",
            "archive": "HEC",
            "moody": "HEC",
            "qradar": "TCP",
            "arcsight": "UDP",
            "webhook": "HTTP",
        }
        for name, line in lines.items():
            assert line["delivered"] + line["dead"] == line["published"]
            assert line["delivered"] <= line["received"] <= line["published"] or name == "arcsight"
            assert line["p50_ms"] <= line["p99_ms"]
        assert 0 < lines["arcsight"]["received"] <= lines["arcsight"]["published"]
        assert lines["archive"]["delivered"] == 1500


@pytest.mark.slow
def test_what_no_receiver_confirms_is_not_accounted_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A receiver that cannot tell which events it has makes the demo fail, though the ledger is complete."""

    def counting_cast() -> list[Role]:
        return [replace(role, options=("--count-only",)) for role in cast() if role.name == "qradar"]

    monkeypatch.setattr(play, "cast", counting_cast)
    for name in ("SIEM_REDIS_URL", "SIEM_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    status = play.run_demo(Settings(data_dir=tmp_path), events=50, leave=True, as_json=True)
    said = capsys.readouterr()
    [line] = json.loads(said.out.splitlines()[-1])["integrations"]

    assert status == 1
    assert line["published"] == line["delivered"]
    assert "qradar: the receiver does not say what it has" in said.err
