"""A picture that renews itself in the terminal, until Ctrl-C."""

import io
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout

import click

from worker.model.errors import UnavailableError
from worker.model.untrusted_text import PrintableStream, unfiltered

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
