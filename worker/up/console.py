"""The terminal of `siem up`: one line at a time, with the name of the process before it, as honcho prints."""

import datetime as dt
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress

from honcho.colour import get_colours
from honcho.printer import Message, Printer

from worker.model.untrusted_text import plain_lines, unfiltered

_OURSELVES = "up"


class Console:
    """Prints the lines of many threads without mixing them."""

    def __init__(self, names: Iterable[str], *, quiet: bool) -> None:
        """Take the processes' names; when `quiet`, only progress and failures show, on standard error."""
        self._quiet = quiet
        self._one_at_a_time = threading.Lock()
        names = [_OURSELVES, *names]
        colours = get_colours()
        self._colours = {name: None if name == _OURSELVES else next(colours) for name in names}
        # It draws in colours; what the processes print is cleaned line by line.
        self._printer = Printer(unfiltered(sys.stdout), width=max(map(len, names)))

    def show(self, name: str, line: bytes) -> None:
        """Print a process's line."""
        message = Message(
            "line",
            plain_lines(line.decode(errors="backslashreplace")).encode(),
            dt.datetime.now().astimezone(),
            name,
            self._colours.get(name),
        )
        # A terminal that has gone away, or a closed pipe, must not end the delivery of events.
        with self._one_at_a_time, suppress(OSError, ValueError):
            self._printer.write(message)

    def say(self, *lines: str) -> None:
        """Print what `siem up` itself has to say."""
        if not self._quiet:
            for line in lines:
                self.show(_OURSELVES, line.encode())

    def progress(self, line: str) -> None:
        """Print how far the start has come: quiet or not, the user waits for it."""
        if self._quiet:
            self._write_error(line)
        else:
            self.say(line)

    def complain(self, line: str) -> None:
        """Print what went wrong, quiet or not."""
        if self._quiet:
            self._write_error(line)
        else:
            self.say(line)

    def _write_error(self, line: str) -> None:
        with self._one_at_a_time, suppress(OSError, ValueError):
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
