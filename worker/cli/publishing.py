"""`siem publish`: JSON lines from a file or standard input into the broker."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from worker.cli.output import print_json
from worker.model.errors import BrokerUnavailable
from worker.model.events import MAX_EVENT_BYTES
from worker.publisher import EventPublisher, Receipt
from worker.settings import settings

#: Refusals that are shown one by one; the rest is counted.
SHOWN = 20


@click.command()
@click.argument("source", metavar="FILE", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
def publish(source: str, *, as_json: bool) -> None:
    """Publish governance events: one JSON object a line, from FILE or - for standard input.

    What is refused is named by line and field; the rest is published. Exit code 2 if any was refused.
    """
    published = refused = 0
    with (
        click.open_file(source, "rb") as stream,
        EventPublisher(settings().broker_address()) as publisher,
        _progress() as progress,
    ):
        lines = _Lines(stream)
        task = progress.add_task("publishing", total=_count_lines(source))
        for receipt, number in zip(publisher.publish_many(lines), lines.numbers(), strict=False):
            if receipt.error is None:
                published += 1
            else:
                refused += 1
                _complain(receipt, number, refused)
            if (published + refused) % 200 == 0:
                progress.update(task, completed=published + refused)
        progress.update(task, completed=published + refused)
    _summary(published, refused, as_json=as_json)


class _Lines:
    """The lines of a stream that hold something, and their numbers, in step."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._numbers: list[int] = []

    def __iter__(self) -> Iterator[bytes]:
        for number, line in enumerate(_bounded_lines(self._stream), start=1):
            if line.strip():
                self._numbers.append(number)
                yield line.strip()

    def numbers(self) -> Iterator[int]:
        """Yield the numbers of the lines read so far, in their order."""
        place = 0
        while place < len(self._numbers):
            yield self._numbers[place]
            place += 1


def _bounded_lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Read lines; of one that is longer than any event, only as much as shows that."""
    most = MAX_EVENT_BYTES + 2
    while line := stream.readline(most):
        yield line
        while len(line) == most and not line.endswith(b"\n"):
            line = stream.readline(most)


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)


def _count_lines(source: str) -> int | None:
    if source == "-":
        return None
    with Path(source).open("rb") as stream:
        return sum(1 for line in _bounded_lines(stream) if line.strip())


def _complain(receipt: Receipt, number: int, refused: int) -> None:
    if isinstance(receipt.error, BrokerUnavailable):
        raise BrokerUnavailable(
            f"stopped at line {number}, from there on nothing was published: {receipt.error}"
        )
    if refused <= SHOWN:
        click.echo(f"line {number}: {receipt.error}", err=True)


def _summary(published: int, refused: int, *, as_json: bool) -> None:
    if refused > SHOWN:
        click.echo(f"… and {refused - SHOWN} more", err=True)
    if as_json:
        print_json({"published": published, "refused": refused})
    else:
        click.echo(f"Published {published} events" + (f", refused {refused}." if refused else "."))
    if refused:
        sys.exit(2)
