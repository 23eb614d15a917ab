"""The demo accounts for every event that it publishes, and says so in its exit status."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pytest
import requests

from worker.demo import runner
from worker.demo.receivers import Receiver, demo_receivers
from worker.ledger.api_keys import ApiKeyStore
from worker.ledger.engine import open_ledger
from worker.settings import Settings


def _demo(directory: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    """Run the demo; return its exit status, the account on its last line, and what it printed for people."""
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
        status, account, reported = _demo(tmp_path, "--events", "1500")
        lines = {line["integration"].removeprefix("demo "): line for line in account["integrations"]}

        assert status == 0
        for step in ("Starting the embedded", "Preparing the ledger", "router", "Ready.", "Publishing 1500"):
            assert step in reported
        assert account["published"] == 1500
        assert account["accounted_for"] is True
        assert {name: line["over"] for name, line in lines.items()} == {
            "splunk": "HEC",
            "archive": "HEC",
            "flaky": "HEC",
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
def test_it_ends_with_pages_to_look_at(tmp_path: Path) -> None:
    """The address and a key that can read, as long as the demo lasts; nothing lies among the own data."""
    program = Path(sys.executable).parent / "siem"
    command = [str(program), "up", "--demo", "--events", "50"]
    environment = {**os.environ, "SIEM_DATA_DIR": str(tmp_path), "SIEM_API_PORT": "0"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as demo:
        assert demo.stdout is not None
        try:
            reported = _until("dead-letters list", demo.stdout)
            site = str(re.search(r"Pages: +(http://127\.0\.0\.1:\d+)\n", reported)[1])  # type: ignore[index]  # None fails
            key = {"Authorization": f"Bearer {re.search('siem_[0-9a-f]+_[0-9a-f]+', reported)[0]}"}  # type: ignore[index]  # None fails
            integrations = f"{site}/api/v1/integrations/siem"
            listed = requests.get(integrations, headers=key, timeout=90)
            refused = requests.post(integrations, headers=key, json={}, timeout=90)
            left = (tmp_path / "demo" / "api.url").read_text()
        finally:
            demo.send_signal(signal.SIGINT)
        demo.wait(120)

    assert (listed.status_code, refused.status_code) == (200, 403)
    assert {one["name"] for one in listed.json()["items"]} == {
        f"demo {role.name}" for role in demo_receivers()
    }
    assert left == f"{site}\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["demo"]
    keys = ApiKeyStore(open_ledger(Settings(data_dir=tmp_path / "demo").ledger_address())).list()
    assert [(one.name, one.revoked_ms is not None) for one in keys] == [("demo", True)]


def _until(words: str, lines: IO[bytes]) -> str:
    """Read lines up to the one that has these words."""
    reported = ""
    while words not in reported:
        line = lines.readline().decode()
        assert line, reported
        reported += line
    return reported


@pytest.mark.slow
def test_what_no_receiver_confirms_is_not_accounted_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A receiver that cannot tell which events it has makes the demo fail, though the ledger is complete."""

    def counting_receivers() -> list[Receiver]:
        return [
            replace(role, options=("--count-only",)) for role in demo_receivers() if role.name == "qradar"
        ]

    monkeypatch.setattr(runner, "demo_receivers", counting_receivers)
    for name in ("SIEM_REDIS_URL", "SIEM_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    status = runner.run_demo(Settings(data_dir=tmp_path), events=50, leave=True, as_json=True)
    said = capsys.readouterr()
    [line] = json.loads(said.out.splitlines()[-1])["integrations"]

    assert status == 1
    assert line["published"] == line["delivered"]
    assert "qradar: the receiver does not say what it has" in said.err
