"""The API and the pages of a fleet, and those who come to their door: by whole requests, and by halves."""

import json
import socket
from contextlib import ExitStack, suppress
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from tests.pages.conftest import HOME, OURS, THEIRS, Site
from worker.model.api_keys import Role

EVENT = {"id": "evt_1", "type": "policy.deny", "timestamp": "2026-11-22T10:11:12Z"}


def ask(
    site: Site, method: str, path: str, *, tenant: str = THEIRS, role: Role = Role.ADMIN, **more: Any
) -> int:
    """Send a whole request over a connection of its own; return the status."""
    headers = {"Authorization": f"Bearer {site.keys[tenant, role]}", **more.pop("headers", {})}
    with httpx.Client(trust_env=False, timeout=more.pop("timeout", 30)) as http:
        return http.request(method, site.url + path, headers=headers, **more).status_code


def publish(site: Site, size: int = 0, **more: Any) -> int:
    """Publish an event in a body of at least so many bytes; return the status."""
    body = json.dumps(EVENT).ljust(size)
    headers = {"Content-Type": "application/json", **more.pop("headers", {})}
    return ask(site, "POST", "/api/v1/events", content=body, headers=headers, **more)


def everything_answers(site: Site, tenant: str = THEIRS) -> dict[str, int]:
    """Ask for whatever another tenant may want; return the statuses, which come while the attack lasts."""
    return {
        "readyz": ask(site, "GET", "/readyz"),
        "metrics": ask(site, "GET", "/metrics"),
        "events": publish(site, tenant=tenant),
        "list": ask(site, "GET", "/api/v1/integrations/siem", tenant=tenant),
        "page": len(site.visitor(Role.ADMIN, tenant).get(HOME).text) and 200,
    }


class SlowHost:
    """Takes connections and never says a word; `hangs` counts those that wait. Hangs up when it is closed."""

    def __init__(self) -> None:
        """Listen."""
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.settimeout(0)
        self._taken = ExitStack()
        self.hangs = 0

    @property
    def url(self) -> str:
        """The address of a webhook there."""
        return f"https://127.0.0.1:{self._listener.getsockname()[1]}/in"

    def take(self) -> int:
        """Take all that have come; return how many have."""
        try:
            while True:
                self._taken.enter_context(self._listener.accept()[0])
                self.hangs += 1
        except BlockingIOError:
            return self.hangs

    def __enter__(self) -> Self:
        """Do nothing more."""
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up."""
        self._taken.close()
        self._listener.close()


def connected(site: Site, source: str = "127.0.0.1") -> socket.socket:
    """Connect from an address of this machine."""
    where = urlsplit(site.url)
    assert where.hostname is not None
    assert where.port is not None
    return socket.create_connection((where.hostname, where.port), timeout=20, source_address=(source, 0))


def half_sent(
    site: Site, *, length: int, sent: int, tenant: str = OURS, role: Role = Role.PUBLISH_ONLY
) -> socket.socket:
    """Begin to publish a body of so many bytes, and stop after `sent` of them."""
    key = site.keys[tenant, role]
    head = f"POST /api/v1/events HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    connection = connected(site)
    with suppress(ConnectionError):  # it may be turned away at once
        connection.sendall(head.encode() + b" " * sent)
    return connection


def answer_of(connection: socket.socket) -> bytes:
    """Return what was answered, to its end; nothing if the connection was cut."""
    received = bytearray()
    try:
        while piece := connection.recv(65_536):
            received += piece
    except ConnectionError:
        pass
    return bytes(received)
