"""Every route that needs a key, as the application has them; and a request to each."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import httpx

from tests.api.conftest import OURS, PREFIX, Api
from worker.api.app import create_app

#: What the doors share, for an application of which nothing is asked but what it is.
NOTHING: Any = SimpleNamespace(outages=SimpleNamespace(dependencies=None))
#: Bodies that each route would at least begin to read, were its caller let in; `{}` for the others.
_BODIES: dict[str, Any] = {"/integrations/siem": {"type": "webhook", "url": "https://hook.example.com/in"}}


@dataclass(frozen=True)
class Door:
    """A method of a path below /api/v1, such as `/integrations/siem/{integration_id}`."""

    method: str
    path: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def ask(self, api: Api, *, role: str = "admin", tenant: str = OURS, **ids: str) -> Any:
        """Ask with these ids in the path; where none is given, with one that never was."""
        path = re.sub(r"\{(\w+)(:\w+)?\}", lambda found: ids.get(found[1], "never"), self.path)
        body = {} if self.method == "GET" else {"json": _BODIES.get(self.path, {})}
        return api.ask(self.method, path, role, tenant, **body)

    def send(self, http: httpx.Client, url: str, headers: dict[str, str]) -> httpx.Response:
        """Ask an API at that address with these headers, for what never was."""
        path = re.sub(r"\{(\w+)(:\w+)?\}", "never", self.path)
        body = {} if self.method == "GET" else {"json": _BODIES.get(self.path, {})}
        return http.request(self.method, url + PREFIX + path, headers=headers, **body)


def doors(api: Api) -> list[Door]:
    """Return them all, in their order."""
    return list(_doors(create_app(api.resources).openapi()["paths"]))


def doors_in(description: dict[str, Any]) -> list[Door]:
    """Return all that an OpenAPI document tells of."""
    return list(_doors(description["paths"]))


def _doors(paths: dict[str, dict[str, Any]]) -> Iterator[Door]:
    for path, methods in paths.items():
        if path.startswith(PREFIX):
            yield from (Door(method.upper(), path.removeprefix(PREFIX)) for method in methods)
