"""Reports while Redis or the database is away: what is known is printed, what is not is named, and why.

Comes in: the gaps that a report met. Goes out: lines, and the exit code: 3 as for every command that
something does not answer to, 1 where this release cannot work with the ledger's tables.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import click

from worker.cli import FAILED, UNAVAILABLE
from worker.cli.output import plain
from worker.cli.stores import Ledger, open_standing_ledger
from worker.ledger.migrations.runner import require_readable_schema
from worker.model.errors import NotFoundError, UnavailableError
from worker.model.health import Subject
from worker.model.sources import MissingSources, Source

_NAMES = {Source.REDIS: "Redis", Source.DATABASE: "the database"}


@contextmanager
def reported_ledger(gaps: MissingSources) -> Iterator[Ledger]:
    """Give the ledger for a report, and note whether it can be used.

    Raises SchemaOutdated where there is no file, and InvalidSetting.
    """
    engine = open_standing_ledger()
    try:
        gaps.ask(Source.DATABASE, lambda: require_readable_schema(engine))
        yield engine
    finally:
        engine.dispose()


def print_gaps(gaps: MissingSources, fields: Mapping[Source, Sequence[str]]) -> None:
    """Print a line for each source that is away, with what is not known without it, and why."""
    for source, error in gaps.errors.items():
        click.echo(plain(f"NOT KNOWN without {_NAMES[source]}: {', '.join(fields[source])} ({error})"))


def end_with(gaps: MissingSources, *, fine: bool = True) -> None:
    """End the process unless all was known and fine; each absence is a line on standard error."""
    for error in gaps.errors.values():
        click.echo(f"Error: {plain(str(error))}", err=True)
    if any(isinstance(error, UnavailableError) for error in gaps.errors.values()):
        sys.exit(UNAVAILABLE)
    if gaps.errors or not fine:
        sys.exit(FAILED)


def named(known: Sequence[Subject], id_or_name: str, gaps: MissingSources) -> Subject:
    """Return the one of that id, or else of that name. Raises NotFoundError."""
    found = [one for one in known if one.id == id_or_name] or [one for one in known if one.name == id_or_name]
    if len(found) > 1:
        ids = ", ".join(one.id for one in found)
        raise NotFoundError(f"several integrations are named {id_or_name}: give the id, one of {ids}")
    if not found:
        where = " in Redis, and the database cannot be asked" if Source.DATABASE in gaps.errors else ""
        raise NotFoundError(f"there is no integration {id_or_name}{where}")
    return found[0]
