"""The rules of the house that no tool knows, held for every file that belongs to the project."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent.parent

ROOMS = {"pyproject.toml", "README.md", "Procfile", "LICENSE", "worker", "tests", "deploy"}
LONGEST_FILE = 300

# Spelled with a bracket in each word, or this file would break the rules that it holds.
_UNDONE = re.compile(r"\b(TO[D]O|FIX[M]E|XX[X])\b")
_REGISTRIES = re.compile(r"py[p]i\.org|python[h]osted\.org|npm[j]s\.org")
_MACHINES = re.compile(r"(?<![\w./-])/(wor[k]|roo[t]|hom[e]/\w+)/")
_WAIVER = re.compile(r"#\s*(no[q]a|type:\s*ig[n]ore|pragma: no co[v]er)")
_WAIVER_WITH_REASON = re.compile(
    r"# no[q]a: [A-Z]+\d+(, [A-Z]+\d+)* - \S"
    r"|# type: ig[n]ore\[[a-z, -]+\](?=  # \S)"
    r"|# pragma: no co[v]er - \S"
)


@pytest.fixture(scope="module")
def files() -> list[Path]:
    """Name every file of the project: what is committed, and what is about to be."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        found = subprocess.run(listing, cwd=TOP, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: it is not known which files belong to it")
    return [path for name in found.decode().split("\0") if name and (path := TOP / name).is_file()]


def test_nothing_is_left_undone(files: list[Path]) -> None:
    """No one leaves a note to do it later."""
    assert list(_lines(files, _UNDONE)) == []


def test_no_place_of_one_machine_is_named(files: list[Path]) -> None:
    """Registries and home directories are a matter of each machine's own settings."""
    assert list(_lines(files, _REGISTRIES)) == []
    assert list(_lines(files, _MACHINES)) == []


def test_files_are_short(files: list[Path]) -> None:
    """A file of the product is read in one sitting."""
    product = [path for path in files if path.is_relative_to(TOP / "worker")]
    lengths = {path.relative_to(TOP): len(path.read_bytes().splitlines()) for path in product}

    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


def test_what_is_imported_is_declared(files: list[Path]) -> None:
    """A package that only comes along with another one may be missing, or another one, tomorrow."""
    product = [path for path in files if path.is_relative_to(TOP / "worker") and path.suffix == ".py"]
    foreign = set().union(*map(_packages_in, product)) - sys.stdlib_module_names - {"worker"}
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    declared = {_canonical(re.split(r"[^\w.-]", one)[0]) for one in project["dependencies"]}
    bearers = packages_distributions()

    assert {one for one in foreign if declared.isdisjoint(map(_canonical, bearers[one]))} == set()


def test_waivers_have_a_reason(files: list[Path]) -> None:
    """Where a rule is waived, the line says why."""
    python = [path for path in files if path.suffix == ".py"]
    waived = list(_lines(python, _WAIVER))

    assert [line for line in waived if not _has_reasons(line)] == []


def test_the_top_level_is_tidy(files: list[Path]) -> None:
    """The first page that a visitor sees has nothing on it but the rooms of the house."""
    top_level = {path.relative_to(TOP).parts[0] for path in files}

    assert {name for name in top_level if not name.startswith(".")} - ROOMS == set()


@pytest.mark.parametrize(
    ("line", "is_fine"),
    [
        ("x = 1  # no-qa: S101", False),
        ("x = 1  # no-qa: S101 - why", True),
        ("x = 1  # no-qa", False),
        ("x = 1  # type: ig-nore[arg-type]", False),
        ("x = 1  # type: ig-nore[arg-type]  # why", True),
        ("x = 1  # type: ig-nore[arg-type]  # no-qa: S101 - why", True),
        ("x = 1", True),
    ],
)
def test_waivers_are_recognised(line: str, *, is_fine: bool) -> None:
    """A waiver without a reason differs from one with a reason."""
    assert _has_reasons(line.replace("-qa", "qa").replace("g-n", "gn")) == is_fine


def _packages_in(path: Path) -> Iterator[str]:
    """Name the packages that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (one.name.partition(".")[0] for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def _canonical(name: str) -> str:
    """Return the name of a distribution as the packaging specifications compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _lines(files: list[Path], pattern: re.Pattern[str]) -> Iterator[str]:
    """Find the lines with a match, as `file:number: line`."""
    for path in files:
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue  # not for people to read
        for number, line in enumerate(text.splitlines(), 1):
            if pattern.search(line):
                yield f"{path.relative_to(TOP)}:{number}: {line.strip()}"


def _has_reasons(line: str) -> bool:
    return len(_WAIVER.findall(line)) == len(_WAIVER_WITH_REASON.findall(line))
