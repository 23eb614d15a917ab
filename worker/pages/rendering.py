"""From a template to an answer: escaping is on, and a name that is not there is an error.

Whatever text comes from an event, a name or a SIEM's answer goes through `plain` first: what cannot be
printed is shown by its code, so that nothing can hide or turn around what stands on a page.
"""

import time
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from fastapi import Request
from fastapi.responses import HTMLResponse

from worker.model.untrusted_text import plain, plain_lines
from worker.pages import words
from worker.pages.form_tokens import FORM_FIELD
from worker.pages.icons import icon
from worker.pages.sessions import CSRF_FIELD, CSRF_HEADER, HOME, SIGN_IN, User

#: Nothing is loaded from elsewhere, nothing inline runs, and nobody may put a page into a frame.
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
        **{word.__name__: word for word in (words.clock, words.duration, words.iso, words.latency_text)},
        **{word.__name__: word for word in (words.number, words.percent, words.size)},
    )
    made.filters["since_now"] = lambda text: words.ago(words.from_iso(text), time.time_ns() // 1_000_000)
    made.globals.update(
        ago=words.ago,
        due=words.due,
        icon=icon,
        HOME=HOME,
        SIGN_IN=SIGN_IN,
        CSRF_FIELD=CSRF_FIELD,
        CSRF_HEADER=CSRF_HEADER,
        FORM_FIELD=FORM_FIELD,
    )
    return made
