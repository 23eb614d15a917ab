"""`siem publish`: JSON lines from a file or standard input into the broker.

Lines of a file or a pipe, as they arrive.

Input: a file descriptor. Output: batches of numbered lines, each batch what was there to be read,
so that a slow pipe is not held up and a fast one is taken in large bites. Memory stays bounded however
long a line is.
"""

import codecs
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import click

from worker.cells import CellPublisher
from worker.cli.output import as_json_option, count_text, plain, print_json
from worker.logging import configure
from worker.model.errors import BrokerUnavailable, InvalidEvent
from worker.model.events import MAX_EVENT_BYTES
from worker.model.untrusted_text import unfiltered
from worker.publisher import EventPublisher
from worker.settings import settings
from worker.tracing import closing_tracing, open_publishing
from worker.views.publishing import MAX_LINE_ERRORS, LineError, line_error, publication_document

#: Bytes of one read; a pipe gives less.
_BITE = 1 << 20
#: Of a line that is longer than any event, this much is kept: enough to show that.
_LONGEST = MAX_EVENT_BYTES + 1


@dataclass(frozen=True, slots=True)
class InputLine:
    """A line that is not blank, without the white space around it.

    `length` counts its bytes as they came; `text` is less of a line that is too long for an event.
    """

    number: int
    text: bytes
    length: int

    @property
    def is_cut(self) -> bool:
        """Whether `text` is only a part, which is longer than any event all the same."""
        return len(self.text) == _LONGEST


def arriving_lines(descriptor: int) -> Iterator[list[InputLine]]:
    """Yield the lines that each read completes. A byte order mark and a missing last newline are fine."""
    cutter = _Cutter()
    while bite := os.read(descriptor, _BITE):
        yield cutter.take(bite)
    yield cutter.take(b"\n")


class _Cutter:
    """Cuts bites into lines, and keeps the unfinished end of one for the next."""

    def __init__(self) -> None:
        self._number = 0
        self._rest = b""
        self._dropped = 0

    def take(self, bite: bytes) -> list[InputLine]:
        *ended, self._rest = (self._rest + bite).split(b"\n")
        lines = [line for text in ended if (line := self._line(text))]
        excess = len(self._rest) - _LONGEST
        if excess > 0:
            self._rest = self._rest[:_LONGEST]
            self._dropped += excess
        return lines

    def _line(self, text: bytes) -> InputLine | None:
        self._number += 1
        dropped, self._dropped = self._dropped, 0
        length = len(text) + dropped
        if dropped:
            # Not stripped: with its middle missing, it must stay too long to be taken for an event.
            return InputLine(self._number, text[:_LONGEST], length)
        if self._number == 1:
            text = text.removeprefix(codecs.BOM_UTF8)
        text = text.strip()
        return InputLine(self._number, text[:_LONGEST], length) if text else None


#: Refusals that are shown one by one; the rest is counted.
SHOWN = 20


@click.command()
@click.argument("source", metavar="FILE", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--cells",
    type=click.Path(exists=True, dir_okay=False),
    metavar="DIRECTORY",
    help="A JSON file that says in which cell each tenant lives; instead of SIEM_REDIS_URL.",
)
@as_json_option
def publish(source: str, cells: str | None, *, as_json: bool) -> None:
    """Publish governance events: one JSON object a line, from FILE or - for standard input.

    \b
    siem publish events.jsonl
    tail -f events.jsonl | siem publish -
    siem publish --cells cells.json events.jsonl

    Each event needs an id, a type and a timestamp; blank lines are skipped. What is published is in Redis
    when the command says so. What is refused is named on stderr by line and field, and the rest is
    published: exit code 2 says that something was refused. --json lists the first hundred of them.
    """
    tally = _Tally()
    try:
        _publish(source, cells, tally)
    except KeyboardInterrupt:
        click.echo(f"Interrupted; until then: {tally.summary()}", err=True)
        raise
    tally.count_unshown()
    if as_json:
        print_json(publication_document(tally.published, tally.refused, tally.errors))
    else:
        click.echo(tally.summary())
    if tally.refused:
        sys.exit(2)


@dataclass(slots=True)
class _Tally:
    """Counts what became of the lines, and complains about those that were refused."""

    published: int = 0
    refused: int = 0
    errors: list[LineError] = field(default_factory=list)

    def note(self, line: InputLine, error: InvalidEvent | BrokerUnavailable | None) -> None:
        if error is None:
            self.published += 1
        elif isinstance(error, BrokerUnavailable):
            raise BrokerUnavailable(
                f"stopped at line {line.number} ({count_text(self.published, 'event')} published): {error}; "
                "publish again from that line on"
            )
        else:
            self.refused += 1
            wrong = of_the_whole(line, error)
            if self.refused <= MAX_LINE_ERRORS:
                self.errors.append(line_error(line.number, line.text, wrong))
            if self.refused <= SHOWN:
                click.echo(f"line {line.number}: {plain(str(wrong))}", err=True)

    def count_unshown(self) -> None:
        if self.refused > SHOWN:
            click.echo(f"… and {count_text(self.refused - SHOWN, 'more line')} refused", err=True)

    def summary(self) -> str:
        text = f"Published {count_text(self.published, 'event')}"
        return f"{text}, refused {self.refused}." if self.refused else f"{text}."


def _publish(source: str, cells: str | None, tally: _Tally) -> None:
    config = settings()
    configure(config.log_level, config.log_format)
    tracing = open_publishing(enabled=config.tracing)
    with (
        closing_tracing(),
        CellPublisher(cells, tracing=tracing)
        if cells
        else EventPublisher(config.broker_address(), tracing=tracing) as publisher,
        click.open_file(source, "rb") as stream,
        _progress(stream.fileno(), tally) as advance,
    ):
        for lines in arriving_lines(stream.fileno()):
            receipts = publisher.publish_many(line.text for line in lines)
            for line, receipt in zip(lines, receipts, strict=True):
                tally.note(line, receipt.error)
            advance()


@contextmanager
def _progress(descriptor: int, tally: _Tally) -> Iterator[Callable[[], None]]:
    """Give what to call now and then: it moves a bar on the terminal, if there is one, along a file."""
    status = os.fstat(descriptor)
    if not (stat.S_ISREG(status.st_mode) and sys.stderr.isatty()):
        yield lambda: None
        return
    from rich.console import Console  # noqa: PLC0415 - slow to import, and only a terminal needs it
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415 - the same

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    console = Console(file=unfiltered(sys.stderr))
    # Gone at the end: the command says the same sum as its last line.
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("publishing", total=status.st_size)
        yield lambda: bar.update(
            task, completed=os.lseek(descriptor, 0, os.SEEK_CUR), description=tally.summary()
        )


def of_the_whole(line: InputLine, error: InvalidEvent) -> InvalidEvent:
    """Return how long a line is of which only a part was judged."""
    if not line.is_cut:
        return error
    return InvalidEvent(error.field, f"is {line.length} bytes long", error.hint)
