"""A list of integrations for people: trouble first, as many as wanted, readable in a terminal of 80 columns.

Input: a row of cells for each integration, and what there is to say of it. Output: a table whose names
are shortened to the width of the terminal, with the words under each row; in a pipe nothing is shortened.

Reports while Redis or the database is away: what is known is printed, what is not is named, and why.

Input: the gaps that a report met. Output: lines, and the exit code: 3 as for every command that
something does not answer to, 1 where this release cannot work with the ledger's tables.
"""

import io
import shutil
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any

import click

from worker.cli import FAILED, UNAVAILABLE
from worker.cli.output import plain, table_lines
from worker.cli.stores import open_standing_ledger
from worker.ledger.engine import Ledger
from worker.ledger.migrations.runner import require_readable_schema
from worker.model.errors import NotFoundError, UnavailableError
from worker.model.health import FINE, IntegrationHealth, State, Subject
from worker.model.sources import MissingSources, Source
from worker.model.untrusted_text import PrintableStream, unfiltered

#: How many integrations are listed by default.
LIMIT = 20
#: Those in trouble come first, then those that may be forgotten; the rest needs no words.
_WORDY = (State.FAILING, State.DEGRADED, State.UNKNOWN, State.DISABLED, State.PAUSED)
_ORDER = (*_WORDY, State.HEALTHY, State.IDLE)
_PLACE = {state: place for place, state in enumerate(_ORDER)}
_INDENT = "    "


@dataclass(frozen=True, slots=True)
class Entry:
    """One integration: how it is, the cells of its row behind state, name and tenant, the words under it."""

    health: IntegrationHealth
    cells: Sequence[Any]
    words: Sequence[str] = ()


tenant_option = click.option("--tenant", metavar="TENANT", help="Only this tenant's; left out, all tenants'.")
limit_option = click.option(
    "--limit",
    metavar="NUMBER",
    type=click.IntRange(0),
    default=LIMIT,
    show_default=True,
    help="List so many integrations, those in trouble first; 0 lists all.",
)


def state_words(state: str) -> str:
    """Return a state as people read it."""
    return state.replace("_", " ")


def print_wrapped(text: str, *, first: str = "", indent: str = "  ") -> None:
    """Print a text behind `first`, folded to the width of a terminal; a whole line into a pipe."""
    for line in _folded(plain(text), first, indent):
        click.echo(line)


def nothing_there(tenant: str | None) -> str:
    """Return what is said where there is no integration."""
    of = f" of tenant {tenant}" if tenant is not None else ""
    return f"No integrations{of} yet: `siem integrations create --help` shows how to create one."


def in_order(healths: Sequence[IntegrationHealth]) -> list[IntegrationHealth]:
    """Return them with those in trouble first, then by tenant and name."""
    return sorted(healths, key=lambda one: (_PLACE[one.state], one.tenant_id, one.name))


def print_integrations(
    columns: Sequence[str], listed: Sequence[Entry], left_out: Sequence[IntegrationHealth]
) -> None:
    """Print how many there are in which state, those that are listed, and how to see the others."""
    healths = [*(one.health for one in listed), *left_out]
    many = f"{len(healths)} integration{'' if len(healths) == 1 else 's'}"
    print_wrapped(f"{many}: {_counts(healths)}.")
    with_tenant = len({one.tenant_id for one in healths}) > 1
    for line in _lines(columns, listed, with_tenant=with_tenant):
        click.echo(line)
    if left_out:
        print_wrapped(f"Not listed: {_counts(left_out)} (--limit 0 lists all, --tenant those of one tenant).")


def reason(one: IntegrationHealth) -> list[str]:
    """Return what stands under one that sends nothing or is in trouble: why, and a hint, each once."""
    if one.state not in _WORDY:
        return []
    hint = one.last_error.hint if one.last_error and one.state not in FINE else ""
    return [one.reason if not hint or hint in one.reason else f"{one.reason}. {_sentence(hint)}"]


def waiting_text(one: IntegrationHealth) -> int | str:
    """Return how many events wait, parked ones included; without the database at least so many."""
    if Source.REDIS in one.missing:
        return "?"
    return f"{one.backlog_events}+" if one.missing else one.backlog_events + one.parked_events


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _counts(healths: Sequence[IntegrationHealth]) -> str:
    found = Counter(one.state for one in healths)
    return ", ".join(f"{found[state]} {state_words(state)}" for state in _ORDER if found[state])


def _lines(columns: Sequence[str], listed: Sequence[Entry], *, with_tenant: bool) -> Iterator[str]:
    heads = ["state", "name", *(["tenant"] if with_tenant else []), *columns]
    heading, *lines = table_lines(
        heads,
        [[*_known_by(one.health, with_tenant=with_tenant), *one.cells] for one in listed],
        shrinking=(2, 1) if with_tenant else (1,),
        room=terminal_width(),
    )
    yield heading
    for one, line in zip(listed, lines, strict=True):
        yield line
        for words in one.words:
            yield from _folded(plain(words), _INDENT, _INDENT)


def _known_by(one: IntegrationHealth, *, with_tenant: bool) -> list[str]:
    return [state_words(one.state), one.name, *([one.tenant_id] if with_tenant else [])]


def _folded(text: str, first: str, indent: str) -> list[str]:
    room = terminal_width()
    if room is None:
        return [first + text]
    return textwrap.wrap(
        text, max(room, 40), initial_indent=first, subsequent_indent=indent, break_on_hyphens=False
    ) or [first.rstrip()]


def terminal_width() -> int | None:
    """Return the columns of the terminal; None in a pipe, where lines stay whole."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


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


def find_subject(known: Sequence[Subject], id_or_name: str, gaps: MissingSources) -> Subject:
    """Return the one of that id, or else of that name. Raises NotFoundError."""
    found = [one for one in known if one.id == id_or_name] or [one for one in known if one.name == id_or_name]
    if len(found) > 1:
        ids = ", ".join(one.id for one in found)
        raise NotFoundError(f"several integrations are named {id_or_name}: give the id, one of {ids}")
    if not found:
        where = " in Redis, and the database cannot be asked" if Source.DATABASE in gaps.errors else ""
        raise NotFoundError(f"there is no integration {id_or_name}{where}")
    return found[0]


#: Home, and from there on clear: nothing flickers, as a clearing beforehand would.
_HOME, _CLEAR_REST_OF_LINE, _CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
_CLEAR_ALL = "\x1b[2J"


def watch(show: Callable[[], object], every: float) -> None:
    """Print what `show` prints again and again, every so many seconds, over what stood there.

    What it depends on may be away meanwhile: that is shown, and tried again. Ends with KeyboardInterrupt.
    """
    # Its own sequences reach the terminal; what stands between them is cleaned as it is captured.
    terminal = unfiltered(sys.stdout)
    click.echo(_CLEAR_ALL, nl=False, color=True, file=terminal)
    while True:
        click.echo(as_screen(_captured(show)), nl=False, color=True, file=terminal)
        time.sleep(every)


class _Screen(io.StringIO):
    """Takes what is printed for the terminal."""

    def isatty(self) -> bool:
        return True


def _captured(show: Callable[[], object]) -> str:
    gathered = _Screen()
    with redirect_stdout(PrintableStream(gathered)):
        try:
            show()
        except UnavailableError as error:
            click.echo(f"{error}; trying again …")
    return gathered.getvalue()


def as_screen(text: str) -> str:
    """Return what shows these lines over those that stand there: as many as have room, the first ones."""
    found, room = text.splitlines(), max(2, shutil.get_terminal_size().lines - 1)
    if len(found) > room:
        found = [*found[: room - 1], f"… {len(found) - room + 1} more lines: the terminal is too short"]
    lines = "".join(f"{line}{_CLEAR_REST_OF_LINE}\n" for line in found)
    return f"{_HOME}{lines}{_CLEAR_BELOW}"
