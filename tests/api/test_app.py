"""What no route answers, with the pages beside the API as `siem api` has them."""

import asyncio

import httpx
import pytest
from fastapi import FastAPI

from tests.api.conftest import Api
from worker.api.app import create_app
from worker.pages.app import add_pages


@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("DELETE", "/api/v1/event-types", 405, "GET"),
        ("PUT", "/api/v1/integrations/siem", 405, "GET, POST"),
        ("TRACE", "/api/v1/integrations/siem/int_1", 405, "DELETE, GET, PATCH"),
        ("GET", "/api/v1/integrations/siem/int_1/pause", 405, "POST"),
        ("GET", "/api/v1/nothing", 404, None),
        ("GET", "/api/v1/integrations/siem/", 404, None),
    ],
)
def test_it_is_a_problem(api: Api, method: str, path: str, status: int, allowed: str | None) -> None:
    """Who asks for what cannot be done reads what can; no one is led to a page."""
    app = create_app(api.resources)
    add_pages(app)
    answer = asyncio.run(ask(app, method, path))

    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers.get("Allow") == allowed
    assert answer.json()["hint"]


async def ask(app: FastAPI, method: str, path: str) -> httpx.Response:
    """Ask an application without a server in between."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        return await client.request(method, path)
