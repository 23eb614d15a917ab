"""`siem db status`, `upgrade`, `downgrade`: who can work with the ledger's tables, and how to change them."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from worker import __version__
from worker.background.schema_compatibility import (
    LedgerUser,
    ledger_users,
    require_no_process_stopped,
    upgrade_shuts_out,
)
from worker.broker.connection import Client, redis_client
from worker.cli.database_text import (
    Plan,
    print_done,
    print_plan,
    print_status,
    print_users,
    tables_document,
    user_document,
)
from worker.cli.output import as_json_option, count_text, print_json
from worker.cli.pruning import prune
from worker.cli.stores import configuration, open_standing_ledger, operator
from worker.ledger.engine import Ledger, open_ledger
from worker.ledger.migrations.changes import Lost, lost_by
from worker.ledger.migrations.revisions import Revision, Tables, own_steps, require_readable_tables
from worker.ledger.migrations.runner import downgrade_tables as downgrade_in
from worker.ledger.migrations.runner import steps_to_take, steps_to_undo, tables_of
from worker.ledger.migrations.runner import upgrade_tables as upgrade_in
from worker.model.errors import BrokerUnavailable, InvalidSetting, SchemaInUse, SchemaOutdated


@click.command()
@as_json_option
def status(*, as_json: bool) -> None:
    """Show whose the ledger's tables are, which releases can work with them, and who works with them now.

    An older release goes on beside newer tables while they only have more than it knows. Exits with 1 if this
    release cannot work with them: `siem db upgrade` fixes that if steps are pending.
    """
    with _opened(open_standing_ledger()) as engine:
        tables = tables_of(engine)
        reason = _reason(tables)
        plan = Plan.of(engine, _pending(tables))
    users, silence = _users()
    if as_json:
        print_json(
            {
                "release": __version__,
                "revision": own_steps().head,
                "database": tables_document(tables),
                "usable": reason is None,
                "reason": reason,
                "pending": plan.document(),
                "processes": None if users is None else [user_document(one, tables) for one in users],
                "processes_unknown": silence,
            }
        )
    else:
        print_status(tables, reason, plan)
        print_users(users, silence, tables)
    sys.exit(1 if reason else 0)


@click.command()
@click.option(
    "--dry-run", is_flag=True, help="Show each change, who waits for it, and the SQL; change nothing."
)
@click.option(
    "--confirm", is_flag=True, help="Upgrade even if a process that runs cannot work with the result."
)
@as_json_option
def upgrade(*, dry_run: bool, confirm: bool, as_json: bool) -> None:
    """Make the ledger's tables, or bring them to this release; doing it twice does no harm.

    Do it before the processes of a new release start, while those of the old one run: these go on beside what
    only adds. A change that would stop a process that runs is refused. All steps are taken, or none, however
    often it is called, from wherever. `siem up` does it by itself.

    \b
    siem db status
    siem db upgrade --dry-run
    siem db upgrade
    """
    with _opened(open_ledger(configuration().ledger_address())) as engine:
        plan = Plan.of(engine, steps_to_take(tables_of(engine), own_steps()))
        if dry_run:
            print_plan(plan, as_json=as_json)
            return
        if not confirm and upgrade_shuts_out(engine):
            _require_no_process_stopped(own_steps().head)
        taken = upgrade_in(engine, by=operator())
        now = tables_of(engine)
    print_done(taken, now, "Took", as_json=as_json)


@click.command()
@click.argument("revision", required=False)
@click.option("--to-release", metavar="RELEASE", help="To the tables of this release, 0.1.0 for one.")
@click.option(
    "--dry-run", is_flag=True, help="Show each change, what is lost by it, and the SQL; change nothing."
)
@click.option(
    "--confirm",
    is_flag=True,
    help="Downgrade even if values are lost, or a process that runs needs the tables.",
)
@as_json_option
def downgrade(
    revision: str | None, to_release: str | None, *, dry_run: bool, confirm: bool, as_json: bool
) -> None:
    """Undo what newer releases did to the ledger's tables, down to REVISION or to those of a release.

    To go back to an older release it is needed only if `siem db status` does not list that one. Then: end the
    processes of this release, downgrade, start those of the older one. Refused while a process runs that
    needs the tables as they are, or if values would be lost, unless --confirm says otherwise.

    \b
    siem db downgrade --to-release 0.1.0 --dry-run
    siem db downgrade --to-release 0.1.0
    """
    if (revision is None) == (to_release is None):
        raise click.UsageError("give either a revision, such as 0007, or --to-release")
    target = revision or own_steps().revision_of(to_release or "")
    with _opened(open_standing_ledger()) as engine:
        plan = Plan.of(engine, steps_to_undo(tables_of(engine), own_steps(), target), undone=True)
        lost = lost_by(engine, plan.changes)
        if dry_run:
            print_plan(plan, lost, as_json=as_json)
            return
        if plan.steps and not confirm:
            # In this order: --confirm, which the second one offers, waives both.
            _require_no_process_stopped(target)
            _refuse_to_lose(lost)
        undone = downgrade_in(engine, target, by=operator())
        now = tables_of(engine)
    print_done(undone, now, "Undid", as_json=as_json)


def _refuse_to_lose(lost: Sequence[Lost]) -> None:
    if lost:
        what = "; ".join(f"{one.words} ({count_text(one.values, 'value')})" for one in lost)
        raise SchemaInUse(f"this would lose data: {what}. Nothing is changed; --confirm loses it")


def _require_no_process_stopped(revision: str) -> None:
    """Raise SchemaInUse if a process runs that could not work with the tables of this revision."""
    try:
        with _redis() as client:
            require_no_process_stopped(client, revision)
    except (BrokerUnavailable, InvalidSetting) as error:
        raise SchemaInUse(f"who runs is not known ({error}): nothing is changed without --confirm") from error


def _reason(tables: Tables | None) -> str | None:
    """Return why this release cannot work with the tables, or None if it can."""
    try:
        require_readable_tables(tables, own_steps())
    except SchemaOutdated as error:
        return str(error)
    return None


def _pending(tables: Tables | None) -> Sequence[Revision]:
    try:
        return steps_to_take(tables, own_steps())
    except SchemaOutdated:
        return ()


def _users() -> tuple[list[LedgerUser] | None, str | None]:
    """Return who runs; or None, and why that is not known."""
    try:
        with _redis() as client:
            return ledger_users(client), None
    except (BrokerUnavailable, InvalidSetting) as error:
        return None, str(error)


@contextmanager
def _redis() -> Iterator[Client]:
    client = redis_client(configuration().broker_address())
    try:
        yield client
    finally:
        client.close()


@contextmanager
def _opened(engine: Ledger) -> Iterator[Any]:
    try:
        yield engine
    finally:
        engine.dispose()


@click.group()
def db() -> None:
    """Look after the ledger's tables: which releases can work with them, and what is old in them."""


for _command in (status, upgrade, downgrade, prune):
    db.add_command(_command)
