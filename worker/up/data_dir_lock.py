"""The right to use a data directory: one `siem up` at a time, and never beside an orphaned server.

The lock is the kernel's (flock), so it ends with its last holder, however that dies. The embedded server
inherits it: as long as one writes the data, no other can.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from worker.model.errors import AlreadyRunningError


class DataDirLock:
    """A held data directory. `descriptor` is to be inherited by the process that writes there."""

    def __init__(self, directory: Path) -> None:
        """Take the directory, making it if need be; raises AlreadyRunningError, naming who holds it."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self.descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holders = self._read()
            self.close()
            raise AlreadyRunningError(_who_holds(directory, *holders)) from None
        self._write(os.getpid())

    def note_server(self, pid: int) -> None:
        """Write down the server that inherited the lock, so that its orphan can be named."""
        self._write(os.getpid(), pid)

    def close(self) -> None:
        """Let go; the directory is free once the server, too, has ended."""
        os.close(self.descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _write(self, *pids: int) -> None:
        text = "".join(f"{pid}\n" for pid in pids).encode()
        os.pwrite(self.descriptor, text, 0)
        os.ftruncate(self.descriptor, len(text))

    def _read(self) -> tuple[int, int]:
        """Read the pids of `siem up` and of its server; 0 for what is not known."""
        pids = [int(word) for word in os.pread(self.descriptor, 100, 0).split() if word.isdigit()]
        up, server, *_ = [*pids, 0, 0]
        return up, server


def is_alive(pid: int) -> bool:
    """Whether a process of that id runs on this machine, be it ours or not."""
    if pid <= 0:
        return False
    with suppress(ProcessLookupError):
        try:
            os.kill(pid, 0)
        except PermissionError:
            return True
        return True
    return False


def _who_holds(directory: Path, up: int, server: int) -> str:
    if not is_alive(up) and is_alive(server):
        return (
            f"the server of an earlier `siem up`, which was killed, still writes to {directory} "
            f"(pid {server}): end it with `kill {server}`, then start again"
        )
    return (
        f"`siem up` already runs with the data in {directory} (pid {up}): end it with Ctrl-C or `kill {up}`, "
        "or set SIEM_DATA_DIR to another directory to run a second one beside it"
    )
