"""Traces of OpenTelemetry: what the fleet knows of them stands behind this package.

Off, which is the default, nothing of OpenTelemetry's is imported here: `open_tracing` returns None, and all
that its callers do is to see that there is none.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.tracing.spans import Tracing

#: The names of our processes in traces, unless OTEL_SERVICE_NAME gives another one.
ROUTER, WORKER, API, PUBLISHER = "siem-router", "siem-worker", "siem-api", "siem-publisher"


@cache
def open_tracing(service: str, *, enabled: bool, begins: bool = False) -> "Tracing | None":
    """Begin to export spans as this service, once a process; None if tracing is off.

    With `begins`, traces may begin here, and the sampler of the environment says how many; else those are
    followed that were sampled before. Raises InvalidSetting for a variable `OTEL_…` that is wrong.
    """
    if not enabled:
        return None
    from worker.tracing.environment import is_disabled  # noqa: PLC0415 - nothing is imported while it is off
    from worker.tracing.provider import start_tracing  # noqa: PLC0415 - the same

    if is_disabled():
        return None
    _open.append(start_tracing(service, begins=begins))
    return _open[-1]


_open: "list[Tracing]" = []


def open_publishing(*, enabled: bool) -> bool:
    """Begin to export spans of publishers in this process, which is ours; return whether tracing is on."""
    tracing = open_tracing(PUBLISHER, enabled=enabled, begins=True)
    if tracing is not None:
        tracing.be_the_applications()
    return tracing is not None


@contextmanager
def closing_tracing() -> Iterator[None]:
    """Export what is left at the end."""
    try:
        yield
    finally:
        close_tracing()


def close_tracing() -> None:
    """Export what is left, for a moment; to end the process."""
    while _open:
        _open.pop().close()


def application_tracing() -> "Tracing":
    """Return the tracing of the application that we are a library of: its provider, its current context."""
    from worker.tracing.spans import tracing_of_application  # noqa: PLC0415 - nothing is imported while it is off

    return tracing_of_application()
