"""Counts the requests that one process of the API has answered, and how long they took, for `/metrics`.

Requests are named by the template of their route, never by their path: there are as many templates as routes,
and a client chooses its paths. Connections that are turned away before a request is read are no requests
(`siem_api_refused_total` counts them).
"""

import re
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker.model.histograms import WAIT_BUCKETS, Histogram, bounds_in_ms

#: The route of what has none, the method of what is none of HTTP's, the status of what was not answered.
OTHER, NO_STATUS = "other", "none"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
#: What every route may answer, and alerts are about: there from the beginning.
_FAILURES = ("429", "500", "503")
_BOUNDS_MS = bounds_in_ms(WAIT_BUCKETS)
#: What a placeholder of this ending stands for.
_WILD = {"path}": ".*"}

#: A route, a method and a status.
Answer = tuple[str, str, str]


class RequestCounts:
    """Counts in one thread, and is read by others."""

    def __init__(self) -> None:
        """Begin without routes: what is counted is then of none."""
        self._lock = threading.Lock()
        self._answers: Counter[Answer] = Counter()
        self._buckets: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}
        self._methods: dict[str, set[str]] = {}
        self._patterns: list[tuple[re.Pattern[str], str]] = []

    def add_routes(self, routers: Iterable[APIRouter], prefix: str = "") -> None:
        """Know the routes of these routers, in the order in which they are tried."""
        for route in chain.from_iterable(router.routes for router in routers):
            if isinstance(route, APIRoute):
                self.add_route(prefix + route.path, route.methods or ())

    def add_route(self, template: str, methods: Iterable[str] = ("GET",)) -> None:
        """Know one more: `{id}` stands for anything but a slash, `{path:path}` for anything."""
        if template not in self._methods:
            self._patterns.append((_pattern(template), template))
        self._methods.setdefault(template, set()).update(methods)

    def note(self, scope: Scope, status: str, seconds: float) -> None:
        """Count a request that has ended."""
        route = self._route_of(scope["path"])
        method = scope["method"] if scope["method"] in _METHODS else OTHER
        with self._lock:
            self._answers[route, method, status] += 1
            buckets = self._buckets.setdefault(route, [0] * (len(_BOUNDS_MS) + 1))
            buckets[bisect_left(_BOUNDS_MS, seconds * 1000)] += 1
            self._seconds[route] = self._seconds.get(route, 0.0) + seconds

    def answers(self) -> dict[Answer, int]:
        """Return how many requests had each answer; with the failures that none had yet."""
        known = {
            (route, method, status): 0
            for route, methods in self._methods.items()
            for method in methods
            for status in _FAILURES
        }
        with self._lock:
            return known | self._answers

    def times(self) -> Mapping[str, Histogram]:
        """Return how long the requests of each route took, those that had none included."""
        known = {route: Histogram.empty(len(_BOUNDS_MS)) for route in self._methods}
        with self._lock:
            return known | {
                route: Histogram(tuple(counts), self._seconds[route])
                for route, counts in self._buckets.items()
            }

    def _route_of(self, path: str) -> str:
        # By the path: what is refused at the door has no route yet.
        return next((template for pattern, template in self._patterns if pattern.fullmatch(path)), OTHER)


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"(\{\w+(?::path)?\})", template)
    return re.compile(
        "".join(_WILD.get(one[-5:], "[^/]+") if one[:1] == "{" else re.escape(one) for one in parts)
    )


class MeasuredRequests:
    """ASGI middleware: the outermost, so that what others refuse counts as well."""

    def __init__(self, app: ASGIApp, counts: RequestCounts) -> None:
        """Wrap the application."""
        self._app = app
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = NO_STATUS
        began = time.perf_counter()

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        finally:
            self._counts.note(scope, status, time.perf_counter() - began)
