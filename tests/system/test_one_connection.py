"""A receiver that allows one connection at a time: the doctor holds no second, and knows of the workers'."""

import contextlib
import itertools
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.destinations.checks.examinations import examined, one_at_a_time, results
from tests.fleet import Fleet, wait_until
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.receivers.syslog import SyslogReceiver
from tests.receivers.syslog_behaviours import Behaviour, Visit
from tests.system.conftest import denial
from tests.transports.certificates import server_context
from worker.broker.fleet import living_processes
from worker.broker.heartbeat import connections_to
from worker.model.fleet_health import worker_role

pytestmark = pytest.mark.slow

HOST = "127.0.0.1"


def _one(dawdles: float = 0.0) -> Behaviour:
    """Serve one connection, and end every further one at once; notice an end only after so many seconds."""
    busy = threading.Lock()

    def behave(visit: Visit) -> None:
        if busy.acquire(blocking=False):
            try:
                while visit.read():
                    pass
                visit.receiver.over.wait(dawdles)
                visit.end_in_order()
            finally:
                busy.release()

    return behave


@pytest.mark.parametrize("encrypts", [False, True])
@pytest.mark.parametrize("confirms", [False, True])
def test_the_doctor_holds_one_connection_at_a_time(*, encrypts: bool, confirms: bool) -> None:
    """Each is closed, and the other side has noticed, before the next is made."""
    ca = trustme.CA()
    tls = server_context(ca.issue_cert(HOST)) if encrypts else None
    with SyslogReceiver(_one(dawdles=0.4), tls=tls) as receiver:
        destination: dict[str, Any] = {"type": "syslog_cef", "url": receiver.url}
        if encrypts:
            destination["ca_pem"] = ca.cert_pem.bytes().decode()
        found = examined(destination | {"confirm_by_shutdown": confirms})

    assert "failed" not in results(found).values(), found
    assert found["test event"].result == "ok"


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Give a running fleet."""
    with Fleet(tmp_path) as made:
        yield made.start()


def _deliver(fleet: Fleet, integration: str, kind: str, port: int) -> None:
    """Deliver an event, and wait until the workers tell of the connection that they keep."""
    fleet.publish([denial(f"e-{integration}")])
    fleet.settled(1, integration)
    peers = [f"{HOST}:{port}"]
    wait_until(
        lambda: connections_to(living_processes(fleet.client), worker_role(kind), peers) == 1,
        "the worker tells of its connection",
    )


def _steps(fleet: Fleet, name: str) -> tuple[int, dict[str, dict[str, Any]]]:
    done = fleet.siem("doctor", name, "--timeout", "1", "--json")
    return done.returncode, {step["step"]: step for step in json.loads(done.stdout)["steps"]}


def test_who_ends_a_second_connection_while_a_worker_holds_one(fleet: Fleet) -> None:
    """That is no failure of an integration that delivers; when it is gone, it is one."""
    with SyslogReceiver(_one()) as receiver:
        fleet.integrate(receiver.url, "one")
        _deliver(fleet, "int_one", "syslog_cef", receiver.port)
        code, steps = _steps(fleet, "one")

        assert code == 0, steps
        assert steps["test event"]["result"] == "warning"
        assert "workers hold a connection to it, so it may allow no" in steps["test event"]["message"]
        assert "pause the integration" in steps["test event"]["hint"]
    # Until the worker tells that its connection is gone, too, the doctor may take it for the reason.
    _, steps = wait_until(lambda: (found := _steps(fleet, "one"))[0] == 1 and found, "the doctor fails")
    assert steps["connection"]["result"] == "failed"


def test_who_lets_a_second_connection_wait_while_a_worker_holds_one(fleet: Fleet) -> None:
    """It is silent, for it serves the worker; what rests on that step is not asked."""
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(one_at_a_time())
        stack.callback(fleet.terminate, "worker")  # or the server would wait for its connection
        fleet.integrate(f"http://{HOST}:{port}/hook", "queue", type="webhook")
        _deliver(fleet, "int_queue", "webhook", port)
        code, steps = _steps(fleet, "queue")

    assert code == 0, steps
    assert steps["connection"]["result"] == "ok"
    assert steps["test event"]["result"] == "warning"
    assert "workers hold a connection to it" in steps["test event"]["message"]


def test_a_destination_that_refuses_workers_is_not_believed_to_lack_connections(fleet: Fleet) -> None:
    """Its circuit breaker is open: what Splunk answers to the workers and to the doctor is a failure."""
    with HecReceiver() as splunk:
        fleet.integrate(splunk.url, "refuses")
        _deliver(fleet, "int_refuses", "splunk_hec", splunk.port)
        splunk.script = scripts.busy()
        numbers = itertools.count()

        def is_open() -> bool:
            fleet.publish([denial(f"e-{next(numbers)}")])
            return fleet.client.hget("siem:state:int_refuses", "breaker") == b"open"

        wait_until(is_open, "its breaker opens, while more waits")
        code, steps = _steps(fleet, "refuses")

    assert code == 1, steps
    assert (steps["token"]["result"], steps["token"]["message"]) == (
        "failed",
        "HTTP 503: Server is busy (code 9)",
    )
