"""One name has one meaning, and words are those of the field.

These words were the private dialect of this code. Redis keys, hash fields and columns that earlier releases
share keep their names: they are text in quotes or backquotes, which is left out here.
"""

import ast
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parent.parent.parent

#: Names of classes, functions, parameters and attributes that are not used any more.
_NAMES = re.compile(
    r"^(Courier|Consignment|Arrival|HandOver|Ruling|Findings?|Patience|Turn|SignOfLife|VitalSigns|Vitals|Census|Fates"
    r"|Announcements|Warden|Possession|Crew|Screen|Examination|Trial|Questions|Way|Visitor|Looking|Changing|Posted"
    r"|Temper|_Desk|Dauntless\w*|Impatient\w*|Patient[A-Z]\w*|\w*Knobs"
    r"|couriers?|consignments?|arrivals?|handover|rulings?|findings?|overdraw|ask_anyway|execute_anyway"
    r"|misgivings?|goodbyes?|deaths_of|fates|census|desk|crew|warden|remedy|switched_off|SWITCHED_OFF|wellbeing"
    r"|judgement|surroundings|temper|moody|anew|bury|persevere\w*|hush_\w+)$"
    r"|(^|_)(REMEDY|(UN)?TOLD|nobody|somebody|whoever|anybody|everybody|stranger|(un)?told|mended|in_vain)(_|$)"
)
#: Words of sentences, in code and documents.
_WORDS = re.compile(
    r"\b(couriers?|consignments?|rulings?|misgivings?|goodbyes?|hush\w*|persever\w+|overdraft|dauntless|impatien\w+"
    r"|wellbeing|moody|remed(y|ies)|nobody|somebody|whoever|whomever|anybody|everybody|anew|trifles?|lest"
    r"|of late|in vain|fare[sd]?|well again|signs? of life|takes no notice|unforeseen|going on in"
    r"|bur(y|ies|ied)|mends?|mended|switch(es|ed)? (it |them )?(on|off))\b"
    r"|\b(is|are) (not )?well\b(?! \w)|There is no such thing|Comes? in:|Goes? out:",
    re.IGNORECASE,
)
#: What is not ours to choose: keys and fields that earlier releases share, and what customers were promised.
_QUOTED = re.compile(r"siem:[\w:<>-]+|`[^`\n]*`|nobody decided in time")
_LEFT_OUT = ("migrations/versions/", ".min.js", "CHANGELOG.md")


@pytest.fixture(scope="module")
def files() -> list[Path]:
    """Name the files of the product, and its documents."""
    listing = ["git", "ls-files", "worker", "README.md", "*/README.md", ".github/*.md"]
    try:
        found = subprocess.run(listing, cwd=TOP, capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: it is not known which files belong to it")
    texts = {".py", ".lua", ".html", ".js", ".css", ".md"}
    named = [name for name in found.split() if not any(part in name for part in _LEFT_OUT)]
    return [TOP / name for name in named if Path(name).suffix in texts]


def test_sentences_use_the_words_of_the_field(files: list[Path]) -> None:
    """A word of the old dialect is named with its place."""
    assert list(_found_words(files)) == []


def test_names_are_those_of_the_field(files: list[Path]) -> None:
    """So are names that the code defines."""
    python = [path for path in files if path.suffix == ".py"]
    found = [f"{place}: {name}" for path in python for name, place in _defined(path) if _NAMES.search(name)]

    assert found == []


def test_a_public_name_is_defined_once(files: list[Path]) -> None:
    """A reader who searches for a class or a function finds one; commands and routes are left out."""
    places: defaultdict[str, list[str]] = defaultdict(list)
    for path in files:
        if path.suffix == ".py":
            for node in ast.parse(path.read_text()).body:
                if _is_public(node):
                    places[node.name].append(str(path.relative_to(TOP)))  # type: ignore[attr-defined]  # see _is_public

    assert {name: found for name, found in places.items() if len(found) > 1} == {}


@pytest.mark.parametrize(
    "words", ["Nobody knows.", "it is well again", "switched it off", "Comes in: bytes."]
)
def test_the_words_are_found(words: str) -> None:
    """The test can fail."""
    assert _WORDS.search(words)


def _found_words(files: list[Path]) -> Iterator[str]:
    for path in files:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if found := _WORDS.search(_QUOTED.sub("", line)):
                yield f"{path.relative_to(TOP)}:{number}: {found[0]}"


def _defined(path: Path) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        name = None
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = node.name
        elif isinstance(node, ast.arg):
            name = node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name = node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            name = node.attr
        if name is not None:
            yield name, f"{path.relative_to(TOP)}:{node.lineno}"  # type: ignore[attr-defined]  # all of these have one


def _is_public(node: ast.stmt) -> bool:
    if isinstance(node, ast.ClassDef):
        return not node.name.startswith("_")
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return not node.name.startswith("_") and not node.decorator_list and node.name != "main"
    return False
