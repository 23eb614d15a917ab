"""Messages to systemd, as it receives them: by a real socket."""

import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from worker.model import availability
from worker.model.availability import Dependencies
from worker.probes.process import ProcessProbe, log
from worker.probes.server import probes


@pytest.fixture(params=["path", "abstract"])
def manager(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    """Give the socket of a service manager, of both kinds that there are."""
    name = f"siem-{uuid.uuid4().hex}" if request.param == "abstract" else str(tmp_path / "notify")
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as receiver:
        receiver.bind(f"\0{name}" if request.param == "abstract" else name)
        receiver.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}" if request.param == "abstract" else name)
        yield receiver


def heard(manager: socket.socket, until: str) -> list[str]:
    """Return what is received up to this message."""
    messages = [manager.recv(4096).decode()]
    while messages[-1] != until:
        messages.append(manager.recv(4096).decode())
    return messages


def process() -> ProcessProbe:
    """Make a process that works, with a loop."""
    dependencies = Dependencies(log)
    dependencies.loops.watch("router")
    dependencies.back("step")
    made = ProcessProbe(dependencies, dependencies.absence)
    made.works()
    return made


def test_it_hears_of_the_start_the_state_and_the_end(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watchdog is fed until the end, and beyond the moment at which that was asked for."""
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    with probes(process(), "127.0.0.1", 0) as one:
        began = heard(manager, "STATUS=ready")
        heard(manager, "WATCHDOG=1")
        heard(manager, "WATCHDOG=1")
        one.ends()
        heard(manager, "STOPPING=1")
        heard(manager, "STATUS=not ready: it is shutting down")
        heard(manager, "WATCHDOG=1")

    assert began[0] == "READY=1"


def test_the_watchdog_acts_on_a_process_that_is_stuck(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is fed no more; the status says why."""
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    monkeypatch.setattr(availability, "LONGEST_TURN", 0.3)
    with probes(process(), "127.0.0.1", 0):
        heard(manager, "STATUS=not ready: its router loop has not gone on for 0 s")
        late = heard(manager, "STATUS=not ready: its router loop has not gone on for 2 s")

    assert "WATCHDOG=1" not in late


def test_the_watchdog_of_another_process_is_not_fed(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Variables of a parent do not concern its children."""
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getppid()))
    with probes(process(), "127.0.0.1", 0) as one:
        first = heard(manager, "STATUS=ready")
        one.ends()
        rest = heard(manager, "STOPPING=1")

    assert {*first, *rest} == {"READY=1", "STATUS=ready", "STOPPING=1"}


def test_a_manager_that_is_gone_is_no_hindrance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process goes on although it is not heard."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nothing"))
    with probes(process(), "127.0.0.1", 0) as one:
        assert one.not_ready() is None
