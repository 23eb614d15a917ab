"""No route, and nothing that one depends on, runs in the threads that Starlette shares among everything."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import Mount

from tests.api.routes import NOTHING
from worker.api import app as api_app
from worker.api.pools import FairRoute
from worker.model.errors import SiemError
from worker.pages import app as pages_app
from worker.pages.sessions import NotSignedIn

ROUTERS = (*api_app.ROUTERS, *api_app.TOP, *pages_app.ROUTERS)
ROUTES = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]


def calls(dependant: Dependant) -> Iterator[Callable[..., Any]]:
    """Yield what is called for a route, itself included."""
    if dependant.call is not None:
        yield dependant.call
    for one in dependant.dependencies:
        yield from calls(one)


def test_a_route_waits_in_threads_of_its_kind() -> None:
    """One that waits for Redis, the database or a destination says where: `worker.api.pools`."""
    shared = {
        f"{route.name} {route.path}": waiting
        for route in ROUTES
        if (waiting := [call for call in calls(route.dependant) if not _is_async(call)])
    }

    assert len(ROUTES) > 40
    assert shared == {}


def test_a_route_without_a_known_caller_is_refused() -> None:
    """Its thread would be that of a tenant: without one, the first request would fail instead."""

    def show() -> None:
        """Show something."""

    with pytest.raises(TypeError, match=r"^/some/{name}: make it a coroutine, or let it take one of caller"):
        FairRoute("/some/{name}", show)


@pytest.mark.parametrize("kind", [SiemError, HTTPException, RequestValidationError, NotSignedIn])
def test_errors_are_answered_in_no_thread(kind: type[Exception]) -> None:
    """The pages keep what was typed meanwhile, in Redis."""
    api = api_app.create_app(NOTHING)
    pages_app.add_pages(api)
    pages = next(route.app for route in api.routes if isinstance(route, Mount) and not route.path)
    assert isinstance(pages, FastAPI)
    for app in (api, pages):
        assert all(_is_async(handler) for one, handler in app.exception_handlers.items() if one is kind)
    assert kind in pages.exception_handlers


def _is_async(call: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(getattr(call, "__call__", None))  # noqa: B004 - an instance of HTTPBearer
