"""The release before this one is had from the repository, or its absence has a reason."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.upgrades import releases
from tests.upgrades.releases import THIS, Release
from worker import __version__


@pytest.fixture(autouse=True)
def ask_again() -> Iterator[None]:
    """Let each test look for itself."""
    releases.why_not_here.cache_clear()
    yield
    releases.why_not_here.cache_clear()


@pytest.mark.slow
def test_its_programs_are_its_own(previous: Release) -> None:
    """Whatever shares the virtual environment: each runs its own code."""
    assert "--to-release" in THIS.siem({}, "db", "downgrade", "--help").stdout
    assert "No such command 'downgrade'" in previous.siem({}, "db", "downgrade").stderr
    assert not (previous.top / "worker" / "schema_guard.py").exists()
    assert __version__ > "0.1.0"


def test_a_clone_without_its_commit_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shallow one whose origin does not have it."""
    monkeypatch.setattr(releases, "COMMIT", "0" * 40)

    assert "is not in this clone and cannot be fetched" in (releases.why_not_here() or "")


def test_an_archive_of_the_sources_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It has no history at all."""
    monkeypatch.setattr(releases, "TOP", tmp_path)

    assert (releases.why_not_here() or "").startswith("not a git checkout")
