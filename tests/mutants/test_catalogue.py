"""The catalogue of mutants is in order: each applies to the code as it stands, and names its tests."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants import running
from tests.mutants.catalogue import TOP, Mutant, StaleMutant, mutants

#: What a mutation run must cover.
AREAS = {"events", "scripts", "settlement", "verdicts", "guard", "tenancy", "recording", "batches"}


def test_every_area_has_mutants() -> None:
    """Those of the way of an event, and of who may see and reach what."""
    assert {mutant.area for mutant in mutants()} == AREAS


def test_each_mutant_applies() -> None:
    """One whose text has gone would pass for killed, or for nothing."""
    for mutant in mutants():
        assert mutant.applied((TOP / mutant.file).read_text()), mutant.name
        assert mutant.old != mutant.new, mutant.name
        assert mutant.breaks, mutant.name
        for test in mutant.tests:
            path, _, name = test.partition("::")
            assert (TOP / path).is_file(), (mutant.name, test)
            assert not name or f"def {name}(" in (TOP / path).read_text(), (mutant.name, test)


def _mutant(**changes: str) -> Mutant:
    fields = {"name": "one", "area": "guard", "file": "worker/x.py", "old": "a == b", "new": "a != b"}
    return Mutant(**{**fields, **changes}, breaks="nothing", tests=())


@pytest.mark.parametrize("text", ["a = b", "a == b or a == b"])
def test_a_mutant_that_does_not_apply_is_named(text: str) -> None:
    """Neither is it passed over, nor applied in two places."""
    with pytest.raises(StaleMutant, match=r"^one: its old text .* worker/x\.py: write the mutant anew$"):
        _mutant().applied(text)


def test_a_run_with_a_stale_mutant_fails_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is tried, and with its name."""
    stale = _mutant(file="worker/pipeline/delivery.py")
    monkeypatch.setattr(running, "mutants", lambda: [stale])
    monkeypatch.setattr(sys, "argv", ["run"])
    with pytest.raises(SystemExit) as ended:
        running.main()

    assert ended.value.code == 2
    assert capsys.readouterr().out.startswith(
        "STALE  one: its old text no longer stands in worker/pipeline/delivery.py"
    )


@pytest.mark.slow
def test_killed_and_surviving_mutants_differ(tmp_path: Path) -> None:
    """A run of two: one that a test notices, and one that none can; the second fails it."""
    program = (
        "import sys; from pathlib import Path; from tests.mutants import catalogue, running\n"
        "catalogue.FOLDER = Path(sys.argv.pop()); running.main()"
    )
    test = "tests/model/test_untrusted_text.py"
    made = [
        f"""[{name}]
file = "worker/model/untrusted_text.py"
old = '''MARK = "…"'''
new = '''MARK = {new}'''
breaks = "the mark"
tests = ["{test}"]
"""
        for name, new in (("seen", '"..."'), ("unseen", '"…"  # the same'))
    ]
    (tmp_path / "guard.toml").write_text("\n".join(made))
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=TOP, capture_output=True, text=True, check=False
    )

    assert done.returncode == 1, done.stdout + done.stderr
    seen, unseen, *_ = done.stdout.splitlines()
    assert seen.startswith("killed")
    assert f"{test}::" in seen
    assert unseen.startswith("SURVIVED")
