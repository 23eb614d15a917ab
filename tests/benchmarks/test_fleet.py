"""The benchmark itself: it measures all that it names, beside another commit, and leaves nothing running."""

import json
import sys
from pathlib import Path

import pytest

from tests.benchmarks import ledger_filling, ledger_runs
from tests.benchmarks.fleet import OURS, main


@pytest.mark.slow
@pytest.mark.timeout(700)
def test_a_case_beside_another_commit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both deliver everything, and the table has their ratio; HEAD itself is that other commit here."""
    file = tmp_path / "figures.json"
    words = f"--case hec --runs 1 --events 1000 --against HEAD --json {file}"

    with pytest.raises(SystemExit) as ended:
        main(words.split())

    assert ended.value.code == 0
    systems = json.loads(file.read_text())["cases"]["hec"]["systems"]
    shares = {name: figures["received_share"]["median"] for name, figures in systems.items()}
    assert shares == {OURS: 1, "HEAD": 1}
    assert f"| {OURS} / HEAD |" in capsys.readouterr().out


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def test_a_ledger_is_filled_and_pruned(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recorder's own function writes what is measured, and half a month of it is pruned."""
    for module in (ledger_filling, ledger_runs):
        monkeypatch.setattr(module, "TRANSACTION", 2)

    figures = ledger_runs.measure(database, 2000, 2000)

    assert all(figures[name] > 0 for name in ("cpu_us", "bytes_a_row", "per_second", "pruned_per_second"))


def test_a_run_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands in the JSON and in the exit status: a table without it would look complete."""
    file = tmp_path / "figures.json"
    monkeypatch.setattr(sys, "executable", "false")  # a program that fails, in place of Python

    with pytest.raises(SystemExit) as ended:
        main(f"--case waiting --runs 1 --json {file}".split())

    assert "waiting, ours" in str(ended.value.code)
    assert json.loads(file.read_text())["failures"]
