"""Asks a process for its probes, as a kubelet or a balancer does."""

import http.client
import json
from contextlib import closing
from typing import Any


def ask(port: int, path: str) -> tuple[int, Any]:
    """Return the status and the document. Raises OSError while nothing answers there."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def status(port: int, path: str) -> int | None:
    """Return the status; None while nothing answers there."""
    try:
        return ask(port, path)[0]
    except (OSError, http.client.HTTPException):
        return None
