"""What is below the API's path and answered by no route: 404, or 405 with what can be done there instead."""

import re
from collections.abc import Mapping
from typing import Any

from starlette.types import Receive, Scope, Send

from worker.api.problems import Problem


class UnknownRoute:
    """An ASGI application that always raises a Problem."""

    def __init__(self, paths: Mapping[str, Mapping[str, Any]]) -> None:
        """Take the paths of an OpenAPI document, with their methods."""
        self._paths = [(_pattern(path), sorted(map(str.upper, methods))) for path, methods in paths.items()]

    async def __call__(self, scope: Scope, _receive: Receive, _send: Send) -> None:
        """Refuse the request."""
        methods = next((methods for path, methods in self._paths if path.fullmatch(scope["path"])), None)
        if methods is None:
            raise Problem(404, "there is nothing at this path", hint="see /openapi.json")
        allowed = ", ".join(methods)
        raise Problem(
            405,
            f"{scope['method']} cannot be done here",
            headers={"Allow": allowed},
            hint=f"use {' or '.join(methods)}",
        )


def _pattern(path: str) -> re.Pattern[str]:
    """Match what a path of OpenAPI stands for: `{id}` is anything but a slash."""
    parts = re.split(r"\{\w+\}", path)
    return re.compile("[^/]+".join(map(re.escape, parts)))
