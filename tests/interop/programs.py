"""Programs of others, as `.ci/peers` unpacks them, run by a test on loopback.

In comes a command that stays in the foreground; out comes a process that is ended by its id, and whose every
word is kept for the message of the test that fails.
"""

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.fleet import wait_until

PEERS = Path(__file__).parents[2] / ".peers"
_STOP_SECONDS = 15.0
_LAST_WORDS = 3000
#: Of the states of a TCP socket (Linux, include/net/tcp_states.h).
_LISTENS = "0A"


def unpacked(program: str) -> Path:
    """Find the program; where it is not, the test is skipped, and says how to get it."""
    for folder in ("sbin", "bin"):
        path = PEERS / "usr" / folder / program
        if path.is_file():
            return path
    pytest.skip(f"{program} is not here: run .ci/peers, which brings it")


def library_path() -> str:
    """Return what the loader needs to know (LD_LIBRARY_PATH) to find the programs' libraries."""
    return os.pathsep.join(sorted({str(library.parent) for library in PEERS.rglob("lib*.so.*")}))


class Program:
    """One process, which is ready once it listens on its ports and Unix sockets."""

    def __init__(
        self,
        command: Sequence[str | Path],
        directory: Path,
        *,
        tcp: Sequence[int] = (),
        udp: Sequence[int] = (),
        unix: Sequence[Path] = (),
        zone: str = "UTC",
    ) -> None:
        """Keep what to run, where its words go, and the ports on loopback and sockets it will listen on.

        `zone` is the TZ of its environment, as POSIX writes it, so that no time zone data is needed.
        """
        self.log = directory / "log"
        self._command = command
        self._tcp = tcp
        self._udp = udp
        self._unix = unix
        self._zone = zone
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it and wait until it listens. Raises AssertionError with its last words if it does not."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env={**os.environ, "LD_LIBRARY_PATH": library_path(), "TZ": self._zone},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_until(self._listens_or_ended, f"{self._command[0]} listens")
            self.check()
        except BaseException:
            self.stop()
            raise
        return self

    @property
    def pid(self) -> int:
        """The id of its process, while it runs."""
        assert self._process is not None
        return self._process.pid

    def check(self) -> None:
        """Raise AssertionError with its last words if it has ended."""
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"{self._command[0]} has ended:\n{self.last_words()}")

    def tell(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        """End it in good order, so that all it received stands in its files; nothing if it has ended."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def last_words(self) -> str:
        """Return the end of what it has printed."""
        return self.log.read_text(errors="replace")[-_LAST_WORDS:]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _listens_or_ended(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            return True
        # A connection is not made only to see whether something is there: rsyslog 8.2302 closes a descriptor
        # twice when a handshake fails, and may then write a log into the next connection.
        return (
            _ports("tcp", _LISTENS) >= set(self._tcp)
            and _ports("udp") >= set(self._udp)
            and all(path.is_socket() for path in self._unix)
        )


def sockets(protocol: str) -> list[list[str]]:
    """Return what Linux says of the sockets of `tcp` or `udp` on IPv4, column by column."""
    return [line.split() for line in Path(f"/proc/net/{protocol}").read_text().splitlines()[1:]]


def port_of(columns: Sequence[str]) -> int:
    """Return the port of our end of a socket."""
    return int(columns[1].partition(":")[2], 16)


def _ports(protocol: str, state: str = "") -> set[int]:
    return {port_of(columns) for columns in sockets(protocol) if columns[3].startswith(state)}
