"""What Celery's worker logs of a lost Redis: one line when it is lost, and one when it is back.

By itself it logs every try, warns of a default of a release to come, and calls an acknowledgement that came
too late critical, with a traceback: that order is issued again, and finds that its batch is settled.
"""

import logging
import threading
import time

#: The loggers through which Celery speaks of its connection.
LOGGERS = (
    "celery.worker.consumer.consumer",
    "celery.worker.consumer.connection",
    "celery.worker.request",
    "py.warnings",
)

log = logging.getLogger(__name__)

_LOSSES = ("consumer: Connection to broker lost", "consumer: Cannot connect to")
_BACK = "Connected to"
_ECHOES = (
    "Couldn't ack",
    "Couldn't reject",
    "Frequent restarts detected",
    "Skipping prefetch count reduction",
    "Temporarily reducing the prefetch count",
    "Resuming normal operations following a restart",
)
#: It would cancel deliveries under way, which a pool of threads cannot.
_DEFAULT_TO_COME = "worker_cancel_long_running_tasks_on_connection_loss"


class ConnectionNews(logging.Filter):
    """Lets through that Redis was lost and that it is back, once each, in our words."""

    def __init__(self) -> None:
        """Begin with a connection of which nothing is known."""
        super().__init__()
        self._lock = threading.Lock()
        self._lost_at: float | None = None
        self._by_task = False

    def missed(self, error: Exception) -> None:
        """Note that a task could not reach Redis: the first of them says so, unless the consumer has."""
        with self._lock:
            if self._lost_at is None:
                self._lost_at, self._by_task = time.monotonic(), True
                log.error("%s", _loss(str(error)))

    def answered(self) -> None:
        """Note that Redis has answered a task; whether the consumer has it back, that one says itself."""
        with self._lock:
            if self._lost_at is not None and self._by_task:
                log.warning("%s", self._return(self._lost_at))

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether to log the record; reword it if it is news."""
        text = record.getMessage()
        with self._lock:
            if text.startswith(_LOSSES):
                return self._is_first_loss(record, text)
            if text.startswith(_BACK):
                return self._is_return(record)
        return not text.startswith(_ECHOES) and _DEFAULT_TO_COME not in text

    def _is_first_loss(self, record: logging.LogRecord, text: str) -> bool:
        self._by_task = False
        if self._lost_at is not None:
            return False
        self._lost_at = time.monotonic()
        reason = (
            text.removeprefix(_LOSSES[0]).partition("...")[2].removeprefix(" (").removesuffix(")") or text
        )
        reason = reason.partition(" : <")[0]  # where redis-py begins to list how it connects
        _reword(record, logging.ERROR, _loss(reason))
        return True

    def _is_return(self, record: logging.LogRecord) -> bool:
        if self._lost_at is not None:
            _reword(record, logging.WARNING, self._return(self._lost_at))
        return True

    def _return(self, lost_at: float) -> str:
        self._lost_at, self._by_task = None, False
        return f"Redis is back after {time.monotonic() - lost_at:.1f} s"


def install() -> ConnectionNews:
    """Have Celery's worker in this process speak so; return whom its tasks tell of Redis."""
    news = ConnectionNews()
    for name in LOGGERS:
        logging.getLogger(name).addFilter(news)
    return news


def _loss(reason: str) -> str:
    return f"lost Redis: {' '.join(reason.split())}; trying again until it is back"


def _reword(record: logging.LogRecord, level: int, text: str) -> None:
    record.levelno, record.levelname = level, logging.getLevelName(level)
    record.msg, record.args, record.exc_info = text, (), None
