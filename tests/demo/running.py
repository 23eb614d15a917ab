"""Starts receivers of the demo as programs, and speaks to them: for tests of them, and for benchmarks."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

PATH = "/services/collector/event"


@dataclass(frozen=True, slots=True)
class Running:
    """A receiver in its own process; where it takes events, and where it tells its counts."""

    process: subprocess.Popen[str]
    port: int
    counts_port: int

    @property
    def base_url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Where Splunk takes events; a webhook takes them anywhere."""
        return self.base_url + PATH

    def post(self, body: bytes, **headers: str) -> requests.Response:
        """Send a body; underscores in the names of headers stand for hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.post(self.url, data=body, headers=named, timeout=10)

    def counts(self) -> dict[str, Any]:
        """Ask what came, cheaply: a benchmark asks while it measures."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.counts_port}/counts", timeout=10) as answer:
            return dict(json.load(answer))

    def wait_for(self, count: int, field: str) -> dict[str, Any]:
        """Ask what came until it is so much; fails after ten seconds."""
        deadline = time.monotonic() + 10
        while (counts := self.counts())[field] < count:
            assert time.monotonic() < deadline, f"{field} is not {count}: {counts}"
        return counts

    def exchange(self, sent: bytes) -> bytes:
        """Send raw bytes, and return what comes until the receiver hangs up."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as client:
            client.sendall(sent)
            return b"".join(iter(lambda: client.recv(65536), b""))


#: What the fixture `start` and its like give: call it with options of the command line.
Start = Callable[..., AbstractContextManager[Running]]


def starter(program: str, port_file: Path) -> Start:
    """Return what starts a receiver with options and stops it at the end of its `with` block."""

    @contextmanager
    def started(*options: str) -> Iterator[Running]:
        with launch(port_file, *options, program=program) as process:
            try:
                ports = wait_for_ports(process, port_file)
                yield Running(process, ports[0], ports[-1])
            finally:
                process.terminate()

    return started


def launch(port_file: Path, *options: str, program: str = "splunk_receiver") -> subprocess.Popen[str]:
    """Start a program of the demonstration."""
    command = [sys.executable, "-W", "error", "-m", f"worker.demo.{program}", "--port-file", str(port_file)]
    return subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)


def wait_for_ports(process: subprocess.Popen[str], port_file: Path) -> list[int]:
    """Return the ports once the file is there; the process may take ten seconds."""
    for _ in range(200):
        if port_file.exists():
            return [int(line) for line in port_file.read_text().splitlines()]
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
        break
    raise AssertionError(f"the receiver did not come up, exit code {process.poll()}")
