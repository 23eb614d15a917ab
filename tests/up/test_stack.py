"""What comes up: processes with the right surroundings, a server unless there is one, and signs of life."""

import ipaddress
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import redis
from pydantic import SecretStr

import worker
from tests.embedded_servers import VALKEY, start_server
from tests.procfile import lines
from tests.up.programs import SLEEPER, command, procfile, wait_until
from worker.broker.heartbeat import API, ROLES
from worker.integrations import destination_types
from worker.model.errors import AlreadyRunningError, BrokerUnavailable, NotFoundError, UnavailableError
from worker.settings import Settings
from worker.up import Stack, StackHandle, run_up
from worker.up import stack as module
from worker.up.console import Console
from worker.up.data_dir_lock import DataDirLock

WRITES_ITS_SURROUNDINGS = """\
import json, os, sys
from pathlib import Path
from worker.settings import settings
import shutil
found = {
    "networks": [str(network) for network in settings().allowed_networks],
    "data": str(settings().data_dir),
    "redis": settings().broker_address(),
    "siem": shutil.which("siem"),
    "python": sys.executable,
}
draft = Path(sys.argv[1] + ".new")
draft.write_text(json.dumps(found))
draft.rename(sys.argv[1])
while True: __import__("time").sleep(60)
"""


def test_the_procfile_has_a_process_of_each_role() -> None:
    """Who takes events for a type of destination in the Procfile is waited for, under that very name."""
    processes = lines()

    assert set(processes) == {*ROLES, API}
    for kind in destination_types():
        assert f"-Q {kind} " in processes[f"worker-{kind}"]


def test_silent_roles_are_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A companion is not let loose on a stack that is not ready: the error names who is missing."""
    monkeypatch.setattr(module, "READY_SECONDS", 0.2)
    stack = Stack(settings, procfile=procfile(router=SLEEPER), roles=("router", "recorder"))

    with pytest.raises(UnavailableError, match="recorder, router"):
        stack.run(lambda _handle: True)


def test_silent_roles_do_not_end_what_does_not_wait(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a companion the missing roles are only reported, and everything goes on."""
    complaints: list[str] = []

    def note(_screen: Console, line: str) -> None:
        complaints.append(line)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(module, "READY_SECONDS", 0.2)
    monkeypatch.setattr(Console, "complain", note)

    assert Stack(settings, procfile=procfile(router=SLEEPER), roles=("router",)).run() == 0
    assert complaints == ["not up after 0 seconds: router"]


def test_the_dead_do_not_count_as_ready(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sign of life that a killed process left behind is forgotten; those of other machines stay."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass

    def leave_signs(handle: StackHandle) -> bool:
        with redis.Redis.from_url(handle.settings.broker_address()) as client:
            client.set(f"siem:alive:router:{socket.gethostname()}:{ended.pid}", "1")
            client.set("siem:alive:recorder:elsewhere:1", "1")
        return True

    Stack(settings, procfile=procfile(a=SLEEPER), roles=()).run(leave_signs)
    monkeypatch.setattr(module, "READY_SECONDS", 0.2)

    with pytest.raises(UnavailableError, match=r"seconds: router$"):
        Stack(settings, procfile=procfile(a=SLEEPER), roles=("router", "recorder")).run(lambda _handle: True)


def test_processes_read_the_very_settings(
    settings: Settings, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings that were given as values, not in the environment, reach the processes as well."""
    monkeypatch.chdir(tmp_path)
    found = tmp_path / "found.json"
    relative = data_dir.relative_to(tmp_path)
    networks = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("fd00::/8"))
    given = Settings(data_dir=relative, allowed_networks=networks)
    extra = {"extra": command(WRITES_ITS_SURROUNDINGS, found)}

    def until_written(_handle: StackHandle) -> bool:
        wait_until(found.exists, "the program's findings")
        return True

    assert Stack(given, procfile=procfile(a=SLEEPER), extra=extra, roles=()).run(until_written) == 0
    assert json.loads(found.read_text()) == {
        "networks": ["127.0.0.0/8", "fd00::/8"],
        "data": str(data_dir),
        "redis": (data_dir / "redis.url").read_text().strip(),
        "siem": str(Path(sys.executable).parent / "siem"),
        "python": sys.executable,
    }
    assert settings.data_dir == data_dir


def test_a_given_redis_replaces_the_embedded_one(
    settings: Settings, data_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With SIEM_REDIS_URL set, no server is started, and the one that was given outlives the stack."""
    with start_server(VALKEY, tmp_path / "theirs", password="secret-of-theirs") as theirs:
        given = Settings(data_dir=settings.data_dir, redis_url=SecretStr(theirs.url))
        assert Stack(given, procfile=procfile(a=SLEEPER), roles=()).run(lambda _handle: True) == 0

        out = capfd.readouterr().out
        assert f"127.0.0.1:{theirs.port}" in out
        assert "secret-of-theirs" not in out
        assert not (data_dir / "redis").exists()
        with theirs.client() as client:
            assert client.ping()


def test_a_given_redis_that_is_away_is_reported(settings: Settings) -> None:
    """Nothing is started beside a Redis that does not answer."""
    given = Settings(data_dir=settings.data_dir, redis_url=SecretStr("redis://127.0.0.1:1"))

    with pytest.raises(BrokerUnavailable):
        Stack(given, procfile=procfile(a=SLEEPER)).run()


def test_a_second_one_leaves_the_first_alone(settings: Settings) -> None:
    """A second `siem up` on the same data is refused, and the first one's server does not notice."""

    def start_a_second(handle: StackHandle) -> bool:
        with pytest.raises(AlreadyRunningError), DataDirLock(settings.data_dir):
            pass
        with redis.Redis.from_url(handle.settings.broker_address()) as client:
            assert client.ping()
        return True

    assert Stack(settings, procfile=procfile(a=SLEEPER), roles=()).run(start_a_second) == 0


@pytest.mark.slow
def test_the_whole_project_gets_ready(settings: Settings, capfd: pytest.CaptureFixture[str]) -> None:
    """The project's own Procfile comes up, says how to publish and to stop, and ends on Ctrl-C."""

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    assert run_up(settings, on_ready=interrupt) == 0
    out = capfd.readouterr().out
    assert "publish FILE" in out
    assert "Ctrl-C" in out
    assert "Ready." in out


def test_without_a_procfile(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the project was installed without its checkout, it says so."""
    monkeypatch.setattr(worker, "__file__", str(tmp_path / "worker" / "__init__.py"))

    with pytest.raises(NotFoundError, match="checkout"):
        Stack(settings)
