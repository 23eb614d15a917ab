"""Takes steps of the migrations forward and back, in the transaction that the caller opened.

Both databases roll tables back as they do rows: a process that is killed in the middle leaves what was there
before. The caller holds the lock that lets one process at a time do this.
"""

from collections.abc import Sequence

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

from worker.ledger.migrations.revisions import (
    Revision,
    Revisions,
    Tables,
    note_taken,
    note_undone,
    read_tables,
    readable_from,
    require_readable_tables,
)
from worker.model.errors import SchemaBehind, SchemaOutdated


def climb(connection: Connection, steps: Revisions) -> list[Revision]:
    """Take every step that the database lacks; return them.

    Tables of a newer release are left as they are; raises SchemaOutdated if this code cannot work with them.
    """
    tables = read_tables(connection, steps)
    pending = steps_to_take(tables, steps)
    context = MigrationContext.configure(connection)
    for step in pending:
        with Operations.context(context):
            step.module.upgrade()
        note_taken(connection, step)
    if pending:
        _write_version_for_release_0_1_0(context, steps, steps.all)
    return pending


def steps_to_take(tables: Tables | None, steps: Revisions) -> list[Revision]:
    """Return the steps that a database lacks.

    Raises SchemaOutdated when its tables are those of a newer release with which this code cannot work.
    """
    try:
        require_readable_tables(tables, steps)
    except SchemaBehind:
        return steps.above(tables.revision if tables else None)
    return []


def descend(connection: Connection, steps: Revisions, revision: str) -> list[Revision]:
    """Undo every step above a revision, the last one first; return them.

    Raises NotFoundError for a revision that is none, SchemaOutdated when the database took steps that this
    code does not know.
    """
    undone = steps_to_undo(read_tables(connection, steps), steps, revision)
    context = MigrationContext.configure(connection)
    for step in undone:
        note_undone(connection, step)
        with Operations.context(context):
            step.module.downgrade()
    if undone:
        _write_version_for_release_0_1_0(
            context, steps, [step for step in steps.all if step.revision <= revision]
        )
    return undone


def steps_to_undo(tables: Tables | None, steps: Revisions, revision: str) -> list[Revision]:
    """Return the steps above a revision that were taken, the last one first. Raises as `descend`."""
    steps.get(revision)
    if tables is None:
        raise SchemaBehind("the ledger has no tables yet: there is nothing to undo")
    if not steps.knows(tables.revision):
        newer = f"release {tables.release}" if tables.release else f"that with revision {tables.revision}"
        raise SchemaOutdated(
            f"only {newer}, or a later one, can undo what it did to the ledger's tables (revision "
            f"{tables.revision}): run its `siem db downgrade`"
        )
    taken = [step for step in steps.all if revision < step.revision <= tables.revision]
    return taken[::-1]


def tables_after(steps: Revisions, revision: str) -> Tables:
    """Return what a database says of its tables once these steps are taken up to this revision."""
    floor = readable_from([step for step in steps.all if step.revision <= revision])
    return Tables(revision, steps.release_of(revision), floor, steps.release_of(floor))


def _write_version_for_release_0_1_0(
    context: MigrationContext, steps: Revisions, taken: Sequence[Revision]
) -> None:
    """Let `alembic_version` hold the oldest revision that can work with them: 0.1.0 reads only that."""
    context.stamp(steps.directory, readable_from(taken))
