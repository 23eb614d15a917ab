"""What the benchmarks share: the waits of production, a sink that counts, CPU of processes, how to end."""

import os
import platform
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, NoReturn

from sqlalchemy import text

from tests.demo.running import Running, starter
from tests.fleet import Fleet
from worker.settings import Settings

#: The waits of production, not of the tests.
PATIENT: dict[str, Any] = {
    "SIEM_RETRY_BACKOFF": "2",
    "SIEM_RETRY_GRACE": "5",
    "SIEM_SEND_DEADLINE": "45",
    "SIEM_LEASE": "60",
    "SIEM_ORDER_LEASE": "30",
    "SIEM_SWEEP_INTERVAL": "2",
    "SIEM_CLAIM_IDLE": "30",
    "SIEM_RECORDER_LINGER": str(Settings.model_fields["recorder_linger"].default),
    "SIEM_WORKER_THREADS": "16",
    "SIEM_LOG_LEVEL": "WARNING",
}

_TICKS = os.sysconf("SC_CLK_TCK")


def end_on_sigterm() -> None:
    """From now on SIGTERM leaves all blocks, and these end the processes that they have started."""
    signal.signal(signal.SIGTERM, leave_blocks)


def leave_blocks(number: int, _frame: object) -> NoReturn:
    """Exit because of a signal: `timeout` sends SIGTERM, and an alarm says that a run took too long."""
    signal.alarm(0)
    sys.exit(f"ended by {signal.Signals(number).name}")


def counting_splunk(directory: Path) -> AbstractContextManager[Running]:
    """Start an HTTP Event Collector that counts what it receives and reads nothing."""
    return starter("splunk_receiver", directory / "sink.port")("--count-only")


def tree_cpu_seconds(pid: int) -> float:
    """Return user plus system seconds of a process and of all below it, those that have ended included.

    Redis rewrites its append-only file in a child, and PostgreSQL has a process for each connection (Linux).
    """
    stats = _stats()
    ticks = sum(sum(map(int, stats[one][11:15])) for one in _tree(stats, pid))
    return ticks / _TICKS


def tree(pid: int) -> list[int]:
    """Return a process and all below it that live (Linux)."""
    return _tree(_stats(), pid)


def _tree(stats: Mapping[int, Sequence[str]], pid: int) -> list[int]:
    below: defaultdict[int, list[int]] = defaultdict(list)
    for child, fields in stats.items():
        below[int(fields[1])].append(child)
    found = [pid]
    for one in found:
        found += below[one]
    return found


def running_cpu_seconds(pid: int) -> float:
    """Return the seconds for which the threads of a process that live now have run so far (Linux).

    To the nanosecond: a process at rest uses less in a second than the ticks of `tree_cpu_seconds` show.
    """
    used = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            used += int(path.read_text().split()[0])
    return used / 1e9


def _stats() -> dict[int, list[str]]:
    """Read what Linux says of each process, from the state on (proc_pid_stat(5))."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            found[int(path.parent.name)] = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
    return found


def peak_mb(pid: int) -> int:
    """Return the most memory that a process has had resident, in megabytes (Linux)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [peak] = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return round(int(peak) * 1024 / 1e6)


def recorded(fleet: Fleet, since_ms: int = 0) -> int:
    """Count what is delivered or dead, cheaply; of the minutes that begin at `since_ms` or later.

    To ask the ledger for all of its rows would slow what is measured.
    """
    time.sleep(0.05)  # between two looks of a wait: to look more often would burden what is measured
    statement = "SELECT coalesce(sum(delivered + dead), 0) FROM minute_counts WHERE minute_ms >= :since"
    with fleet.engine.connect() as connection:
        return int(connection.execute(text(statement), {"since": since_ms}).scalar_one())


def hardware() -> dict[str, Any]:
    """Say on what the figures were measured."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
