"""How the processes log: a line an event, for people or as JSON; of libraries, what is of use.

No one whose words are logged can write a line of their own, reach a reader's terminal, or fill the disk with
one record: what cannot be printed is shown as a code, long messages are cut, and the lines of a traceback are
indented. That holds for records of all libraries, whatever formatter and handler they go through.
"""

import json
import logging
import logging.handlers
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from worker.model.log_events import PROCESS_CRASHED, THREAD_ENDED
from worker.model.log_records import Field, LogEvent
from worker.model.untrusted_text import plain, shortened

#: The lowest level of libraries, unless an operator sets a higher one for all.
QUIET = {
    "alembic": logging.WARNING,  # INFO: each step of a migration, which `siem db upgrade` prints
    "amqp": logging.WARNING,  # DEBUG: frames; a transport that nothing here uses
    "asyncio": logging.WARNING,  # DEBUG: which selector it uses
    "celery": logging.INFO,  # a worker's option `-l` sets another one
    "charset_normalizer": logging.WARNING,  # DEBUG: guesses about the text of answers
    "flower": logging.INFO,  # DEBUG: each event of a worker
    "kombu": logging.INFO,  # DEBUG: whole messages; as Celery
    "opentelemetry": logging.CRITICAL,  # a line for each export that failed, which we report once
    "python_multipart": logging.WARNING,  # DEBUG: the bytes of forms, which may hold a secret
    "redis": logging.WARNING,  # DEBUG: each operation that failed
    "requests": logging.WARNING,
    "sqlalchemy": logging.WARNING,  # INFO: statements
    "urllib3": logging.ERROR,  # WARNING: addresses of customers
    "uvicorn": logging.WARNING,  # INFO: start and end, which we log
}
#: A message is cut to so many characters, a field too, and a traceback to so many of its last ones.
LONGEST = 4000
LONGEST_FIELD = 1000
LONGEST_TRACEBACK = 16_000
#: Before each line of a traceback, so that none can be taken for a record of its own.
_INDENT = "    "
#: What Celery's records say of a task, by its names and ours. Never its arguments, nor what it raised.
_OF_TASKS = {"name": "task", "id": "task_id", "runtime": "seconds"}

log = logging.getLogger(__name__)


class CleanRecord(logging.LogRecord):
    """A record whose words can be printed, on one line; each line of its traceback is indented."""

    def getMessage(self) -> str:  # noqa: N802 - logging's name
        """Return the message, cleaned; the traceback is cleaned with it, as formatters come here first."""
        if self.exc_info and not self.exc_text:
            self.exc_text = clean_traceback(self.exc_info[1])
        return shortened(plain(super().getMessage()), LONGEST)


def clean_traceback(error: BaseException | None) -> str:
    """Return the end of an error's traceback, without anything that cannot be printed."""
    whole = "".join(traceback.format_exception(error)) if error is not None else ""
    lines = whole[-LONGEST_TRACEBACK:].rstrip("\n").split("\n")
    return "\n".join(_INDENT + plain(line) for line in lines)


class ConsoleFormatter(logging.Formatter):
    """Lines for people: time, level, event, sentence, and the fields that the sentence does not show.

    Of a library's record it shows the logger in place of an event.
    """

    def __init__(self) -> None:
        """Show the time as logging does."""
        super().__init__("%(asctime)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line; the traceback follows it."""
        event, fields = _event_of(record)
        name = event.name if event else record.name
        shown = event.shown if event else frozenset()
        more = (f" {key}={_quoted(value)}" for key, value in fields if key not in shown)
        return f"{record.asctime} {record.levelname} {name}: {record.message}{''.join(more)}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time` (UTC), `level`, `event`, `message`, `logger`, `process`, and fields.

    `process` is its id in the system. The event of a library's record is the library's name and `.log`. A
    traceback is in `traceback`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        event, fields = _event_of(record)
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Field] = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": event.name if event else f"{record.name.partition('.')[0]}.log",
            "message": record.getMessage(),
            "logger": record.name,
            "process": record.process,
        }
        line.update(fields if event else _task_fields(record))
        if record.exc_info:
            line["traceback"] = record.exc_text or clean_traceback(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


class _SafeHandler:
    """For a handler of logging: a record that cannot be formatted is one line as well, without its words."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. Raises nothing, for logging would then print the record as it came."""
        try:
            return str(super().format(record))  # type: ignore[misc]  # that of the handler behind it
        except Exception as error:  # noqa: BLE001 - a message whose arguments do not fit, or a repr that raises
            words = (f"a record of {plain(record.name)} cannot be formatted", type(error).__name__)
            failed = CleanRecord(record.name, record.levelno, record.pathname, 0, "%s: %s", words, None)
            return str(super().format(failed))  # type: ignore[misc]  # the same


class _StreamHandler(_SafeHandler, logging.StreamHandler[Any]):
    pass


class _FileHandler(_SafeHandler, logging.handlers.WatchedFileHandler):
    pass


def configure(level: str, form: str, *, libraries: int | None = None, logfile: str | None = None) -> None:
    """Log from this level up (DEBUG, INFO, WARNING, ERROR), in the form `console` or `json`.

    To standard error, or to a file that may be rotated. `libraries` is another level for all loggers but
    ours. Does nothing to a root logger that has handlers already.
    """
    clean_records()
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(make_handler(form, logfile))
        root.setLevel(level.upper() if libraries is None else libraries)
        if libraries is not None:
            logging.getLogger("worker").setLevel(level.upper())
    quiet_libraries()


def make_handler(form: str, logfile: str | None = None) -> logging.Handler:
    """Return a handler that writes `console` or `json` to a file, or to standard error."""
    handler = _FileHandler(logfile, encoding="utf-8") if logfile else _StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form.lower() == "json" else ConsoleFormatter())
    return handler


def clean_records() -> None:
    """Have all records of this process cleaned, and tracebacks of what ends it or one of its threads."""
    logging.setLogRecordFactory(CleanRecord)
    # Hooks that are set already, as pytest's are, stay.
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _report
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _report_thread


def quiet_libraries() -> None:
    """Raise the level of libraries that log too much."""
    lowest = logging.getLogger().level
    for name, level in QUIET.items():
        logging.getLogger(name).setLevel(max(level, lowest))


def _event_of(record: logging.LogRecord) -> tuple[LogEvent | None, Iterator[tuple[str, Field]]]:
    """Return a record's event and its fields that have a value; None and no fields of a library's."""
    event = getattr(record, "event", None)
    if not isinstance(event, LogEvent):
        return None, iter(())
    fields: Mapping[str, Field] = record.__dict__["fields"]
    return event, ((key, _clean(value)) for key, value in fields.items() if value is not None)


def _task_fields(record: logging.LogRecord) -> Iterator[tuple[str, Field]]:
    """Return what Celery gives to handlers with its records of tasks (`extra`)."""
    data = getattr(record, "data", None)
    if isinstance(data, Mapping):
        for theirs, ours in _OF_TASKS.items():
            if isinstance(data.get(theirs), str | int | float):
                yield ours, _clean(data[theirs])


def _clean(value: Field) -> Field:
    if isinstance(value, float):
        return round(value, 3)
    return shortened(plain(value), LONGEST_FIELD) if isinstance(value, str) else value


def _quoted(value: Field) -> str:
    text = str(value)
    is_plain = text and not any(sign.isspace() or sign in "\"'=" for sign in text)
    return text if is_plain else json.dumps(text, ensure_ascii=False)


def _report(kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    if logging.getLogger().handlers:
        PROCESS_CRASHED.log(log, exc_info=error)
    else:
        print(f"unexpected error:\n{clean_traceback(error)}", file=sys.stderr)  # noqa: T201 - there is no log


def _report_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None and not issubclass(arguments.exc_type, SystemExit):
        name = arguments.thread.name if arguments.thread is not None else "(unknown)"
        THREAD_ENDED.log(log, task=name, exc_info=arguments.exc_value)
