"""What a process is short of is seen by others: in its heartbeat, in health, in the metrics."""

import socket
from collections import Counter
from contextlib import closing

import pytest
import redis

from tests.destinations.senders import GUARD
from tests.fleet import wait_until
from worker.api.metric_definitions import PROCESSES_SHORT
from worker.broker import heartbeat
from worker.broker.fleet import living_processes
from worker.broker.heartbeat import Heartbeat, connections_to, short_processes
from worker.model.fleet_health import resources_parts
from worker.model.outages import Resource
from worker.transports.shortages import OVER_AFTER, ShortageLog

pytestmark = pytest.mark.slow


def test_a_shortage_is_told_while_it_lasts(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """By one name everywhere, with the host and the hint; and 0 of what nobody is short of."""
    now = 0.0
    told = ShortageLog(lambda: now)
    monkeypatch.setattr(heartbeat, "SHORTAGES", told)
    told.note(Resource.OPEN_FILES, "cannot open sockets")
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


def test_connections_are_told_while_they_stand(client: redis.Redis) -> None:
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
            wait_until(lambda: held("worker-syslog_cef") == 2, "both are told")
            assert held("worker-webhook") == 0
            first.close()
            wait_until(lambda: held("worker-syslog_cef") == 1, "one has ended")
            second.close()
    sign.stop()
