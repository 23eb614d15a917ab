"""Real servers behind real sentinels: a master, its replicas, and three that watch them.

In comes a directory of the test; out comes the address of the sentinels, and the master to be ended.
"""

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from tests.embedded_servers import VALKEY, RunningServer, ServerDied, start_server
from tests.ports import free_port

SERVICE = "mymaster"
PASSWORD = "of-the:servers@"
SENTINEL_PASSWORD = "of-the-sentinels"
#: How long a master must be silent to be given up, in milliseconds.
DOWN_AFTER_MS = 1000

_SENTINELS = 3
_START_SECONDS = 30.0


class WatchedServers:
    """A master and two replicas, watched by three sentinels; everything ends with the `with` block."""

    def __init__(self, directory: Path) -> None:
        """Start all, and wait until the sentinels know each other and the replicas."""
        self.servers = [_server(directory / "server-0", ())]
        master = self.servers[0]
        for number in (1, 2):
            self.servers.append(
                _server(directory / f"server-{number}", ("--replicaof", "127.0.0.1", str(master.port)))
            )
        self._sentinels = [_Sentinel(directory / f"sentinel-{n}", master.port) for n in range(_SENTINELS)]
        _wait(lambda: all(one.knows_all() for one in self._sentinels), "the sentinels know each other")
        _wait(self._has_replicas, "the replicas follow the master")

    @property
    def url(self) -> str:
        """The value of SIEM_REDIS_URL."""
        hosts = ",".join(f"127.0.0.1:{one.port}" for one in self._sentinels)
        password = "of-the%3Aservers%40"
        return f"sentinel://:{password}@{hosts}/0?service={SERVICE}&sentinel_password={SENTINEL_PASSWORD}"

    @property
    def master(self) -> RunningServer:
        """The server that the first sentinel names."""
        port = int(self._sentinels[0].master()["port"])
        return next(one for one in self.servers if one.port == port)

    def _has_replicas(self) -> bool:
        with self.servers[0].client() as client:
            return int(client.info("replication")["min_slaves_good_slaves"]) == len(self.servers) - 1

    def kill_a_sentinel(self) -> None:
        """End the sentinel that every client asks first; two are a majority of three."""
        self._sentinels.pop(0).stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for sentinel in self._sentinels:
            sentinel.stop()
        for server in self.servers:
            server.kill()


class _Sentinel:
    """One process that watches the service."""

    def __init__(self, directory: Path, master_port: int) -> None:
        directory.mkdir(parents=True)
        self.port = free_port()
        configuration = directory / "sentinel.conf"
        configuration.write_text("\n".join(_sentinel_lines(directory, self.port, master_port)) + "\n")
        with (directory / "sentinel.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(VALKEY), str(configuration), "--sentinel"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def master(self) -> dict[str, Any]:
        """Say what it knows of the master."""
        with redis.Redis(port=self.port, password=SENTINEL_PASSWORD, decode_responses=True) as client:
            found: dict[str, Any] = client.sentinel_master(SERVICE)
        return found

    def knows_all(self) -> bool:
        """Say whether it knows both replicas and both other sentinels. Raises ServerDied."""
        if self._process.poll() is not None:
            raise ServerDied
        try:
            found = self.master()
        except redis.RedisError:
            return False
        return int(found["num-slaves"]) >= 2 and int(found["num-other-sentinels"]) == _SENTINELS - 1

    def stop(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._process.wait()


def _server(directory: Path, extra: Sequence[str]) -> RunningServer:
    options = ("--masterauth", PASSWORD, "--min-replicas-to-write", "1", "--min-replicas-max-lag", "10")
    return start_server(VALKEY, directory, password=PASSWORD, extra=(*options, *extra))


def _sentinel_lines(directory: Path, port: int, master_port: int) -> list[str]:
    return [
        "bind 127.0.0.1",
        f"port {port}",
        f'dir "{directory}"',
        f"requirepass {SENTINEL_PASSWORD}",
        f"sentinel sentinel-pass {SENTINEL_PASSWORD}",
        f"sentinel monitor {SERVICE} 127.0.0.1 {master_port} 2",
        f"sentinel auth-pass {SERVICE} {PASSWORD}",
        f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}",
        f"sentinel failover-timeout {SERVICE} 5000",
    ]


def _wait(condition: Any, what: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise ServerDied(what)
        time.sleep(0.05)  # polls other processes, which cannot signal this one
