"""What the demo prints: bars while it runs, and at its end the account as a table, in words and as JSON.

The bars show what is published and what each integration has, where standard error is a terminal.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from worker.demo.account import Account, AccountLine
from worker.model.untrusted_text import unfiltered

#: What the two last columns are; `siem health` shows the latest few hundred alone.
_LATENCY = "Latency: from publication to acceptance, over the latest 10 000 deliveries."
_COLUMNS = ("published", "delivered", "dead", "received", "retried", "p50 ms", "p99 ms")
#: What a pipe gets, which has no width of its own: an account with columns cut off says nothing.
_WIDE = 110


def print_account(lines: Sequence[AccountLine], *, stderr: bool) -> None:
    """Print the account; it fits into 80 columns."""
    stream = unfiltered(sys.stderr if stderr else sys.stdout)
    console = Console(file=stream)
    if not console.is_terminal:
        console = Console(file=stream, width=_WIDE)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("receiver", no_wrap=True)
    table.add_column("over", no_wrap=True)
    for column in _COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    for line in lines:
        table.add_row(short_name(line), line.over, *_figures(line))
    console.print(table)
    console.print(_LATENCY, highlight=False)


def short_name(line: AccountLine) -> str:
    """Return an integration's name without the "demo " that all of them share."""
    return line.integration.removeprefix("demo ")


def _figures(line: AccountLine) -> list[str]:
    found = (
        line.published,
        line.delivered,
        line.dead,
        line.received,
        line.retried,
        line.p50_ms,
        line.p99_ms,
    )
    return ["?" if figure is None else str(figure) for figure in found]


def summary(published: int, lines: Sequence[AccountLine], seconds: float) -> str:
    """Return in a sentence what was done."""
    deliveries = sum(line.delivered for line in lines)
    speed = round(deliveries / seconds) if seconds else 0
    return f"{published} events published, {deliveries} deliveries in {seconds:.1f} s ({speed} a second)."


def verdict(lines: Sequence[AccountLine]) -> str:
    """Whether every event is accounted for, and where ledger and receivers differ; a line for each."""
    if all(line.is_sound for line in lines):
        agree = "and the receivers agree." if all(line.agrees for line in lines) else "but:"
        return "\n".join([f"Every event is accounted for, {agree}", *_differences(lines)])
    return "\n".join(["NOT every event is accounted for:", *_differences(lines)])


def _differences(lines: Sequence[AccountLine]) -> list[str]:
    return [f"  {short_name(line)}: {', '.join(words)}" for line in lines if (words := _words(line))]


def _words(line: AccountLine) -> list[str]:
    lost = "sent and lost, for UDP promises nothing" if line.over == "UDP" else "delivered, but not received"
    found = {
        "neither delivered nor dead": line.missing,
        "delivered or dead, but not published": -line.missing,
        lost: 0 if line.received is None else line.unseen,
        "received, but not published": line.surplus,
    }
    words = [f"{what}: {count}" for what, count in found.items() if count > 0]
    # In a demo that was interrupted the receivers have ended too, and are not to blame.
    is_silent = line.received is None and not line.missing
    return [*words, "the receiver does not say what it has"] if is_silent else words


def account_json(published: int, lines: Sequence[AccountLine], seconds: float) -> dict[str, Any]:
    """Return the account for JSON; `published` is how many events were to be."""
    return {
        "published": published,
        "accounted_for": all(line.is_sound for line in lines),
        "seconds": round(seconds, 2),
        "integrations": [asdict(line) for line in lines],
    }


#: How often the bars are drawn while events are published, in seconds: most of the time is for what is shown.
_DRAW_EVERY = 0.2


class ProgressBars:
    """The progress of one demo."""

    def __init__(self, progress: Progress, account: Account, events: int) -> None:
        """Take the account, and how many events there will be."""
        self._progress = progress
        self._account = account
        self._published = progress.add_task("published", total=events)
        self._arrived = {name: progress.add_task(name, total=None) for name in account.names()}
        self._drawn = 0.0

    def draw(self, lines: Sequence[AccountLine]) -> None:
        """Draw the account as it stands."""
        self._progress.update(self._published, completed=self._account.total_published)
        for line in lines:
            done = line.delivered + line.dead
            self._progress.update(self._arrived[line.integration], completed=done, total=line.published)

    def draw_now_and_then(self) -> None:
        """Look at the account and draw it, unless that was done a moment ago."""
        if not self._progress.disable and time.monotonic() - self._drawn > _DRAW_EVERY:
            self.draw(self._account.look())
            self._drawn = time.monotonic()


@contextmanager
def drawing(account: Account, events: int) -> Iterator[ProgressBars]:
    """Draw on standard error while the `with` lasts, if that is a terminal."""
    columns = (TextColumn("{task.description:>14}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(file=unfiltered(sys.stderr))
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield ProgressBars(progress, account, events)
