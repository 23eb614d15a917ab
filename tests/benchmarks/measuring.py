"""What the benchmarks share: the waits of production, a sink that counts, CPU seconds by role."""

import os
import platform
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from tests.demo.running import Running, starter
from tests.fleet import Fleet

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


def counting_splunk(directory: Path) -> AbstractContextManager[Running]:
    """Start an HTTP Event Collector that counts what it receives and reads nothing."""
    return starter("splunk_receiver", directory / "sink.port")("--count-only")


def cpu_seconds(pid: int) -> float:
    """Return user plus system seconds of a process (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def cpu_by_role(fleet: Fleet, sink: Running) -> dict[str, float]:
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
