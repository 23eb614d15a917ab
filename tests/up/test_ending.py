"""One Ctrl-C ends everything, the server last; whatever ends first takes the rest down and is named."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from tests.up.programs import (
    ENDS_WITH_3,
    POLITE,
    SLEEPER,
    STUBBORN,
    command,
    holding,
    is_free,
    procfile,
    text_of,
    wait_until,
)
from worker.model.errors import BrokerUnavailable
from worker.settings import Settings
from worker.up import Stack, StackHandle
from worker.up import stack as module
from worker.up.data_dir_lock import DataDirLock
from worker.up.embedded import EmbeddedServer
from worker.up.process_group import ProcessGroup


def test_ctrl_c_ends_all_in_good_order(
    settings: Settings, data_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The processes can still write to Redis while they end, the server keeps that, and the status is 0."""
    stack = Stack(settings, procfile=procfile(polite=POLITE, sleeper=SLEEPER), roles=())

    def once_it_listens(_handle: StackHandle) -> bool:
        wait_until(lambda: "polite program is ready" in capfd.readouterr().out, "the program's start")
        os.kill(os.getpid(), signal.SIGINT)
        return False

    assert stack.run(once_it_listens) == 0
    assert _value_of("good-bye", data_dir) == b"said"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_ways_to_ask_for_the_end(settings: Settings, number: signal.Signals) -> None:
    """What a service manager sends, or a terminal that is closed, ends it as Ctrl-C does."""
    before = signal.getsignal(number)

    def ask(_handle: StackHandle) -> bool:
        os.kill(os.getpid(), number)
        return False

    assert Stack(settings, procfile=procfile(sleeper=SLEEPER), roles=()).run(ask) == 0
    assert signal.getsignal(number) == before


def test_ctrl_c_while_starting(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Ctrl-C before the processes are started lets them be, and ends the server."""
    started: list[str] = []
    monkeypatch.setattr(ProcessGroup, "start", lambda _crew, name, *_: started.append(name))
    start = EmbeddedServer.start

    def interrupted(server: EmbeddedServer, cancelled: Callable[[], bool]) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        start(server, cancelled)

    monkeypatch.setattr(EmbeddedServer, "start", interrupted)

    assert Stack(settings, procfile=procfile(sleeper=SLEEPER)).run() == 0
    assert started == []


def test_a_process_that_ends_takes_the_rest_down(
    settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    """The message names the process and its exit status; the status of the whole is not 0."""
    stack = Stack(settings, procfile=procfile(good=SLEEPER, bad=ENDS_WITH_3), roles=())

    assert stack.run() == 1
    out = capfd.readouterr().out
    assert "about to end" in out
    assert "bad stopped (exit 3): ending everything else" in out


def test_a_killed_server_takes_the_rest_down(settings: Settings, capfd: pytest.CaptureFixture[str]) -> None:
    """The message names the server, its end, and where its log is."""

    def kill_server(handle: StackHandle) -> bool:
        with redis.Redis.from_url(handle.settings.broker_address()) as client:
            os.kill(int(client.info("server")["process_id"]), signal.SIGKILL)
        raise BrokerUnavailable

    assert Stack(settings, procfile=procfile(sleeper=SLEEPER), roles=()).run(kill_server) == 1
    out = capfd.readouterr().out
    assert "the embedded server stopped (exit -9, SIGKILL): ending everything else" in out
    assert "redis.log" in out


def test_nothing_stays_behind(settings: Settings, tmp_path: Path) -> None:
    """What a process started has ended, too, when the whole has."""
    lock = tmp_path / "grandchild"
    parent = f"{command(holding(lock))} & wait"

    def until_it_holds(_handle: StackHandle) -> bool:
        wait_until(lambda: text_of(lock) == "held", "the grandchild's start")
        return True

    assert Stack(settings, procfile=f"parent: {parent}\n", roles=()).run(until_it_holds) == 0
    assert is_free(lock)


def test_a_stubborn_process_is_killed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A process that ignores the request to end is killed after its time."""
    monkeypatch.setattr(module, "END_SECONDS", 0.3)

    def until_it_ignores(_handle: StackHandle) -> bool:
        wait_until(lambda: "stubborn program is ready" in capfd.readouterr().out, "the program's start")
        return True

    began = time.monotonic()
    assert Stack(settings, procfile=procfile(stubborn=STUBBORN), roles=()).run(until_it_ignores) == 0
    assert time.monotonic() - began < 60


def test_what_the_companion_raises_comes_out(settings: Settings, data_dir: Path) -> None:
    """A failing companion ends the stack, and its error is the caller's."""

    def fail(_handle: StackHandle) -> bool:
        raise KeyError("demo")

    with pytest.raises(KeyError, match="demo"):
        Stack(settings, procfile=procfile(sleeper=SLEEPER), roles=()).run(fail)
    with DataDirLock(data_dir):
        assert True


def test_quiet_leaves_the_terminal_alone(
    settings: Settings, data_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Output goes to a file for each process; only a failure is shown, and where to read about it."""
    stack = Stack(settings, procfile=procfile(bad=ENDS_WITH_3), roles=(), quiet=True)

    assert stack.run() == 1
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "bad stopped (exit 3)" in shown.err
    assert str(data_dir / "logs" / "bad.log") in shown.err
    assert "about to end" in (data_dir / "logs" / "bad.log").read_text()


def _value_of(key: str, data_dir: Path) -> object:
    """Look into the data that a stack has left behind."""
    with DataDirLock(data_dir) as possession:
        server = EmbeddedServer(data_dir, possession)
        server.start()
        try:
            with redis.Redis.from_url(server.url) as client:
                return client.get(key)
        finally:
            server.stop()
