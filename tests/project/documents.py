"""The project's documents, and what tests look for in them: headings, links, commands."""

import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path

TOP = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [
        TOP / "README.md",
        *TOP.glob(".github/*.md"),
        *(TOP / name / "README.md" for name in ("deploy", "tests", "worker")),
        *TOP.glob("deploy/runbooks.md"),
        *TOP.glob("deploy/guides/*.md"),
    ]
)

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[([^]]*)\]\(([^)\s]+)\)")
_CODE = re.compile(r"`([^`]+)`")


def blocks(document: Path, language: str) -> list[str]:
    """Return the fenced blocks in this language, in order."""
    found = _FENCE.finditer(document.read_text())
    return [textwrap.dedent(one[3]) for one in found if one[2] == language]


def prose(document: Path) -> str:
    """Return the text without its fenced blocks."""
    return _FENCE.sub("", document.read_text())


def links(document: Path) -> list[tuple[str, str]]:
    """Return words and target of each link and picture that leads into the repository."""
    found = ((one[1], one[2]) for one in _LINK.finditer(prose(document)))
    return [(words, target) for words, target in found if "://" not in target]


def anchors(document: Path) -> set[str]:
    """Return the anchors that its headings have, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(document), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def code(document: Path) -> list[str]:
    """Return what is written as code amid the text, each on one line."""
    return [" ".join(one.split()) for one in _CODE.findall(prose(document))]


def commands(document: Path) -> Iterator[list[str]]:
    """Yield the words of each command in its `sh` blocks: no comments, no `NAME=value` in front."""
    for block in blocks(document, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            if words := without_assignments(shlex.split(line, comments=True)):
                yield words


def without_assignments(words: list[str]) -> list[str]:
    """Leave out the settings that a command starts with."""
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    return words
