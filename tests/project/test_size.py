"""The product stays small enough to be read: what grows beyond these figures has to say why, here."""

import ast
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent.parent

#: Modules and lines of `worker/`, without steps of migrations, which are never rewritten; and the share of
#: imports. They are what is there, and a little room: take them down when code goes. Above 338 modules and
#: 53 200 lines are preflight, probes, Flower, the audit trail, metrics of objectives, and cells.
MOST_MODULES = 428
MOST_LINES = 67_400
MOST_IMPORTS = 0.086


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    """Give the text of each module by its path."""
    listing = ["git", "ls-files", "worker"]
    try:
        found = subprocess.run(listing, cwd=TOP, capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: it is not known which files belong to it")
    named = [name for name in found.split() if name.endswith(".py") and "/versions/" not in name]
    return {name: (TOP / name).read_text() for name in named}


def test_there_are_not_too_many_modules(sources: dict[str, str]) -> None:
    """A module is a subject: fold a small one into its only user."""
    assert len(sources) <= MOST_MODULES


def test_there_are_not_too_many_lines(sources: dict[str, str]) -> None:
    """Say things once."""
    assert sum(text.count("\n") for text in sources.values()) <= MOST_LINES


def test_modules_do_more_than_import(sources: dict[str, str]) -> None:
    """The more modules one thing is spread over, the more of each are imports."""
    imports = sum(
        (node.end_lineno or node.lineno) - node.lineno + 1
        for text in sources.values()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
    )
    lines = sum(text.count("\n") for text in sources.values())

    assert imports / lines <= MOST_IMPORTS
