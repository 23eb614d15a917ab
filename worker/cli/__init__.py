"""The program `siem`: one door for operators and admins.

Exit codes: 0 done; 1 failed; 2 what was given is wrong (the message names it); 3 Redis or the database
cannot be used; 4 nothing of that name is here; 130 interrupted. An error is one line on stderr; each wrong
field of an integration is one of its own.

A group whose commands are imported when they are called.

Input: names, places and summaries. Output: a group whose help and version cost no import of
SQLAlchemy, Celery or cryptography, which take most of a second.
"""

import gc
import io
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NoReturn

import click

from worker import __version__
from worker.cli.output import plain
from worker.logging import clean_records
from worker.model.errors import InvalidInput, NotFoundError, OutageError, SiemError
from worker.model.redis_address import NoRedisNamed
from worker.model.untrusted_text import PrintableStream, unfiltered
from worker.transports.budget import raise_descriptor_limit


@dataclass(frozen=True, slots=True)
class LazyCommand:
    """A command that is not imported yet: its name, `module:attribute`, and its line in the list."""

    name: str
    place: str
    summary: str

    def load(self) -> click.Command:
        """Import it, without what would only take time."""
        module, _, attribute = self.place.partition(":")
        with _quick_imports():
            command: click.Command = getattr(import_module(module), attribute)
        return command


#: redis-py imports it for metrics that none has asked for; it has a way without.
_UNUSED = "opentelemetry.sdk.metrics"


@contextmanager
def _quick_imports() -> Iterator[None]:
    """Import without the garbage collector, which finds nothing and takes a seventh of the time."""
    is_unused = _UNUSED not in sys.modules
    if is_unused:
        sys.modules[_UNUSED] = None  # type: ignore[assignment]  # so Python marks what is not to be found
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        if is_unused:
            sys.modules.pop(_UNUSED, None)


class LazyGroup(click.Group):
    """Lists its commands by their summaries, in the order given, and imports the one that is called."""

    def __init__(self, *args: Any, lazy_commands: Sequence[LazyCommand], **options: Any) -> None:
        """Take the commands, and what a click group takes."""
        super().__init__(*args, **options)
        self._lazy = {command.name: command for command in lazy_commands}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Name the commands."""
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import a command; None when there is none of that name."""
        found = self._lazy.get(cmd_name)
        return found.load() if found else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Write the list that help shows."""
        with formatter.section("Commands"):
            formatter.write_dl([(command.name, command.summary) for command in self._lazy.values()])


FAILED, WRONG_INPUT, UNAVAILABLE, NOT_FOUND, INTERRUPTED = 1, 2, 3, 4, 130

#: In the order in which a newcomer meets them.
COMMANDS = (
    LazyCommand("up", "worker.cli.up:up", "Run everything on this machine; --demo shows it at work."),
    LazyCommand(
        "integrations", "worker.cli.integrations:integrations", "Set up the SIEMs that events go to."
    ),
    LazyCommand("doctor", "worker.cli.doctor:doctor", "Find out why an integration fails, step by step."),
    LazyCommand(
        "preflight",
        "worker.cli.preflight:preflight",
        "Check whether this is fit for production, and why not.",
    ),
    LazyCommand("preview", "worker.cli.preview:preview", "Print the very bytes that would be sent."),
    LazyCommand("publish", "worker.cli.publish:publish", "Publish events from a file or a pipe."),
    LazyCommand(
        "status", "worker.cli.status:status", "Show the health of each integration, and what waits in Redis."
    ),
    LazyCommand(
        "health", "worker.cli.health:health", "Show the health of the fleet and of each integration, and why."
    ),
    LazyCommand("deliveries", "worker.cli.deliveries:deliveries", "List what became of each event."),
    LazyCommand(
        "dead-letters",
        "worker.cli.dead_letters:dead_letters",
        "See what could not be delivered, and why; send it again.",
    ),
    LazyCommand("replays", "worker.cli.replays:replays", "Follow the replays of dead letters."),
    LazyCommand(
        "unrecordable",
        "worker.cli.unrecordable:unrecordable",
        "See what the ledger did not take, and why; put it back.",
    ),
    LazyCommand("audit", "worker.cli.audit:audit", "See who changed what, when and from where."),
    LazyCommand("tenants", "worker.cli.tenants:tenants", "Take a tenant from one cell to another."),
    LazyCommand("api-keys", "worker.cli.api_keys:api_keys", "Make and revoke the keys of the HTTP API."),
    LazyCommand(
        "secrets",
        "worker.cli.secret_keys:secrets_",
        "See which keys sealed the secrets; seal them with the first.",
    ),
    LazyCommand(
        "redis", "worker.cli.redis_commands:redis_", "See whether Redis suits, and what is missing in it."
    ),
    LazyCommand("settings", "worker.cli.settings:settings", "Show the settings and where each comes from."),
    LazyCommand("db", "worker.cli.database:db", "Look after the ledger's tables."),
    LazyCommand(
        "route", "worker.cli.processes:route", "Run a router: from the stream of events to backlogs."
    ),
    LazyCommand("record", "worker.cli.processes:record", "Run a recorder: from outcomes to the ledger."),
    LazyCommand("api", "worker.cli.api:api", "Run the HTTP API and its pages."),
    LazyCommand("flower", "worker.cli.flower:flower", "Run Flower, a view of Celery's tasks and workers."),
    LazyCommand("probe", "worker.cli.probe:probe", "Ask a process whether it lives, or is ready."),
    LazyCommand("completion", "worker.cli.completion:completion", "Have your shell complete commands."),
)


@click.group(cls=LazyGroup, lazy_commands=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="siem")
def siem() -> None:
    """Deliver governance events into every SIEM that subscribed.

    \b
    A first look, with Splunk played on this machine:
        siem up --demo
    A real one:
        siem up
        siem integrations create --name splunk --token-file token.txt \\
            --url https://splunk.example.com:8088/services/collector/event
        siem publish events.jsonl
        siem status

    Settings come from the environment (SIEM_REDIS_URL, SIEM_DATABASE_URL, SIEM_DATA_DIR, …);
    deploy/README.md lists them. Tables are for people; --json prints one JSON document for scripts.

    \b
    Exit codes: 0 done, 1 failed, 2 wrong input, 3 Redis or the database cannot
    be used, 4 nothing of that name, 130 interrupted.
    """


def main() -> None:
    """Run the program and end the process with its exit code."""
    raise_descriptor_limit()
    clean_records()
    _write_any_character()
    try:
        _refuse_what_is_no_text(sys.argv)
        siem.main(prog_name="siem", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _fail(_in_one_line(error), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except SiemError as error:
        _fail(str(error), _exit_code(error), map(str, getattr(error, "others", ())))
    except OSError as error:
        _fail(f"{error.filename or 'input or output'}: {error.strerror or error}", FAILED)


def _write_any_character() -> None:
    """Show the code of a character that the terminal's encoding lacks, or that is not printable."""
    for name in ("stdout", "stderr"):
        stream = unfiltered(getattr(sys, name))
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, PrintableStream(stream))


def _refuse_what_is_no_text(arguments: Sequence[str]) -> None:
    """Refuse bytes that are not UTF-8, which no database stores, but for the name of a file that is there."""
    for place, argument in enumerate(arguments):
        try:
            argument.encode()
        except UnicodeEncodeError:
            if not os.path.lexists(argument):
                raise click.UsageError(f"argument {place} is not UTF-8: {argument!a}") from None


def _in_one_line(error: click.ClickException) -> str:
    message = error.format_message()
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"{message.rstrip('.')} (see `{error.ctx.command_path} --help`)"
    return message


def _exit_code(error: SiemError) -> int:
    if isinstance(error, (OutageError, NoRedisNamed)):
        return UNAVAILABLE
    if isinstance(error, InvalidInput):
        return WRONG_INPUT
    return NOT_FOUND if isinstance(error, NotFoundError) else FAILED


def _fail(message: str, code: int, others: Iterable[str] = ()) -> NoReturn:
    for one in (message, *others):
        click.echo(f"Error: {plain(one)}", err=True)
    sys.exit(code)
