"""Looks now and then at what a fleet takes while it works: memory, and how much its integrations share."""

import threading
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import redis

from tests.fleet import Fleet
from worker.broker import keys

_EVERY = 1.0
_MB = 1 << 20


class Watch:
    """Looks until the `with` block ends."""

    def __init__(self, fleet: Fleet) -> None:
        """Look at the processes of this fleet."""
        self.shared_chunks = 0
        self._fleet = fleet
        self._memory: defaultdict[str, list[int]] = defaultdict(list)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()

    def report(self) -> dict[str, Any]:
        """Return megabytes of each role in the first and the last tenth of the time, and at the most.

        A role is all processes of it that ran, one after the other. `shared_chunks` is the most that there
        were.
        """
        return {
            "memory_mb": {role: _course(found) for role, found in sorted(self._memory.items())},
            "shared_chunks": self.shared_chunks,
        }

    def _run(self) -> None:
        while not self._over.wait(_EVERY):
            for name, process in tuple(self._fleet.processes.items()):
                # It may be killed at this moment; other systems have no such file.
                with suppress(OSError, StopIteration):
                    self._memory[name].append(_resident(process.pid))
            with suppress(redis.RedisError):
                self._look_at_redis()

    def _look_at_redis(self) -> None:
        self.shared_chunks = max(self.shared_chunks, int(self._fleet.client.hlen(keys.CHUNKS)))
        self._memory["redis"].append(int(self._fleet.client.info("memory")["used_memory"]) // _MB)


def _resident(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) // 1024


def _course(found: list[int]) -> dict[str, int]:
    some = max(1, len(found) // 10)
    return {"first": max(found[:some]), "last": max(found[-some:]), "peak": max(found)}
