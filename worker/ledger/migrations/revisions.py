"""The steps that this code knows, which of them a database has taken, and who can work with its tables.

Input: a connection. Output: the revision of its tables, and whether code of a certain revision reads and
writes them. `worker.ledger.migrations` explains how a step says so, and how a database keeps it.

Every process asks this when it starts, and nearly none takes a step: so what a step says of itself is read
from its text, and Alembic, which the steps need, is imported for those who take one.
"""

import ast
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, delete, inspect, select

from worker import __version__
from worker.ledger.schema import schema_revisions
from worker.model.errors import NotFoundError, SchemaBehind, SchemaOutdated

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

MIGRATIONS = Path(__file__).parent
#: Of the steps that do not say which release brought them.
_FIRST_RELEASE = "0.1.0"
#: Steps before this one say of themselves only in `alembic_version` that they were taken.
_FIRST_WITH_A_ROW = "0008"


@dataclass(frozen=True, slots=True)
class Revision:
    """One file of the migrations.

    `readable_from` is the oldest revision whose code works with the tables after it, `release` the one that
    brought it.
    """

    revision: str
    title: str
    release: str
    readable_from: str
    file: Path

    def load(self) -> ModuleType:
        """Import its file."""
        spec = spec_from_file_location(self.file.stem, self.file)
        if spec is None or spec.loader is None:
            raise ImportError(f"{self.file} is no module of Python")
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


@dataclass(frozen=True, slots=True)
class Tables:
    """What a database says of its tables: the last step taken, its release, and who can work with them.

    `readable_release` is the first release whose code can, where the database says it.
    """

    revision: str
    release: str | None
    readable_from: str
    readable_release: str | None


class Revisions:
    """The steps in their order, the first one first."""

    def __init__(self, folder: Path) -> None:
        """Read them from the folder of a ScriptDirectory of Alembic."""
        self._folder = folder
        files = (folder / "versions").glob("[!_]*.py")
        self.all = tuple(sorted(map(_step, files), key=lambda step: step.revision))

    def directory(self) -> "ScriptDirectory":
        """Return them as Alembic knows them."""
        from alembic.config import Config  # noqa: PLC0415 - as the docstring of this module says
        from alembic.script import ScriptDirectory  # noqa: PLC0415 - the same

        config = Config()
        config.set_main_option("script_location", str(self._folder).replace("%", "%%"))
        return ScriptDirectory.from_config(config)

    @property
    def head(self) -> str:
        """The revision of this code."""
        return self.all[-1].revision

    def get(self, revision: str) -> Revision:
        """Return a step. Raises NotFoundError."""
        for step in self.all:
            if step.revision == revision:
                return step
        known = f"{self.all[0].revision} to {self.head}"
        raise NotFoundError(
            f"there is no revision {revision} of the ledger's tables: this release has {known}"
        )

    def knows(self, revision: str) -> bool:
        """Whether there is such a step."""
        return any(step.revision == revision for step in self.all)

    def above(self, revision: str | None) -> list[Revision]:
        """Return the steps that follow a revision, the first one first; all if the database has no tables."""
        return [step for step in self.all if revision is None or step.revision > revision]

    def revision_of(self, release: str) -> str:
        """Return the revision of the code of a release. Raises NotFoundError for one that brought no step."""
        if release == __version__:
            return self.head
        found = [step.revision for step in self.all if step.release == release]
        if not found:
            releases = ", ".join(dict.fromkeys(step.release for step in self.all))
            raise NotFoundError(
                f"release {release} is none whose tables are known here: give one of {releases}"
            )
        return found[-1]

    def release_of(self, revision: str) -> str | None:
        """Return the release that brought a step, or None if this code does not know it."""
        return next((step.release for step in self.all if step.revision == revision), None)


@cache
def own_steps() -> Revisions:
    """Return the steps of this release."""
    return Revisions(MIGRATIONS)


def _step(file: Path) -> Revision:
    tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    said: dict[str, Any] = {
        target.id: one.value.value
        for one in tree.body
        if isinstance(one, ast.Assign) and isinstance(one.value, ast.Constant)
        for target in one.targets
        if isinstance(target, ast.Name)
    }
    revision = said["revision"]
    return Revision(
        revision,
        (ast.get_docstring(tree) or "").partition("\n")[0],
        said.get("release", _FIRST_RELEASE),
        said.get("readable_from", revision),
        file,
    )


def read_tables(connection: Connection, steps: Revisions) -> Tables | None:
    """Return what the database says of its tables; None when it has none yet."""
    if not inspect(connection).has_table(schema_revisions.name):
        from alembic.runtime.migration import MigrationContext  # noqa: PLC0415 - as the docstring of this module says

        revision = MigrationContext.configure(connection).get_current_revision()
        release = steps.release_of(revision or "")
        # Code of that time works with the tables of its own release alone.
        return Tables(revision, release, revision, release) if revision else None
    rows = connection.execute(select(schema_revisions).order_by(schema_revisions.c.revision)).all()
    readable_from = max(row.readable_from for row in rows)
    brought = next((row.release for row in rows if row.revision >= readable_from), None)
    return Tables(
        rows[-1].revision, rows[-1].release, readable_from, steps.release_of(readable_from) or brought
    )


def note_taken(connection: Connection, step: Revision) -> None:
    """Write down that the database has taken this step, with what older and newer code must know of it."""
    if step.revision >= _FIRST_WITH_A_ROW:
        row = {"revision": step.revision, "readable_from": step.readable_from, "release": step.release}
        connection.execute(
            schema_revisions.insert().values(row | {"applied_ms": time.time_ns() // 1_000_000})
        )


def note_undone(connection: Connection, step: Revision) -> None:
    """Take back what `note_taken` wrote; the first of these steps took its table with it."""
    if step.revision > _FIRST_WITH_A_ROW:
        connection.execute(delete(schema_revisions).where(schema_revisions.c.revision == step.revision))


def readable_from(taken: Sequence[Revision]) -> str:
    """Return the oldest revision whose code works with the tables after these steps."""
    return max(step.readable_from for step in taken)


def require_readable_tables(tables: Tables | None, steps: Revisions) -> Tables:
    """Return the tables if this code can work with them; else raise SchemaOutdated with a hint.

    SchemaBehind is the one that `siem db upgrade` fixes.
    """
    if tables is None:
        raise SchemaBehind("the ledger has no tables yet: run `siem db upgrade`")
    if tables.revision == steps.head:
        return tables
    if steps.knows(tables.revision):
        older = _named(tables.revision, tables.release)
        raise SchemaBehind(
            f"the ledger's tables are older than this release ({older}; it needs revision {steps.head}): "
            "run `siem db upgrade`"
        )
    if tables.readable_from > steps.head:
        raise SchemaOutdated(_too_new(tables))
    return tables


def words_of_tables(tables: Tables) -> str:
    """Return whose tables they are, of those that this release can work with."""
    if tables.revision == own_steps().head:
        return "its tables are those of this release"
    newer = _named(tables.revision, tables.release)
    return f"its tables are those of a newer release ({newer}), with which this one can work"


def _too_new(tables: Tables) -> str:
    """Report that the tables are those of a newer release with which this code cannot work, with a hint."""
    newer = _named(tables.revision, tables.release)
    first = f"release {tables.readable_release} or later" if tables.readable_release else "that release"
    back = f", or run `siem db downgrade --to-release {__version__}` there" if tables.release else ""
    return f"the ledger's tables are those of a newer release ({newer}): install {first}{back}"


def _named(revision: str, release: str | None) -> str:
    return f"release {release}, revision {revision}" if release else f"revision {revision}"
