"""Starts `siem` and `celery` in forks of a process that has imported what they need.

Imports take most of a start, and a run of the tests starts thousands. Such a process has the arguments, the
environment, folder and files that it was given, and a session of its own; it begins where the script
in .venv/bin begins. As it ends, its threads and `atexit` functions come to their end, but modules are not
taken apart. So it shows neither whether a process that starts cold can import all that, nor how the
interpreter ends: the tests of `siem up`, of commands, images and installations start cold.

In comes, on a socket, a document and the files; out goes the id of the process, later its exit status. What
has ended stays a zombie until its status is asked for, as any child: no other process gets its id before.
"""

import atexit
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any, TypeAlias

#: Without `worker.celery`, which reads the settings as it is imported.
_WARM = (
    *("celery.__main__", "celery.app.amqp", "celery.app.control", "celery.app.events", "celery.app.log"),
    *("celery.apps.worker", "celery.bin.celery", "celery.bin.control", "celery.bin.worker"),
    *("celery.concurrency.thread", "celery.fixups.django", "celery.worker.autoscale"),
    *("celery.worker.components", "celery.worker.consumer", "celery.worker.strategy", "kombu.pidbox"),
    *("alembic.operations", "alembic.runtime.migration", "sqlalchemy.dialects.sqlite"),
    *("uvicorn.loops.auto", "uvicorn.protocols.http.auto", "uvicorn.lifespan.on"),
    *("worker.broker.celery_channel", "worker.broker.celery_consumer", "worker.broker.celery_log"),
    *("worker.broker.celery_probes", "worker.broker.celery_worker"),
    *("worker.cli.api", "worker.cli.dead_letters", "worker.cli.deliveries", "worker.cli.health"),
    *("worker.cli.integrations", "worker.cli.processes", "worker.cli.reports", "worker.cli.status"),
    *("worker.destinations.splunk_hec.sender", "worker.destinations.syslog_cef.sender"),
    *("worker.destinations.webhook.sender", "worker.pipeline.delivery", "worker.pipeline.fair_delivery"),
    *("worker.pipeline.task_report", "worker.transports.syslog.stream"),
)
_LONGEST = 1 << 20
_LOOK_AGAIN = 0.02
#: What a fork takes from the environment; a process with other changes to it starts cold.
_TAKEN = ("SIEM_", "PYTEST_")

Files = tuple[IO[bytes], IO[bytes], IO[bytes]]


def _namespaces() -> list[Path]:
    """Return the namespaces in which this thread is, as far as it can go into others; none but on Linux."""
    own = Path("/proc/thread-self/ns")
    return [(own / kind).readlink() for kind in ("net", "mnt", "uts", "ipc")] if own.exists() else []


_HOME = _namespaces()


class WarmProcess:
    """A process that was started so, with what tests use of a Popen."""

    def __init__(self, server: "_Server", pid: int) -> None:
        """Take the one who started it, and its id."""
        self.pid = pid
        self.returncode: int | None = None
        self._server = server

    def poll(self) -> int | None:
        """Return its exit status if it has ended."""
        if self.returncode is None:
            self.returncode = self._server.ask({"ended": self.pid})
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended; return its exit status. Raises TimeoutExpired."""
        deadline = time.monotonic() + timeout if timeout is not None else float("inf")
        while (status := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            time.sleep(_LOOK_AGAIN)  # another process's child cannot be waited for
        return status

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send it SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send it SIGKILL."""
        self.send_signal(signal.SIGKILL)


#: What `start` gives.
Process: TypeAlias = "WarmProcess | subprocess.Popen[bytes]"


class _Server:
    """The process that forks, for this process alone; it ends when this one does."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._turn = threading.Lock()
        with theirs:
            command = [sys.executable, "-m", __name__, str(theirs.fileno())]
            fixed = {name: value for name, value in os.environ.items() if not name.startswith(_TAKEN)}
            self.environment = fixed
            self._process = subprocess.Popen(
                command,
                env=fixed,
                cwd=Path(__file__).parents[1],
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        atexit.register(self._end)

    def _end(self) -> None:
        self._socket.close()
        self._process.wait()

    def ask(self, question: Mapping[str, Any], *files: int) -> Any:
        """Send a question and these files; return the answer."""
        with self._turn:
            socket.send_fds(self._socket, [json.dumps(question).encode()], files)
            return json.loads(self._socket.recv(_LONGEST))


@cache
def _server() -> _Server:
    return _Server()


def start(command: Sequence[str], environment: Mapping[str, str], files: Files) -> Process:
    """Start a command with these files as its input and output, in a session of its own.

    It starts cold where it is neither `siem` nor `celery`, where its environment is another one, and for a
    thread that has gone into another namespace: a fork would not be there.
    """
    stdin, stdout, stderr = files
    own = {name: value for name, value in environment.items() if name.startswith(_TAKEN)}
    fixed = {name: value for name, value in environment.items() if name not in own}
    beside = Path(sys.executable).parent
    if (
        Path(command[0]).parent != beside
        or Path(command[0]).name not in _PROGRAMS
        or _namespaces() != _HOME
        or fixed != _server().environment
    ):
        return subprocess.Popen(
            command, env=environment, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
        )
    question = {"start": list(command), "environment": own, "folder": str(Path.cwd())}
    pid = _server().ask(question, *(file.fileno() for file in files))
    return WarmProcess(_server(), pid)


def _siem() -> None:
    from worker.cli import main  # noqa: PLC0415 - imported by now

    main()


def _celery() -> None:
    from celery.__main__ import main  # noqa: PLC0415 - imported by now

    main()


_PROGRAMS = {"siem": _siem, "celery": _celery}


def _serve(asked: socket.socket) -> list[str] | None:
    """Answer until nobody asks any more. Returns in each fork, with the command that it is."""
    while True:
        said, files, _, _ = socket.recv_fds(asked, _LONGEST, 3)
        if not said:
            return None
        question = json.loads(said)
        if "ended" in question:
            ended, status = os.waitpid(question["ended"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if ended else None
        else:
            answer = os.fork()
            if not answer:
                asked.close()
                _become(question, files)
                command: list[str] = question["start"]
                return command
            for file in files:
                os.close(file)
        asked.send(json.dumps(answer).encode())


def _become(question: Mapping[str, Any], files: Sequence[int]) -> None:
    os.setsid()
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.environ.update(question["environment"])
    os.chdir(question["folder"])
    sys.argv = question["start"]


def _run(program: Callable[[], None]) -> None:
    """Run a program; notes in `_status` how it ended, unless by an error."""
    try:
        program()
    except SystemExit as end:
        if isinstance(end.code, int | None):
            _status.append(end.code or 0)
        raise


#: With what a fork's program ended.
_status: list[int] = []


def _leave() -> None:
    """End a fork without taking apart what it shares with all others: that copies it, for 0.1 s of CPU."""
    if _status:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_status[0])


def _main() -> None:
    atexit.register(_leave)  # the first of all, so it comes last
    for name in _WARM:
        importlib.import_module(name)
    gc.freeze()
    assert threading.active_count() == 1, "a fork has but one thread"
    command = _serve(socket.socket(fileno=int(sys.argv[1])))
    if command is not None:
        _run(_PROGRAMS[Path(command[0]).name])


if __name__ == "__main__":
    _main()
