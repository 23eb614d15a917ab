"""How `siem db status`, `upgrade` and `downgrade` show the ledger's tables, as text and as JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from worker import __version__
from worker.background.schema_compatibility import LedgerUser
from worker.cli.output import count_text, print_json, print_table
from worker.ledger.engine import Ledger
from worker.ledger.migrations.changes import Lost, TableChange, Wait, changes_of, seconds_of, statements_of
from worker.ledger.migrations.revisions import Revision, Tables, own_steps

_WAITS = {
    Wait.NOTHING: "nothing waits",
    Wait.MOMENT: "{table} waits for a moment",
    Wait.WRITERS: "writers of {table} wait",
    Wait.ALL: "readers and writers of {table} wait",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps to take, or to undo; for each change how many seconds others wait, roughly."""

    steps: Sequence[Revision]
    changes: Sequence[TableChange]
    seconds: Sequence[float]
    statements: Sequence[str]

    @classmethod
    def of(cls, engine: Ledger, steps: Sequence[Revision], *, undone: bool = False) -> "Plan":
        """Look up what the steps do to this database."""
        dialect = engine.dialect.name
        changes = changes_of(steps, dialect, undone=undone)
        seconds = seconds_of(engine, changes) if changes else []
        return cls(steps, changes, seconds, statements_of(steps, dialect, undone=undone))

    def document(self) -> dict[str, Any]:
        """Return it for --json."""
        return {
            "steps": [
                {"revision": one.revision, "title": one.title, "release": one.release} for one in self.steps
            ],
            "changes": [
                {
                    "what": change.words,
                    "table": change.table,
                    "additive": change.additive,
                    "waits": change.wait.value,
                    "seconds": round(seconds, 1),
                }
                for change, seconds in zip(self.changes, self.seconds, strict=True)
            ],
            "sql": list(self.statements),
        }

    def print(self) -> None:
        """Print it."""
        for change, seconds in zip(self.changes, self.seconds, strict=True):
            waits = _WAITS[change.wait].format(table=change.table)
            long = f", about {seconds:.0f} s" if seconds >= 1 else ""
            click.echo(f"  {change.words} ({waits}{long})")


def print_status(tables: Tables | None, reason: str | None, plan: Plan) -> None:
    """Print whose the tables are, and what is pending."""
    click.echo(f"this release:  {__version__}, revision {own_steps().head}")
    if tables is None:
        click.echo("the database:  no tables yet")
    else:
        click.echo(f"the database:  revision {tables.revision}, of release {tables.release or 'unknown'}")
        click.echo(f"works with:    {_who_can(tables)}")
    click.echo(f"this release {'can work with these tables' if reason is None else f'cannot: {reason}'}")
    for step in plan.steps:
        click.echo(f"pending:       {step.revision}, {step.title}")
    plan.print()


def _who_can(tables: Tables) -> str:
    only = tables.readable_from == tables.revision
    which = f"code of revision {tables.readable_from}" + ("" if only else f" to {tables.revision}")
    return f"{which} (from release {tables.readable_release} on)" if tables.readable_release else which


def print_users(users: list[LedgerUser] | None, silence: str | None, tables: Tables | None) -> None:
    """Print who runs, and whether each can work with the tables."""
    if users is None:
        click.echo(f"who runs is not known: {silence}")
        return
    print_table(
        ["role", "process", "release", "revision", "can work"],
        [
            [one.role, one.name, one.release, one.revision or "uses no tables", _yes(one, tables)]
            for one in users
        ],
        empty="No process runs.",
    )


def _yes(one: LedgerUser, tables: Tables | None) -> str:
    return "yes" if one.revision is None or (tables and one.works_with(tables)) else "NO"


def print_plan(plan: Plan, lost: Sequence[Lost] = (), *, as_json: bool) -> None:
    """Print what would be changed and lost, and the SQL."""
    if as_json:
        print_json(plan.document() | {"lost": [{"what": one.words, "values": one.values} for one in lost]})
        return
    if not plan.steps:
        click.echo("Nothing is to be done.")
        return
    plan.print()
    for one in lost:
        click.echo(f"LOST: {one.words}: {count_text(one.values, 'value')}")
    for statement in plan.statements:
        click.echo(f"{statement};")


def print_done(steps: Sequence[Revision], tables: Tables | None, verb: str, *, as_json: bool) -> None:
    """Print which steps were taken or undone, and who can work with the tables now."""
    if as_json:
        changed = [step.revision for step in steps]
        print_json({verb.lower(): changed, "database": tables_document(tables)})
        return
    if steps:
        click.echo(f"{verb} {', '.join(step.revision for step in steps)}.")
    if tables is not None:
        whose = (
            "those of this release" if tables.revision == own_steps().head else f"revision {tables.revision}"
        )
        click.echo(f"The ledger's tables are {whose}; they work with {_who_can(tables)}.")


def tables_document(tables: Tables | None) -> dict[str, Any] | None:
    """Return what the database says of its tables, for --json."""
    if tables is None:
        return None
    return {
        "revision": tables.revision,
        "release": tables.release,
        "readable_from": tables.readable_from,
        "readable_release": tables.readable_release,
    }


def user_document(one: LedgerUser, tables: Tables | None) -> dict[str, Any]:
    """Return one process, for --json."""
    return {
        "role": one.role,
        "name": one.name,
        "release": one.release,
        "revision": one.revision,
        "can_work": _yes(one, tables) == "yes",
    }
