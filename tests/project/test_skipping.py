"""Where nothing may be skipped, a skip is a failure, wherever it comes from."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TESTS = """
import pytest

@pytest.fixture
def absent():
    pytest.skip("in a fixture")

@pytest.mark.skip(reason="by a mark")
def test_marked(): ...

def test_with_fixture(absent): ...

def test_itself(): pytest.skip("in the test")

@pytest.mark.xfail(reason="known")
def test_known(): assert False
"""


@pytest.mark.parametrize(
    ("setting", "outcome"),
    [("", "4 skipped, 1 xfailed"), ("yes", "1 failed, 1 xfailed, 3 errors")],
    ids=["anywhere", "in CI"],
)
def test_a_skip_fails_where_nothing_may_be_skipped(tmp_path: Path, setting: str, outcome: str) -> None:
    """By a mark, in a fixture, in the test itself or of a whole module; an expected failure is none."""
    (tmp_path / "test_skips.py").write_text(TESTS)
    (tmp_path / "test_module.py").write_text("import pytest; pytest.importorskip('nothing.by.that.name')")

    assert outcome in _pytest(tmp_path, setting)


def _pytest(directory: Path, setting: str) -> str:
    """Run the tests in the directory by the rules of ours; return what pytest says."""
    rules = ["-p", "tests.conftest", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(directory)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--continue-on-collection-errors", *rules, str(directory)],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"SIEM_TESTS_SKIP_NOTHING": setting},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    return done.stdout + done.stderr
