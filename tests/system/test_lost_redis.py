"""Redis is lost for many a reason: every process writes one line with it, and one when Redis is back.

The processes are started by the Procfile's own lines, `-l WARNING` included.
"""

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import trustme

from tests.fleet import Fleet, wait_until
from tests.ports import free_port
from tests.procfile import commands
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.system.conftest import denial
from tests.transports.certificates import server_context
from worker.broker.connection import redis_client, send_command

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROLES = ("router", "recorder", "worker-splunk_hec", "api")
LOST, BACK = "lost Redis: ", "Redis is back after "
#: Commands without which each of the processes has nothing to do.
VITAL = ("-brpop", "-xreadgroup", "-ping")


@dataclass
class Shift:
    """A fleet that works, and how much each process has logged before the trouble of this test."""

    fleet: Fleet
    read: dict[str, int] = field(default_factory=dict)

    def begin(self) -> None:
        """Look only at what is logged from now on."""
        self.read = {role: len(self.fleet.log(role)) for role in self.fleet.processes}

    def log(self, role: str) -> str:
        """Return what a process has logged since."""
        return self.fleet.log(role)[self.read.get(role, 0) :]

    def all_say(self, words: str, times: int = 1) -> None:
        """Wait until every process has written the words so often."""
        for role in self.fleet.processes:
            wait_until(partial(self._says, role, words, times), f"{role} says: {words}")

    def _says(self, role: str, words: str, times: int) -> bool:
        return self.log(role).count(words) >= times

    def heard(self) -> dict[str, list[str]]:
        """Return what each process wrote as a warning or worse, without times and seconds."""
        return {role: _lines(self.log(role)) for role in self.fleet.processes}

    def admin(self, *command: str, password: str = "") -> Any:
        """Send a command that changes how Redis is set up, over a connection of its own."""
        secret = f":{password}@" if password else ""
        client = redis_client(f"redis://{secret}127.0.0.1:{self.fleet.server.port}/0")
        with closing(client):
            return send_command(client, *command)


def _lines(log: str) -> list[str]:
    """Return the lines that tell of Redis, shortened to what they say; a traceback is one as well.

    That a worker runs as root, as it does where CI does, is left out.
    """
    words = ("Traceback", "WARNING", "ERROR", "CRITICAL")
    told = (line for line in log.splitlines() if "this worker runs as root" not in line)
    lines = (line for line in told if any(word in line for word in words))
    return [LOST if LOST in line else BACK if BACK in line else line for line in lines]


def _each(roles: Iterable[str], *lines: str) -> dict[str, list[str]]:
    """Expect these lines of each process."""
    return {role: list(lines) for role in roles}


@pytest.fixture
def shift(tmp_path: Path) -> Iterator[Shift]:
    """Give a fleet whose processes run, and that is quiet."""
    with Fleet(tmp_path) as fleet:
        found = Shift(fleet.start(*ROLES))
        found.begin()
        yield found


def kill(shift: Shift) -> None:
    """End Redis: nothing listens on its port."""
    shift.fleet.server.kill()


def restart(shift: Shift) -> None:
    """Start it again with its data."""
    shift.fleet.server.restart()


def demand_password(shift: Shift) -> None:
    """Demand a password that nobody was told of; whoever is connected must say it."""
    shift.admin("CONFIG", "SET", "requirepass", "new")
    shift.admin("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes", password="new")


def take_back_password(shift: Shift) -> None:
    """Demand none any more."""
    shift.admin("CONFIG", "SET", "requirepass", "", password="new")


def forbid(shift: Shift) -> None:
    """Forbid its user some commands; connections stay."""
    shift.admin("ACL", "SETUSER", "default", *VITAL)


def allow(shift: Shift) -> None:
    """Let its user use all commands."""
    shift.admin("ACL", "SETUSER", "default", "+@all")


def demote(shift: Shift) -> None:
    """Make it a replica whose master is not there."""
    shift.admin("REPLICAOF", "127.0.0.1", "1")
    shift.admin("CONFIG", "SET", "replica-serve-stale-data", "no")


def promote(shift: Shift) -> None:
    """Make it a master again."""
    shift.admin("REPLICAOF", "NO", "ONE")


def pause(shift: Shift) -> None:
    """Freeze it: connections stay, and nothing answers."""
    shift.fleet.server.pause()


def resume(shift: Shift) -> None:
    """Let it go on."""
    shift.fleet.server.resume()


Deed = Callable[[Shift], None]

TROUBLES: dict[str, tuple[Deed, Deed, str]] = {
    "killed": (kill, restart, "Redis does not answer (Error 111 connecting to 127.0.0.1:"),
    "password": (demand_password, take_back_password, "Redis refuses the login (Authentication required.)"),
    "forbidden": (forbid, allow, "Redis denies permission (User default has no permissions to run the '"),
    "replica": (demote, promote, "Redis "),
    "hangs": (pause, resume, "Redis does not answer (Timeout "),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_one_line_lost_one_line_back_with_the_reason(shift: Shift, name: str) -> None:
    """By each process, though it has nothing to do; and again when it happens again. Then events arrive."""
    spoil, mend, reason = TROUBLES[name]
    times = 1 if name == "hangs" else 2
    for count in range(1, times + 1):
        spoil(shift)
        shift.all_say(LOST + reason, count)
        mend(shift)
        shift.all_say(BACK, count)
    with HecReceiver() as splunk:
        integration = shift.fleet.integrate(splunk.url, name, tenant_id=name)
        shift.fleet.publish([denial(name, tenant_id=name)])
        shift.fleet.settled(1, integration.id)

    assert shift.heard() == _each(ROLES, *[LOST, BACK] * times)


def test_a_host_that_was_suspended_has_lost_nothing(shift: Shift) -> None:
    """All processes and Redis sleep for a while; nobody believes that Redis was away."""
    fleet = shift.fleet
    sleepers = [fleet.server.pid, *(process.pid for process in fleet.processes.values())]
    for pid in sleepers:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(3)  # the sleep itself
    for pid in sleepers:
        os.kill(pid, signal.SIGCONT)
    with HecReceiver() as splunk:
        integration = fleet.integrate(splunk.url, "suspended", tenant_id="suspended")
        fleet.publish([denial("suspended", tenant_id="suspended")])
        fleet.settled(1, integration.id)

    assert shift.heard() == _each(ROLES)


def test_a_task_that_misses_redis_makes_no_line_of_its_own(shift: Shift) -> None:
    """Its batch was under way when Redis went, and cannot be settled; nothing of it is lost."""
    cue = threading.Event()

    def script(request: scripts.Request) -> scripts.Action:
        cue.wait(30)
        return scripts.ok()(request)

    with HecReceiver(script) as splunk:
        integration = shift.fleet.integrate(splunk.url, "under-way", tenant_id="under-way", timeout_seconds=3)
        shift.fleet.publish([denial("under-way", tenant_id="under-way")])
        splunk.wait_for_requests(1, 20)
        kill(shift)
        cue.set()
        shift.all_say(LOST)
        restart(shift)
        shift.fleet.settled(1, integration.id)
        shift.all_say(BACK)

    told = {role: [line for line in lines if line in {LOST, BACK}] for role, lines in shift.heard().items()}
    assert told == _each(ROLES, LOST, BACK)
    assert "Traceback" not in "".join(map(shift.log, ROLES))


@pytest.mark.parametrize("name", ["killed", "password"])
def test_a_request_that_misses_redis_makes_no_line_of_its_own(tmp_path: Path, name: str) -> None:
    """The API's own watch and its requests share what they say, and it is back as soon as Redis is."""
    spoil, mend, reason = TROUBLES[name]
    with Fleet(tmp_path, SIEM_API_PORT="0") as fleet:
        shift = Shift(fleet.start("api"))
        url = wait_until(lambda: re.search(r"listening at (\S+)", fleet.log("api")), "it listens")[1]
        spoil(shift)
        shift.all_say(LOST + reason)
        httpx.get(f"{url}/metrics", trust_env=False, timeout=90)
        mend(shift)
        shift.all_say(BACK)
        httpx.get(f"{url}/metrics", trust_env=False, timeout=90)

    assert shift.heard() == {"api": [LOST, BACK]}


def test_a_redis_that_takes_no_orders_is_told_once(shift: Shift) -> None:
    """However many are to be published; the sweeper does it later, and every event arrives."""
    queues = "the queues of work orders"
    with HecReceiver() as splunk:
        for number in range(5):
            shift.fleet.integrate(splunk.url, f"orders-{number}", tenant_id=f"orders-{number}")
        shift.admin("ACL", "SETUSER", "default", "-lpush")
        shift.fleet.publish(denial(f"o{number}", tenant_id=f"orders-{number}") for number in range(5))
        wait_until(lambda: f"lost {queues}: " in shift.log("router"), "the router says so")
        shift.admin("ACL", "SETUSER", "default", "+lpush")
        for number in range(5):
            shift.fleet.settled(1, f"int_orders-{number}")
        wait_until(lambda: f"{queues} is back after" in shift.log("router"), "and that they are back")

    told = [line for line in shift.heard()["router"] if queues in line]
    assert ["denies permission" in line for line in told] == [True, False]


AT_THE_START: dict[str, tuple[str, str]] = {
    "closed port": (
        "redis://127.0.0.1:{closed}/0",
        "Redis does not answer (Error 111 connecting to 127.0.0.1:",
    ),
    "wrong password": (
        "redis://less:wrong@127.0.0.1:{port}/0",
        "Redis refuses the login (invalid username-password pair or user is disabled.)",
    ),
    "no such user": (
        "redis://nobody:x@127.0.0.1:{port}/0",
        "Redis refuses the login (invalid username-password pair or user is disabled.)",
    ),
    "forbidden": (
        "redis://less:x@127.0.0.1:{port}/0",
        "Redis denies permission (User less has no permissions to run the '",
    ),
    "unknown host": ("redis://no-such-host.invalid:6379/0", "no-such-host.invalid"),
    "an unknown authority": ("rediss://127.0.0.1:{tls}/0?ssl_cert_reqs=required", "TLS to Redis fails ("),
    "a database too many": ("redis://127.0.0.1:{port}/99", "that database of Redis does not exist"),
    "sentinels away": ("sentinel://127.0.0.1:{closed}/0?service=m", "no sentinel knows a master"),
}


@pytest.mark.parametrize("name", AT_THE_START)
def test_a_process_that_starts_without_redis_says_why(tmp_path: Path, name: str) -> None:
    """Once, and it goes on trying."""
    url, reason = AT_THE_START[name]
    with (
        Fleet(tmp_path) as fleet,
        HecReceiver(tls=server_context(trustme.CA().issue_cert("127.0.0.1"))) as tls,
    ):
        fleet.client.acl_setuser(
            "less", enabled=True, passwords=["+x"], keys=["*"], channels=["*"], commands=["+@all", *VITAL]
        )
        fleet.environment["SIEM_REDIS_URL"] = url.format(
            port=fleet.server.port, closed=free_port(), tls=urlsplit(tls.url).port
        )
        shift = Shift(fleet)
        for role in ROLES:
            fleet.spawn(role)
        shift.all_say(LOST)

        assert {role: reason in fleet.log(role) for role in ROLES} == dict.fromkeys(ROLES, True)
        assert shift.heard() == _each(ROLES, LOST)


@pytest.mark.parametrize("level", ["ERROR", "INFO"])
def test_both_lines_are_written_at_any_level(tmp_path: Path, level: str) -> None:
    """Of a worker, too, whose level Celery sets."""
    with Fleet(tmp_path, SIEM_LOG_LEVEL=level) as fleet:
        fleet.worker_flags = ("-l", level)
        shift = Shift(fleet.start("router", "recorder", "worker-splunk_hec"))
        kill(shift)
        shift.all_say(LOST)
        restart(shift)
        shift.all_say(BACK)

        assert [shift.log(role).count(LOST) for role in fleet.processes] == [1, 1, 1]


def test_the_procfile_starts_workers_at_warning() -> None:
    """What the tests above show is what production logs."""
    assert commands()["worker-splunk_hec"][-2:] == ["-l", "WARNING"]
