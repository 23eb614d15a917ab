"""Bars that grow while the demo runs: one for what is published, one for what each integration has.

Lines of the account go in; where standard error is a terminal, they are drawn there.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from worker.demo.account import Account, AccountLine
from worker.model.untrusted_text import unfiltered

#: How often progress are drawn while events are published, in seconds: most of the time is for what is shown.
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
