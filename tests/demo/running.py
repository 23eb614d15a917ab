"""Starts the receiver of the demonstration as a program, and speaks to it."""

import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

PATH = "/services/collector/event"


@dataclass(frozen=True, slots=True)
class Running:
    """A receiver in its own process."""

    process: subprocess.Popen[str]
    port: int

    @property
    def base_url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def post(self, body: bytes, **headers: str) -> requests.Response:
        """Send a body; underscores in the names of headers stand for hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.post(self.base_url + PATH, data=body, headers=named, timeout=10)

    def counts(self) -> dict[str, Any]:
        """Ask what came."""
        return dict(requests.get(self.base_url + "/counts", timeout=10).json())

    def exchange(self, sent: bytes) -> bytes:
        """Send raw bytes, and return what comes until the receiver hangs up."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as client:
            client.sendall(sent)
            return b"".join(iter(lambda: client.recv(65536), b""))


#: What the fixture `start` gives: call it with options of the command line.
Start = Callable[..., AbstractContextManager[Running]]


def launch(port_file: Path, *options: str) -> subprocess.Popen[str]:
    """Start the program."""
    command = [sys.executable, "-W", "error", "-m", "worker.demo.receiver", "--port-file", str(port_file)]
    return subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)


def wait_for_port(process: subprocess.Popen[str], port_file: Path) -> int:
    """Return the port once the file is there; the process may take ten seconds."""
    for _ in range(200):
        if port_file.exists():
            return int(port_file.read_text())
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
        break
    raise AssertionError(f"the receiver did not come up, exit code {process.poll()}")
