"""Takes the steps of the migrations forward and back, one process at a time.

Both databases roll tables back as they do rows: a process that is killed in the middle leaves what was there
before. The caller holds the lock that lets one process at a time do this.

Alembic is imported where steps are taken: it is slow, and who only asks whether the tables suit needs none.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, text

from worker.ledger.audit import add_record, has_audit_table
from worker.ledger.driver_errors import is_lock_conflict
from worker.ledger.engine import reading, writing
from worker.ledger.migrations.revisions import (
    Revision,
    Revisions,
    Tables,
    note_taken,
    note_undone,
    own_steps,
    read_tables,
    readable_from,
    require_readable_tables,
)
from worker.model.audit import FLEET, Action, Actor, audit_record
from worker.model.errors import LedgerUnavailable, SchemaBehind, SchemaOutdated
from worker.model.log_events import TABLE_LOCKED

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext

log = logging.getLogger(__name__)


def climb(connection: Connection, steps: Revisions) -> list[Revision]:
    """Take every step that the database lacks; return them.

    Tables of a newer release are left as they are; raises SchemaOutdated if this code cannot work with them.
    """
    from alembic.operations import Operations  # noqa: PLC0415 - as the docstring of this module says
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415 - the same

    tables = read_tables(connection, steps)
    pending = steps_to_take(tables, steps)
    context = MigrationContext.configure(connection)
    for step in pending:
        with Operations.context(context):
            step.load().upgrade()
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
    from alembic.operations import Operations  # noqa: PLC0415 - as the docstring of this module says
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415 - the same

    undone = steps_to_undo(read_tables(connection, steps), steps, revision)
    context = MigrationContext.configure(connection)
    for step in undone:
        note_undone(connection, step)
        with Operations.context(context):
            step.load().downgrade()
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
    context: "MigrationContext", steps: Revisions, taken: Sequence[Revision]
) -> None:
    """Let `alembic_version` hold the oldest revision that can work with them: 0.1.0 reads only that."""
    context.stamp(steps.directory(), readable_from(taken))


#: Names the lock that PostgreSQL gives to one upgrade at a time; any number that is not in use.
_UPGRADE_LOCK = 0x5349_454D_0001


#: The longest wait for a table that another transaction holds, in milliseconds.
_TABLE_WAIT_MS = 3000


#: Between the tries to get hold of it, in seconds.
_PAUSES = (1.0, 2.0, 4.0, 8.0, 8.0, 8.0)


#: Alembic keeps the migration that runs in globals, so threads must take turns.
_upgrading = threading.Lock()


def tables_of(engine: Engine) -> Tables | None:
    """Return what the database says of its tables; None when it has none yet."""
    with reading(engine) as connection:
        return read_tables(connection, own_steps())


def require_readable_schema(engine: Engine) -> Tables:
    """Return what the database says of its tables if this release can work with them.

    They may be those of a newer release. Raises SchemaOutdated, with a hint.
    """
    return require_readable_tables(tables_of(engine), own_steps())


def upgrade_tables(engine: Engine, steps: Revisions | None = None, *, by: Actor = FLEET) -> list[Revision]:
    """Take the steps that the tables lack, all of them or none; return them.

    Any number of processes may call it at once. Tables of a newer release with which this one can work are
    left alone; raises SchemaOutdated for others.
    """
    return _change_tables(
        engine, lambda connection: climb(connection, steps or own_steps()), Action.LEDGER_UPGRADED, by
    )


def downgrade_tables(
    engine: Engine, revision: str, steps: Revisions | None = None, *, by: Actor = FLEET
) -> list[Revision]:
    """Undo the steps above a revision, all of them or none; return them, the last one first.

    What only these steps made room for is lost. Raises NotFoundError for a revision that is none,
    SchemaOutdated when only a newer release can do it.
    """
    return _change_tables(
        engine,
        lambda connection: descend(connection, steps or own_steps(), revision),
        Action.LEDGER_DOWNGRADED,
        by,
    )


def _record(connection: Connection, action: Action, by: Actor, taken: Sequence[Revision]) -> None:
    """Record the steps, unless none was taken, or the trail has gone with them."""
    if taken and has_audit_table(connection):
        steps = [f"{step.revision} {step.title}" for step in taken]
        details = {"steps": steps[-1] if len(steps) == 1 else f"{steps[0]} to {steps[-1]}"}
        add_record(connection, audit_record(action, by, details=details))


def _change_tables(
    engine: Engine, change: Callable[[Connection], list[Revision]], action: Action, by: Actor
) -> list[Revision]:
    """Change the tables in one transaction, one process at a time.

    On PostgreSQL who wants a table waits behind the change that waits for it: so a change waits for a few
    seconds only, lets the others go first, and tries again. So it does after a deadlock: who writes to
    several tables may take them in another order.
    """
    for pause in (*_PAUSES, None):
        try:
            with _upgrading, writing(engine) as connection:
                if engine.dialect.name == "postgresql":
                    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _UPGRADE_LOCK})
                    connection.execute(text(f"SET LOCAL lock_timeout = '{_TABLE_WAIT_MS}ms'"))
                taken = change(connection)
                _record(connection, action, by, taken)
                return taken
        except LedgerUnavailable as error:
            if pause is None or not is_lock_conflict(error):
                raise
            TABLE_LOCKED.log(log, retry_in=pause)
            time.sleep(pause)
    raise AssertionError("the last try returns or raises")
