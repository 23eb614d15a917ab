"""What the benchmarks share: a fleet with production patience, a sink that counts, CPU seconds by role."""

import json
import os
import platform
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.fleet import Fleet, wait_until

#: The waits of production, not of the tests.
PATIENT: dict[str, Any] = {
    "SIEM_RETRY_BACKOFF": "2",
    "SIEM_RETRY_GRACE": "5",
    "SIEM_SEND_DEADLINE": "45",
    "SIEM_LEASE": "60",
    "SIEM_ORDER_LEASE": "30",
    "SIEM_SWEEP_INTERVAL": "2",
    "SIEM_CLAIM_IDLE": "30",
    "SIEM_RECORDER_LINGER": "0.1",
    "SIEM_WORKER_THREADS": "16",
    "SIEM_LOG_LEVEL": "WARNING",
}

_TICKS = os.sysconf("SC_CLK_TCK")


class Sink:
    """An HTTP Event Collector in a process of its own, which counts what it receives."""

    def __init__(self, directory: Path) -> None:
        """Start it on a free port."""
        self._port_file = directory / "sink.port"
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "worker.demo.splunk_receiver",
                "--port-file",
                str(self._port_file),
                "--count-only",
            ]
        )
        wait_until(self._port_file.exists, "the sink listens")
        self.base = f"http://127.0.0.1:{self._port_file.read_text().strip()}"
        self.url = f"{self.base}/services/collector/event"

    def events(self) -> int:
        """Return how many events it has received."""
        return self.counts()["events"]

    def counts(self) -> dict[str, int]:
        """Return its counts: events, requests, bytes."""
        with urllib.request.urlopen(f"{self.base}/counts") as answer:  # noqa: S310 - loopback, our own process
            counts: dict[str, int] = json.load(answer)
        return counts

    def __enter__(self) -> Self:
        """Stop it at the end of a `with`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.process.terminate()
        self.process.wait()


def cpu_seconds(pid: int) -> float:
    """Return user plus system seconds of a process (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def cpu_by_role(fleet: Fleet, sink: Sink) -> dict[str, float]:
    """Return the CPU seconds that each part has used so far."""
    pids = {role: process.pid for role, process in fleet.processes.items()}
    pids |= {"redis": fleet.server.pid, "sink": sink.process.pid, "publisher": os.getpid()}
    return {role: cpu_seconds(pid) for role, pid in pids.items()}


def hardware() -> dict[str, Any]:
    """Say on what the figures were measured."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
