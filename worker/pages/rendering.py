"""Templates, with their filters and icons: escaping is on, and an unknown name is an error.

Whatever text comes from an event, a name or a SIEM's answer goes through `plain` first: what cannot be
printed is shown by its code, so that nothing can hide or turn around what stands on a page.
"""

import time
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from fastapi import Request
from fastapi.responses import HTMLResponse
from markupsafe import Markup

from worker.destinations.registry import DESTINATIONS
from worker.model.time import in_utc
from worker.model.untrusted_text import plain, plain_lines
from worker.pages.form_tokens import FORM_FIELD
from worker.pages.sessions import CSRF_FIELD, CSRF_HEADER, HOME, SIGN_IN, User

_PATHS = {
    "healthy": "M3 8.5l3.2 3.2L13 5",
    "degraded": "M8 3v6M8 12v.5",
    "failing": "M4 4l8 8M12 4l-8 8",
    "paused": "M5.5 4v8M10.5 4v8",
    "idle": "M4 8h8",
    "unknown": "M5.8 6a2.2 2.2 0 1 1 3.4 1.8c-.8.5-1.2.9-1.2 1.7M8 12v.1",
    "disabled": "M8 3v5M5 4.6a5 5 0 1 0 6 0",
    "plus": "M8 3v10M3 8h10",
    "search": "M7 3a4 4 0 1 0 0 8a4 4 0 0 0 0-8M10 10l3.5 3.5",
    "brand": "M2 4l6-2.5L14 4v4.5c0 3-2.6 5-6 6.5c-3.4-1.5-6-3.5-6-6.5zM5 8l2.2 2.2L11 6",
}


def icon(name: str) -> Markup:
    """Draw one."""
    return Markup('<svg class="icon" viewBox="0 0 16 16" aria-hidden="true"><path d="{}"/></svg>').format(
        _PATHS[name]
    )


#: Nothing is loaded from elsewhere, nothing inline runs, and no site may put a page into a frame.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def render(
    request: Request, template: str, user: User | None = None, *, status: int = 200, **shown: Any
) -> HTMLResponse:
    """Answer with a page, or with the part of one that htmx asked for."""
    now_ms = time.time_ns() // 1_000_000
    text = (
        template_environment()
        .get_template(template)
        .render(user=user, now_ms=now_ms, path=request.url.path, **shown)
    )
    return HTMLResponse(text, status, HEADERS)


@cache
def template_environment() -> jinja2.Environment:
    """Return the templates of this package."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(str(files("worker.pages") / "templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: "" if value is None else value,
    )
    made.filters.update(
        plain=lambda text: plain("" if text is None else str(text)),
        plain_lines=plain_lines,
        **{word.__name__: word for word in (clock, duration, iso, latency_text)},
        **{word.__name__: word for word in (number, percent, size)},
    )
    made.filters["since_now"] = lambda text: ago(from_iso(text), time.time_ns() // 1_000_000)
    made.globals.update(
        ago=ago,
        due=due,
        icon=icon,
        destinations=DESTINATIONS,
        HOME=HOME,
        SIGN_IN=SIGN_IN,
        CSRF_FIELD=CSRF_FIELD,
        CSRF_HEADER=CSRF_HEADER,
        FORM_FIELD=FORM_FIELD,
    )
    return made


_STEPS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_SIZES = ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB"))
_SECOND = 1000
#: Below this share, a percentage needs its decimal.
_FINE = 0.1
#: From so many seconds on, their tenths are left out.
_TENS = 10


def ago(at_ms: int | None, now_ms: int) -> str:
    """Return how long ago that was: `4 min ago`; nothing for None.

    What another clock says is still to come has just happened: `now`.
    """
    if at_ms is None:
        return ""
    seconds = (now_ms - at_ms) / _SECOND
    return f"{duration(seconds)} ago" if seconds >= 1 else "now"


def due(at_ms: int, now_ms: int) -> str:
    """Return when what was planned for then happens: `in 20 s`, or `due now` once that is over."""
    seconds = (at_ms - now_ms) / _SECOND
    return f"in {duration(seconds)}" if seconds >= 1 else "due now"


def duration(seconds: float | None) -> str:
    """Write a time span by its largest unit: `3 d`, `2 h`, `45 s`, `80 ms`."""
    if seconds is None:
        return ""
    for unit, name in _STEPS:
        if seconds >= unit:
            return f"{seconds // unit:.0f} {name}"
    return f"{seconds * _SECOND:.0f} ms"


def latency_text(value: float) -> str:
    """Write a latency, given in ms, as finely as it matters: `80 ms`, `1.2 s`, `3 min`."""
    if value < _SECOND:
        return f"{value:.0f} ms"
    seconds = value / _SECOND
    return f"{seconds:.1f} s" if seconds < _TENS else duration(seconds)


def clock(at_ms: int | None) -> str:
    """Write a moment to the second, in UTC."""
    if at_ms is None:
        return ""
    return in_utc(at_ms).isoformat(sep=" ", timespec="seconds").replace("+00:00", " UTC")


def iso(at_ms: int) -> str:
    """Write a moment as RFC 3339 has it, for `<time>`."""
    return in_utc(at_ms).isoformat(timespec="milliseconds")


def from_iso(text: str) -> int:
    """Read a moment as RFC 3339 has it."""
    return round(datetime.fromisoformat(text).timestamp() * _SECOND)


def number(value: float | None) -> str:
    """Write a number with commas between thousands; one decimal below ten, if it has any."""
    if value is None:
        return ""
    if value == int(value) or value >= 10:  # noqa: PLR2004 - ten
        return f"{value:,.0f}"
    return f"{value:.1f}"


def count_text_for_page(number_of: int, one: str, many: str) -> str:
    """Write how many there are: `1 event waits`, `2,000 events wait`."""
    return f"{number_of:,} {one if number_of == 1 else many}"


def percent(rate: float | None) -> str:
    """Write a share, from 0 to 1, in percent."""
    if rate is None:
        return ""
    return f"{rate:.1%}" if 0 < rate < _FINE else f"{rate:.0%}"


def size(count: float) -> str:
    """Write a number of bytes."""
    for unit, name in _SIZES:
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count:.0f} B"
