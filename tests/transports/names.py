"""A name whose addresses a test changes, and lifetimes of connections that do not end."""

import socket
import threading
from typing import Any

import pytest

from worker.transports.guard import Guard, Lifetime

HOST = "siem.example.com"


class MovableName:
    """Stands in for the system's resolver: every name leads to `ips`, or fails by `trouble`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *ips: str) -> None:
        """Answer for the system from now on."""
        self.ips = list(ips)
        self.trouble: OSError | None = None
        self.hangs_until: threading.Event | None = None
        self.asked = 0
        monkeypatch.setattr(socket, "getaddrinfo", self._look_up)

    def _look_up(self, _host: str, port: int, **options: Any) -> list[Any]:
        if options.get("flags"):
            raise socket.gaierror(socket.EAI_NONAME, "not a number")
        self.asked += 1
        if self.hangs_until is not None:
            self.hangs_until.wait()
        if self.trouble is not None:
            raise self.trouble
        return [_row(ip, port, options["type"]) for ip in self.ips]


def _row(ip: str, port: int, kind: socket.SocketKind) -> tuple[Any, ...]:
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    target = (ip, port, 0, 0) if ":" in ip else (ip, port)
    return (family, kind, 0, "", target)


def endless(ip: str) -> Lifetime:
    """Give a connection a lifetime that does not end by itself."""
    return Lifetime(Guard(()), HOST, 443, ip, float("inf"))
