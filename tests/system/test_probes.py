"""The probes of each process of a fleet: one that only waits is live, one that is stuck is not."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Self

import pytest

from tests.fleet import Fleet, wait_until
from tests.ports import free_port
from tests.probes.asking import ask, status
from tests.procfile import WORKER
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.system.conftest import denial

pytestmark = pytest.mark.slow

ROLES = ("router", "recorder", WORKER, "api")


class Probed:
    """A fleet of which each process has a port for its probes."""

    def __init__(self, fleet: Fleet) -> None:
        """Take the fleet; nothing runs yet."""
        self.fleet = fleet
        self.ports: dict[str, int] = {}

    def start(self, *roles: str) -> None:
        """Start these and wait until each has opened its port."""
        for role in roles:
            self.ports[role] = free_port()
            self.fleet.environment["SIEM_PROBE_PORT"] = str(self.ports[role])
            self.fleet.spawn(role)
        wait_until(lambda: None not in self.all("/livez").values(), f"{roles} answer")

    def all(self, path: str) -> dict[str, int | None]:
        """Return what each process answers."""
        return {role: status(port, path) for role, port in self.ports.items()}

    def await_all(self, path: str, **wanted: int) -> None:
        """Wait until the processes answer this; `others` is for those that are not named."""
        others = wanted.pop("others")
        expected = {role: wanted.get(role, others) for role in self.ports}
        wait_until(lambda: self.all(path) == expected, f"{path} is {expected}")

    def reason(self, role: str) -> str:
        """Return why the process is not ready."""
        found: str = ask(self.ports[role], "/readyz")[1]["reason"]
        return found


@pytest.fixture
def probed(tmp_path: Path) -> Iterator[Probed]:
    """Give a fleet whose processes do not run yet."""
    with Fleet(tmp_path) as fleet:
        yield Probed(fleet)


class Manager:
    """A service manager, which hears what processes tell it."""

    def __init__(self, path: Path) -> None:
        """Listen at this path."""
        self.path = path
        self.heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._thread = threading.Thread(target=self._hear)
        self._thread.start()

    def _hear(self) -> None:
        while message := self._socket.recv(4096).decode():
            self.heard.append(message)

    def __enter__(self) -> Self:
        """Hear until the end of a `with`."""
        return self

    def __exit__(self, *_: object) -> None:
        """Hear no more: an empty message ends the thread."""
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as last:
            last.sendto(b"", str(self.path))
        self._thread.join()
        self._socket.close()


def test_a_redis_that_is_absent_hangs_or_dies_makes_no_process_less_live(
    probed: Probed, tmp_path: Path
) -> None:
    """They start without it, wait, and are ready again by themselves; the API goes on with the database.

    systemd hears that they have started, so that no unit is restarted for ever because Redis is away.
    """
    probed.fleet.server.kill()
    with ExitStack() as stack:
        managers = {role: stack.enter_context(Manager(tmp_path / f"{role}.notify")) for role in ROLES}
        for role, manager in managers.items():
            told = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "2000000"}
            probed.fleet.environment |= told
            probed.start(role)
        for role, manager in managers.items():
            wait_until(partial({"READY=1", "WATCHDOG=1"}.issubset, manager.heard), f"{role} is heard")
        probed.await_all("/readyz", others=503, api=200)
        assert set(probed.all("/livez").values()) == {200}
        probed.fleet.server.restart()
        probed.await_all("/readyz", others=200)

        os.kill(probed.fleet.server.pid, signal.SIGSTOP)
        probed.await_all("/readyz", others=503, api=200)
        assert probed.reason("router") == "Redis does not answer, or refuses what is asked"
        assert set(probed.all("/livez").values()) == {200}
        os.kill(probed.fleet.server.pid, signal.SIGCONT)
        probed.await_all("/readyz", others=200)

        probed.fleet.server.kill()
        probed.await_all("/readyz", others=503, api=200)
        probed.fleet.server.restart()
        probed.await_all("/readyz", others=200)
        assert [probed.fleet.terminate(role) for role in ROLES] == [0, 0, 0, 0]

    for role, manager in managers.items():
        assert manager.heard[0] == "READY=1", role
        assert {"STATUS=ready", "STOPPING=1"} <= set(manager.heard), role


def test_a_worker_is_ready_while_it_consumes_and_live_until_its_last_batch_is_sent(probed: Probed) -> None:
    """By remote control it leaves a queue alone; while it ends its loop stands, and is not stuck."""
    opened = threading.Event()

    def script(request: scripts.Request) -> scripts.Action:
        opened.wait(60)
        return scripts.ok()(request)

    with HecReceiver(script) as splunk:
        probed.fleet.integrate(splunk.url, timeout_seconds=2.9)
        probed.start("router", WORKER)
        probed.await_all("/readyz", others=200)
        probed.fleet.celery("control", "cancel_consumer", "webhook")
        probed.await_all("/readyz", others=200, worker=503)
        reason = probed.reason(WORKER)
        probed.fleet.celery("control", "add_consumer", "webhook")
        probed.await_all("/readyz", others=200)
        probed.fleet.publish([denial("e1")])
        splunk.wait_for_requests(1, 40)
        probed.fleet.processes[WORKER].terminate()
        wait_until(lambda: status(probed.ports[WORKER], "/readyz") in {503, None}, "it is not ready")
        states = [status(probed.ports[WORKER], "/livez"), probed.fleet.processes[WORKER].poll()]
        opened.set()
        assert probed.fleet.processes[WORKER].wait(60) == 0

    assert states == [200, None]
    assert reason == "it does not consume webhook (`celery control add_consumer`)"


def test_a_suspended_process_is_not_live_and_its_port_is_no_others(probed: Probed) -> None:
    """It answers nothing, so whoever asks gives up. Who wants the same port ends, with the setting named."""
    probed.start("router")
    taken = probed.fleet.environment["SIEM_PROBE_PORT"] = str(probed.ports["router"])
    before = probed.fleet.siem("probe", "live")
    os.kill(probed.fleet.processes["router"].pid, signal.SIGSTOP)
    during = probed.fleet.siem("probe", "live")
    os.kill(probed.fleet.processes["router"].pid, signal.SIGCONT)
    others = ("recorder", WORKER, "api")
    for role in others:
        probed.fleet.spawn(role)

    assert (before.returncode, before.stdout) == (0, b"live\n")
    assert during.returncode == 1
    assert b"does not answer within 3 s" in during.stderr
    for role in others:
        assert probed.fleet.processes[role].wait(60) == 2, role
        assert f"Error: SIEM_PROBE_PORT: {taken} is in use" in probed.fleet.log(role)
