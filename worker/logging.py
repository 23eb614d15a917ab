"""How the processes log: one line an event, and nothing from libraries that repeat what we say better.

Nobody whose words are logged can write a line of his own, reach a reader's terminal, or fill the disk with
one record: what cannot be printed is shown as a code, long messages are cut, and the lines of a traceback are
set in. That holds for records of all libraries, whatever formatter and handler they go through.
"""

import logging
import sys
import threading
import traceback
from types import TracebackType

from worker.model.untrusted_text import plain, shortened

#: These report at INFO what is no news, or at WARNING what may hold a customer's address.
_HUSHED = {"alembic": logging.WARNING, "urllib3": logging.ERROR, "uvicorn": logging.WARNING}
#: A message is cut to so many characters, and a traceback to so many of its last ones.
LONGEST = 4000
LONGEST_TRACEBACK = 16_000
#: Before each line of a traceback, so that none can be taken for a record of its own.
_SET_IN = "    "


class CleanRecord(logging.LogRecord):
    """A record whose words can be printed, on one line; each line of its traceback is set in."""

    def getMessage(self) -> str:  # noqa: N802 - logging's name
        """Return the message, cleaned; the traceback is cleaned with it, as formatters come here first."""
        if self.exc_info and not self.exc_text:
            self.exc_text = clean_traceback(self.exc_info[1])
        return shortened(plain(super().getMessage()), LONGEST)


def clean_traceback(error: BaseException | None) -> str:
    """Return the end of an error's traceback, without anything that cannot be printed."""
    whole = "".join(traceback.format_exception(error)) if error is not None else ""
    lines = whole[-LONGEST_TRACEBACK:].rstrip("\n").split("\n")
    return "\n".join(_SET_IN + plain(line) for line in lines)


def log_to_stderr(level: str) -> None:
    """Log to standard error, from this level up (DEBUG, INFO, WARNING, ERROR)."""
    clean_records()
    logging.basicConfig(level=level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    quiet_libraries()


def clean_records() -> None:
    """Have all records of this process cleaned, and tracebacks of what ends it or one of its threads."""
    logging.setLogRecordFactory(CleanRecord)
    # Whoever has set hooks of his own, such as pytest, keeps them.
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _report
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _report_thread


def quiet_libraries() -> None:
    """Raise the level of libraries that talk too much; for a process whose logging Celery sets up."""
    for name, level in _HUSHED.items():
        logging.getLogger(name).setLevel(level)


def _report(kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        print(f"unexpected error:\n{clean_traceback(error)}", file=sys.stderr)  # noqa: T201 - the log may not be set up


def _report_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None and not issubclass(arguments.exc_type, SystemExit):
        name = arguments.thread.name if arguments.thread is not None else "a thread"
        log = logging.getLogger(__name__)
        log.error("unexpected error in %s", name, exc_info=arguments.exc_value)
