"""What `siem up` prints: one line at a time, with the name of the process before it, as honcho prints.

If the processes log JSON, their lines are printed as they are, and what is no JSON becomes a record of our
own: every line is one object.
"""

import datetime as dt
import logging
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress

from honcho.colour import get_colours
from honcho.printer import Message, Printer

from worker.model.log_events import UP_OUTPUT
from worker.model.untrusted_text import plain_lines, unfiltered

log = logging.getLogger(__name__)

_OURSELVES = "up"


class Console:
    """Prints the lines of many threads without mixing them."""

    def __init__(self, names: Iterable[str], *, quiet: bool, as_json: bool = False) -> None:
        """Take the processes' names; when `quiet`, only progress and failures show, on standard error."""
        self._quiet = quiet
        self._as_json = as_json
        self._one_at_a_time = threading.Lock()
        names = [_OURSELVES, *names]
        colours = get_colours()
        self._colours = {name: None if name == _OURSELVES else next(colours) for name in names}
        # It draws in colours; what the processes print is cleaned line by line.
        self._stdout = unfiltered(sys.stdout)
        self._printer = Printer(self._stdout, width=max(map(len, names)))

    def show(self, name: str, line: bytes) -> None:
        """Print a process's line."""
        text = plain_lines(line.decode(errors="backslashreplace"))
        if self._as_json and not text.startswith("{"):
            if text := text.strip():
                UP_OUTPUT.log(log, role=name, details=text)
            return
        now, colour = dt.datetime.now().astimezone(), self._colours.get(name)
        # A terminal that has gone away, or a closed pipe, must not end the delivery of events.
        with self._one_at_a_time, suppress(OSError, ValueError):
            if self._as_json:
                print(text.rstrip("\n"), file=self._stdout, flush=True)
            else:
                self._printer.write(Message("line", text.encode(), now, name, colour))

    def say(self, *lines: str) -> None:
        """Print what `siem up` itself has to say."""
        if not self._quiet:
            for line in lines:
                self._print_own(line, logging.INFO)

    def progress(self, line: str) -> None:
        """Print how far the start has come: quiet or not, the user waits for it."""
        if self._quiet:
            self._write_error(line)
        else:
            self._print_own(line, logging.INFO)

    def complain(self, line: str) -> None:
        """Print what went wrong, quiet or not."""
        if self._quiet:
            self._write_error(line)
        else:
            self._print_own(line, logging.ERROR)

    def _print_own(self, line: str, level: int) -> None:
        if self._as_json:
            UP_OUTPUT.log(log, level=level, role=_OURSELVES, details=line)
        else:
            self.show(_OURSELVES, line.encode())

    def _write_error(self, line: str) -> None:
        with self._one_at_a_time, suppress(OSError, ValueError):
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
