"""Which processes live: by their heartbeats, and by their connections where a heartbeat is late."""

import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
import redis

from tests.broker.counting import round_trips
from tests.destinations.senders import GUARD
from tests.embedded_servers import RunningServer
from tests.fleet import wait_until
from worker.api.process_metric_definitions import PROCESSES_SHORT
from worker.broker import heartbeat
from worker.broker.clocks import skews
from worker.broker.connection import redis_client
from worker.broker.fleet import living_processes
from worker.broker.heartbeat import Heartbeat, connections_to, roles_alive, short_processes
from worker.broker.identity import ProcessIdentity, process_identity
from worker.model.fleet_health import resources_parts
from worker.model.outages import Resource
from worker.transports.shortages import OVER_AFTER, ShortageLog

pytestmark = pytest.mark.slow

#: A process that gives signs of life, as one with this host name and process id.
PROCESS = """\
import os, platform, sys, time
url, role, host, pid = sys.argv[1:]
if host:
    platform.node, os.getpid = lambda: host, lambda: int(pid)
from worker.broker.heartbeat import Heartbeat
from worker.broker.connection import redis_client
Heartbeat(redis_client(url), role).start()
while True:
    time.sleep(60)
"""


@contextmanager
def process(
    server: RunningServer, role: str = "router", host: str = "", pid: int = 0
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a process until the block ends."""
    started = subprocess.Popen([sys.executable, "-c", PROCESS, server.url, role, host, str(pid)])
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def make_late(client: redis.Redis) -> None:
    """Let every heartbeat be five seconds old: too late to be believed, too early to have expired."""
    for key in client.scan_iter(match="siem:alive:*"):
        client.pexpire(key, 5000)


def test_processes_of_one_host_name_and_pid_are_two(client: redis.Redis, server: RunningServer) -> None:
    """So containers are: each has a process 7 on a host of the image's name."""
    with process(server, host="siem", pid=7), process(server, host="siem", pid=7):
        wait_until(lambda: len(living_processes(client)) == 2, "both count")

        names = {one.name for one in living_processes(client)}
        assert {name.rpartition(":")[0] for name in names} == {"siem:7"}
        assert len(names) == len(skews(client)) == 2


def test_a_killed_process_is_missed_before_its_heartbeat_expires(
    client: redis.Redis, server: RunningServer
) -> None:
    """Its connection has ended with it."""
    with process(server) as killed:
        wait_until(lambda: roles_alive(client) == {"router"}, "it gives a sign of life")
        [key] = client.keys("siem:alive:*")
        killed.kill()
        killed.wait()
        client.pexpire(key, 60_000)
        assert roles_alive(client) == {"router"}  # it may have lost its connection, and be back in a moment

        def is_missed() -> bool:
            assert client.pexpire(key, 6_000)
            return not roles_alive(client)

        wait_until(is_missed, "it is missed")


def test_a_slow_process_is_not_missed(client: redis.Redis, server: RunningServer) -> None:
    """A heartbeat that is late says nothing while its connection is there."""
    with process(server) as slow:
        wait_until(lambda: roles_alive(client) == {"router"}, "it gives a sign of life")
        slow.send_signal(signal.SIGSTOP)
        make_late(client)

        assert roles_alive(client) == {"router"}


def test_a_lost_connection_is_made_again(client: redis.Redis, server: RunningServer) -> None:
    """A process outlives the loss of its connection: the next heartbeat names the new one."""
    with process(server):
        wait_until(lambda: roles_alive(client) == {"router"}, "it gives a sign of life")
        [before] = living_processes(client)
        assert before.report is not None
        client.client_kill_filter(_id=str(before.report.connection))

        def is_back() -> bool:
            numbers = [one.report.connection for one in (before, *living_processes(client)) if one.report]
            return numbers[0] < numbers[-1]

        wait_until(is_back, "it reports another connection")
        make_late(client)
        assert roles_alive(client) == {"router"}


def test_without_client_the_expiry_decides(client: redis.Redis, server: RunningServer) -> None:
    """Some providers forbid CLIENT: then a process lives until its heartbeat expires."""
    allowed = ["+@all", "-client"]
    client.acl_setuser(
        "short", enabled=True, passwords=["+secret"], keys=["*"], channels=["*"], commands=allowed
    )
    own = redis_client(server.url.replace("redis://", "redis://short:secret@"))
    sign = Heartbeat(own, "router", "worker-webhook", facts={"answer": 42})
    sign.start()
    try:
        wait_until(lambda: len(living_processes(own)) == 2, "it gives signs of life in both roles")
        make_late(client)
        late = living_processes(own)
    finally:
        sign.stop()
        own.close()
        client.acl_deluser("short")

    assert [one.role for one in late] == ["router", "worker-webhook"]
    assert [one.identity for one in late] == [process_identity()] * 2
    assert [one.report.facts["answer"] for one in late if one.report] == [42] * 2
    assert client.keys("siem:alive:*") + client.keys("siem:process:*") == []


def test_releases_count_each_other(client: redis.Redis) -> None:
    """The previous one writes no more than host and pid, and reads what stands before the first colon."""
    client.set("siem:alive:router:old-host:7", "1795600000 0.25", ex=10)
    sign = Heartbeat(client, "recorder")
    sign.start()
    try:
        wait_until(lambda: roles_alive(client) == {"router", "recorder"}, "both are alive")
        make_late(client)
        assert roles_alive(client) == {"router", "recorder"}
        found: dict[bytes, Any] = {key: client.get(key) for key in client.scan_iter(match="siem:alive:*")}
    finally:
        sign.stop()

    report = {key.removeprefix(b"siem:alive:").partition(b":")[0]: value for key, value in found.items()}
    assert set(report) == {b"router", b"recorder"}
    assert all(float(value.partition(b" ")[2]) < 60 for value in report.values())


def test_an_error_does_not_end_the_heartbeats(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A fact that cannot be reported this time is reported the next; the process does not count as dead."""
    answers: Iterator[dict[str, str] | Exception] = iter([RuntimeError("no fact")])

    def facts() -> dict[str, str]:
        if isinstance(found := next(answers, {}), Exception):
            raise found
        return found

    monkeypatch.setattr("worker.broker.heartbeat.process_facts", facts)
    sign = Heartbeat(client, "router")
    sign.start()
    try:
        wait_until(lambda: roles_alive(client) == {"router"}, "it gives a sign of life")
    finally:
        sign.stop()

    assert "unexpected error in heartbeat" in caplog.text


def test_an_identity_can_be_read() -> None:
    """So can that of an earlier release; what is none is not taken for one."""
    mine = process_identity()

    assert ProcessIdentity.read(str(mine)) == mine
    assert mine.is_in_sight
    assert ProcessIdentity.read("old-host:7") == ProcessIdentity("old-host", 7)
    assert not ProcessIdentity("old-host", 7).is_in_sight
    assert ProcessIdentity.read("nobody") is None


def test_a_shortage_is_reported_while_it_lasts(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """By one name everywhere, with the host and the hint; and 0 of what no process is short of."""
    now = 0.0
    shortages = ShortageLog(lambda: now)
    monkeypatch.setattr(heartbeat, "SHORTAGES", shortages)
    shortages.note(Resource.OPEN_FILES, "cannot open sockets")
    sign = Heartbeat(client, "worker-webhook", "worker-syslog_cef")
    sign.start()
    try:
        wait_until(lambda: len(living_processes(client)) == 2, "it lives in both roles")
        short = list(short_processes(living_processes(client)))
        assert [(one.role, resource) for one, resource in short] == [
            ("worker-syslog_cef", Resource.OPEN_FILES),
            ("worker-webhook", Resource.OPEN_FILES),
        ]
        [part] = resources_parts((f"{one.role} on {one.host}", resource) for one, resource in short)
        assert part.name == "resources"
        assert part.ok is False
        assert part.holds_events is False
        assert f"worker-webhook on {short[0][0].host} short of open files (descriptors)" in part.words
        assert Resource.OPEN_FILES.hint in part.words
        exposed = PROCESSES_SHORT.of(Counter(resource for _, resource in short))
        counts = {one.labels["resource"]: one.value for one in exposed.samples}
        assert (counts["open_files"], counts["threads"]) == (2, 0)

        now = OVER_AFTER
        wait_until(lambda: not list(short_processes(living_processes(client))), "it is over")
        assert resources_parts([]) == []
    finally:
        sign.stop()


def test_connections_are_reported_while_they_stand(client: redis.Redis) -> None:
    """One that the other side has ended is none, whether or not this side has noticed."""
    sign = Heartbeat(client, "worker-syslog_cef")
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        port = listening.getsockname()[1]
        peer = f"127.0.0.1:{port}"

        def held(role: str) -> int:
            return connections_to(living_processes(client), role, ["127.0.0.2:1", peer])

        with GUARD.dial("127.0.0.1", port, 5), GUARD.dial("127.0.0.1", port, 5):
            first, _ = listening.accept()
            second, _ = listening.accept()
            sign.start()
            wait_until(lambda: held("worker-syslog_cef") == 2, "both are reported")
            assert held("worker-webhook") == 0
            first.close()
            wait_until(lambda: held("worker-syslog_cef") == 1, "one has ended")
            second.close()
    sign.stop()


def test_a_heartbeat_costs_two_round_trips(client: redis.Redis) -> None:
    """It asks for the time of Redis, then writes all its keys: every process does so every two seconds."""
    sign = Heartbeat(client, "router", "worker-webhook", "worker-splunk_hec")
    sign._beat()  # noqa: SLF001 - the first one learns the number of its connection

    with round_trips() as count:
        sign._beat()  # noqa: SLF001 - as its thread does

    assert count() == 2
    assert roles_alive(client) == {"router", "worker-webhook", "worker-splunk_hec"}
