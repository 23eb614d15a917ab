"""The breaks that are tried, as they stand in the TOML files of this folder, one file for each area.

A mutant is a place in a file, what stands there, what is put in its place, what that would break in the
product, and the tests that must notice it. One that no one can notice says why in `explained`.
"""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).parents[2]
FOLDER = Path(__file__).parent


class StaleMutant(Exception):
    """What a mutant would replace does not stand in its file, or stands there more than once."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One break; `tests` are what pytest takes, `explained` says why no test can notice it."""

    name: str
    area: str
    file: str
    old: str
    new: str
    breaks: str
    tests: tuple[str, ...]
    explained: str = ""

    def applied(self, text: str) -> str:
        """Return the text of its file with the break in it. Raises StaleMutant."""
        found = text.count(self.old)
        if found != 1:
            where = f"stands {found} times in" if found else "no longer stands in"
            raise StaleMutant(f"{self.name}: its old text {where} {self.file}: write the mutant anew")
        return text.replace(self.old, self.new)


def mutants() -> list[Mutant]:
    """Return all of them, as they stand in the files."""
    return [mutant for path in sorted(FOLDER.glob("*.toml")) for mutant in _read(path)]


def _read(path: Path) -> Iterator[Mutant]:
    for name, fields in tomllib.loads(path.read_text()).items():
        yield Mutant(name=name, area=path.stem, **{**fields, "tests": tuple(fields["tests"])})
