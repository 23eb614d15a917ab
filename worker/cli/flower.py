"""`siem flower`: Celery's monitor Flower beside the fleet, behind a login, read-only, in words.

Uses Flower's own options, handlers and formatter; FLOWER_* in the environment sets what is not set here.
"""

import ast
import logging
import re
import signal
from typing import Any, TypeVar

import click
from flower.app import Flower
from flower.command import apply_env_options, extract_settings, setup_logging
from flower.options import default_options as options
from flower.urls import settings as handler_settings
from flower.views.broker import BrokerView
from flower.views.monitor import Metrics

from worker.cli.stores import configuration
from worker.integrations import destination_types
from worker.model.errors import InvalidSetting
from worker.model.listening import listening_refused
from worker.model.log_events import FLOWER_LISTENING
from worker.settings import Settings

log = logging.getLogger(__name__)

_T = TypeVar("_T")

#: Where FLOWER_* says nothing else: what a task came to, and how long a worker that has gone stays listed.
_COLUMNS, _OFFLINE_SECONDS = "name,state,kwargs,result,retries,received,worker", 60
#: The first text of an error as Celery writes it, also within `Retry(…)`: `DeliveryDead('1 dead letter')`.
_ERROR_TEXT = re.compile(r"""\(('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""")


@click.command()
@click.option("--without-login", is_flag=True, help="Let all who reach the port read; else one is required.")
def flower(*, without_login: bool) -> None:
    """Serve Flower, a view of Celery's tasks, workers and queues, at SIEM_FLOWER_HOST and SIEM_FLOWER_PORT.

    It is read-only and asks for the login of SIEM_FLOWER_BASIC_AUTH, or that of FLOWER_AUTH (OAuth; see
    Flower's documentation). Flower makes workers send an event for each step of each task.
    """
    config = configuration()
    options.tasks_columns, options.purge_offline_workers = _COLUMNS, _OFFLINE_SECONDS
    apply_env_options()
    login = config.flower_basic_auth.get_secret_value()
    if not login and not options.auth and not without_login:
        raise InvalidSetting(
            "SIEM_FLOWER_BASIC_AUTH", "is not set", "give user:password, or start it with --without-login"
        )
    _set_options(config, login)
    from worker.celery import app  # noqa: PLC0415 - needs the address of Redis, which --help does not

    extract_settings()
    setup_logging()
    _serve(Flower(capp=app, options=options, **handler_settings), config)


def _set_options(config: Settings, login: str) -> None:
    options.address, options.port = config.flower_host, config.flower_port
    options.url_prefix = config.flower_url_prefix.strip("/") or None
    options.basic_auth = [login] if login else []
    options.read_only = True
    options.format_task = in_words


def _serve(made: Flower, config: Settings) -> None:
    prefix = f"/{options.url_prefix}" if options.url_prefix else ""
    made.add_handlers(".*", [(f"{prefix}/broker", AllQueuesView), (f"{prefix}/metrics", PrivateMetrics)])
    try:
        port = made.start_http_server()
    except OSError as error:
        host, taken = config.flower_host, config.flower_port
        raise listening_refused("SIEM_FLOWER", host, taken, error, "give another one") from None
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: made.io_loop.add_callback_from_signal(made.io_loop.stop))
    FLOWER_LISTENING.log(log, host=config.flower_host, port=port)
    try:
        made.start()
    finally:
        made.stop()


class AllQueuesView(BrokerView):
    """The page of queues: those of all types, also while no worker consumes them."""

    def get_active_queue_names(self) -> list[str]:
        """Name them."""
        return list(destination_types())


class PrivateMetrics(Metrics):
    """Flower's metrics, which name workers and tasks, behind the same login as its pages."""

    def prepare(self) -> None:
        """Refuse who is not signed in."""
        if self.get_current_user() is None:
            self.send_error(401)


def in_words(task: Any) -> Any:
    """Have the pages show whose order a task was, and what it came to, whether it succeeded or not."""
    text = getattr(task, "exception", None) or getattr(task, "result", None) or ""
    if found := _ERROR_TEXT.search(text):
        text = found[1]
    task.result = _read(text, str) or text
    order = _read(task.kwargs or "", dict)
    if order:
        task.kwargs = ", ".join(f"{name} {value}" for name, value in order.items())
    return task


def _read(text: str, kind: type[_T]) -> _T | None:
    """Return what Celery wrote as Python writes it; None if it is something else, as what was cut."""
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return None
    return found if isinstance(found, kind) else None
