"""What a step of the migrations does to the tables, read from the step itself, without a database.

Input: steps. Output: each change in words, whether older code can go on beside it, what waits for it,
and what is lost by it. `worker.ledger.migrations` has the rules.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from io import StringIO
from typing import Any

from alembic.operations import MigrateOperation, Operations, ops
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Engine, text

from worker.ledger.engine import reading
from worker.ledger.migrations.revisions import Revision
from worker.ledger.schema import schema_revisions

#: What no older process can miss: it is new, and holds nothing itself.
_MAKES = re.compile(r"\s*CREATE (VIEW|FUNCTION) (\w+)").match


class Wait(StrEnum):
    """What else uses the table waits while a change is made."""

    #: It is a new table, or nothing waits.
    NOTHING = "nothing"
    #: Readers and writers, for a moment.
    MOMENT = "moment"
    #: Writers (and on SQLite so do those of all tables), for as long as it takes to read every row.
    WRITERS = "writers"
    #: Readers and writers, for as long as it takes to read every row, or to write it again.
    ALL = "all"


@dataclass(frozen=True, slots=True)
class TableChange:
    """One change of one table; `lost` names what goes with it: a column, or `*` for the table."""

    words: str
    table: str
    additive: bool
    wait: Wait = Wait.NOTHING
    lost: str | None = None


def changes_of(steps: Iterable[Revision], dialect: str, *, undone: bool = False) -> list[TableChange]:
    """Return what the steps change, or what undoing them changes, in this order."""
    changes = [change for step in steps for change in _changes_of_one(step, dialect, undone)]
    return _in_one_transaction(changes) if dialect == "postgresql" else changes


def statements_of(steps: Iterable[Revision], dialect: str, *, undone: bool = False) -> list[str]:
    """Return the SQL of the steps, or of undoing them."""
    written = "".join(_dry_run(step, dialect, undone)[1] for step in steps)
    return [one.strip() for one in written.split(";\n") if one.strip()]


def _dry_run(step: Revision, dialect: str, undone: bool) -> tuple[list[MigrateOperation], str]:  # noqa: FBT001 - passed on
    """Return the operations of a step, and their SQL."""
    written = StringIO()
    options = {"as_sql": True, "output_buffer": written, "literal_binds": True}
    seen: list[MigrateOperation] = []
    with Operations.context(MigrationContext.configure(dialect_name=dialect, opts=options)) as operations:
        carry_out = operations.invoke

        def note(operation: MigrateOperation) -> Any:
            seen.append(operation)
            return carry_out(operation)

        # A subclass would not do: `alembic.op` stands for an instance of Operations itself.
        vars(operations)["invoke"] = note
        module = step.load()
        module.downgrade() if undone else module.upgrade()
    return seen, written.getvalue()


def _changes_of_one(step: Revision, dialect: str, undone: bool) -> list[TableChange]:  # noqa: FBT001 - passed on
    changes = _judged(_dry_run(step, dialect, undone)[0], dialect)
    kept: Collection[str] = getattr(step.load(), "kept", ()) if undone else ()
    return [replace(one, lost=None) if one.table in kept else one for one in changes]


def _judged(seen: Sequence[MigrateOperation], dialect: str) -> list[TableChange]:
    made: set[str] = set()
    found = []
    for one in seen:
        found.append(_judge(one, made, dialect))
        if isinstance(one, ops.CreateTableOp):
            made.add(one.table_name)
    return found


def _in_one_transaction(changes: Sequence[TableChange]) -> list[TableChange]:
    """Return the changes with their waits where PostgreSQL makes all of them in one transaction.

    It keeps each lock until the end. A column is added in a moment, but under a lock that readers wait for
    (ACCESS EXCLUSIVE), and so they wait for an index that is made on the table behind it.
    """
    locked: set[str] = set()
    found = []
    for change in changes:
        is_read = change.wait is Wait.WRITERS and change.table in locked
        found.append(replace(change, wait=Wait.ALL) if is_read else change)
        if change.wait in {Wait.MOMENT, Wait.ALL}:
            locked.add(change.table)
    return found


def _judge(  # noqa: PLR0911 - a line for each kind of operation
    one: MigrateOperation, made: set[str], dialect: str
) -> TableChange:
    """Return what one operation does, behind others of its step that made these tables."""
    match one:
        case ops.CreateTableOp():
            return TableChange(f"makes the table {one.table_name}", one.table_name, additive=True)
        case ops.DropTableOp():
            return TableChange(
                f"drops the table {one.table_name}",
                one.table_name,
                additive=False,
                wait=Wait.MOMENT,
                lost="*",
            )
        case ops.AddColumnOp():
            return _added(one, made)
        case ops.DropColumnOp():
            # SQLite writes the table again without it; PostgreSQL only forgets it.
            wait = Wait.ALL if dialect == "sqlite" else Wait.MOMENT
            words = f"drops the column {one.table_name}.{one.column_name}"
            return TableChange(words, one.table_name, additive=False, wait=wait, lost=one.column_name)
        case ops.CreateIndexOp():
            return _indexed(one, made)
        case ops.DropIndexOp():
            # Older code may name its columns in ON CONFLICT, or need it to be quick.
            return TableChange(
                f"drops the index {one.index_name}", one.table_name or "", additive=False, wait=Wait.MOMENT
            )
        case ops.BulkInsertOp():
            name = one.table.name
            return TableChange(f"writes rows into {name}", name, additive=name in made)
        case ops.ExecuteSQLOp() if (makes := _MAKES(str(one.sqltext))) is not None:
            kind, name = makes.groups()
            return TableChange(f"makes the {kind.lower()} {name}", name, additive=True)
        case _:
            table = getattr(one, "table_name", "")
            what = f"changes {table}" if table else "runs SQL of its own"
            return TableChange(what, table, additive=False, wait=Wait.ALL)


def _added(one: ops.AddColumnOp, made: set[str]) -> TableChange:
    column = one.column
    additive = (bool(column.nullable) or column.server_default is not None) and not (
        column.unique or column.primary_key or column.foreign_keys
    )
    wait = Wait.NOTHING if one.table_name in made else Wait.MOMENT
    return TableChange(
        f"adds the column {one.table_name}.{column.name}", one.table_name, additive=additive, wait=wait
    )


def _indexed(one: ops.CreateIndexOp, made: set[str]) -> TableChange:
    fresh = one.table_name in made
    wait = Wait.NOTHING if fresh else Wait.WRITERS
    return TableChange(
        f"makes the index {one.index_name}", one.table_name, additive=fresh or not one.unique, wait=wait
    )


#: Measured on both databases with a million deliveries: 0.8 to 2.1 s for an index, 2.1 s to write them again.
SECONDS_A_ROW = 2e-6


@dataclass(frozen=True, slots=True)
class Lost:
    """What goes with a table or a column, and how many values that is."""

    words: str
    values: int


def seconds_of(engine: Engine, changes: Sequence[TableChange]) -> list[float]:
    """Return for each change how long others wait for it, roughly, in seconds. Raises LedgerUnavailable."""
    with reading(engine) as connection:
        return [
            _rows_about(connection, change.table) * SECONDS_A_ROW
            if change.wait in {Wait.WRITERS, Wait.ALL}
            else 0.0
            for change in changes
        ]


def lost_by(engine: Engine, changes: Sequence[TableChange]) -> list[Lost]:
    """Return what these changes lose, where it holds anything. Raises LedgerUnavailable, SchemaOutdated."""
    with reading(engine) as connection:
        counted = [
            Lost(change.words, _values(connection, change.table, change.lost))
            for change in changes
            # What that table says of the steps that are undone is not needed.
            if change.lost and change.table != schema_revisions.name
        ]
    return [one for one in counted if one.values]


def _values(connection: Connection, table: str, lost: str) -> int:
    """Count the rows of a table, or those with a value in this column."""
    return int(connection.execute(text(f"SELECT count({lost}) FROM {table}")).scalar_one())  # noqa: S608 - names from the migrations


def _rows_about(connection: Connection, table: str) -> int:
    """Return how many rows a table has, roughly and at once; 0 if there is none of that name."""
    if connection.dialect.name == "postgresql":
        asked = text("SELECT reltuples FROM pg_class WHERE oid = to_regclass(:name)")
        # -1 before the server has looked for the first time.
        return max(0, int(connection.execute(asked, {"name": table}).scalar() or 0))
    known = text("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = :name")
    if connection.execute(known, {"name": table}).first() is None:
        return 0
    return int(connection.execute(text(f"SELECT max(rowid) FROM {table}")).scalar() or 0)  # noqa: S608 - the same
