"""Processes, Redis, or a whole host stand still for longer than a lease: nothing is lost, nor said to be."""

import os
import platform
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fleet import Fleet, wait_until
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.system.conftest import denial
from worker.model.deliveries import Status

pytestmark = pytest.mark.slow

SLOT = "siem:slot:int_splunk:1"


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet whose batches may take a while; nothing runs yet."""
    with Fleet(tmp_path, SIEM_LEASE="16", SIEM_SEND_DEADLINE="12") as fleet:
        yield fleet


class Gate:
    """A SIEM that lets its answers wait."""

    def __init__(self) -> None:
        """Begin closed."""
        self.opened = threading.Event()

    def script(self, request: scripts.Request) -> scripts.Action:
        """Take the events once the gate is open."""
        self.opened.wait(60)
        return scripts.ok()(request)


def begin(own: Fleet, splunk: HecReceiver) -> float:
    """Have a batch of one event under way; return when its lease runs out, in seconds since 1970."""
    own.integrate(splunk.url, timeout_seconds=12.0)
    own.start()
    await_sweep(own)
    own.publish([denial("e1")])
    splunk.wait_for_requests(1, 20)
    return (own.client.zscore("siem:leases", "int_splunk/1") or 0) / 1000


def await_sweep(own: Fleet, prepare: Callable[[], None] = lambda: None) -> None:
    """Wait until somebody has swept; `prepare` is called before that can be."""
    # Not a lease of anything: the next sweep takes it away.
    own.client.zadd("siem:leases", {"nothing/1": 1})
    prepare()
    wait_until(lambda: own.client.zscore("siem:leases", "nothing/1") is None, "somebody swept")


def suspend(own: Fleet, names: tuple[str, ...], gate: Gate, until: float) -> None:
    """Stop these processes, let the SIEM answer, and wake them behind that time: a worker after a sweep."""
    pids = {name: own.server.pid if name == "redis" else own.processes[name].pid for name in names}
    for pid in pids.values():
        os.kill(pid, signal.SIGSTOP)
    gate.opened.set()
    wait_until(lambda: time.time() > until, "the lease has run out")
    worker = pids.pop("worker", None)
    if "redis" in pids:
        os.kill(pids.pop("redis"), signal.SIGCONT)

    def wake() -> None:
        for pid in pids.values():
            os.kill(pid, signal.SIGCONT)

    await_sweep(own, wake)
    if worker is not None:
        os.kill(worker, signal.SIGCONT)


@pytest.mark.parametrize(
    "names",
    [("redis", "router", "recorder", "worker"), ("router", "worker"), ("redis",), ("router",)],
    ids=["the host", "the host, but for Redis", "Redis alone", "the router alone"],
)
def test_what_stood_still_has_lost_nothing(own: Fleet, names: tuple[str, ...]) -> None:
    """The lease ran out meanwhile, but its worker comes back and settles the batch, which is sent once."""
    gate = Gate()
    with HecReceiver(gate.script) as splunk:
        runs_out = begin(own, splunk)
        suspend(own, names, gate, runs_out + 1)
        [row] = own.settled(1)

    assert (row.status, row.attempts) == (Status.DELIVERED, 1)
    assert splunk.request_counts("e1") == 1
    assert [
        word
        for word in ("delivery.interrupted", "delivery.not_settled", "resending")
        if word in own.log("router")
    ] == []


def test_a_suspended_worker_is_named_and_not_blamed(own: Fleet) -> None:
    """Its batch goes to another one, for nobody knows whether it comes back; no event is suspected."""
    gate = Gate()
    with HecReceiver(gate.script) as splunk:
        begin(own, splunk)
        pid = own.processes["worker"].pid
        os.kill(pid, signal.SIGSTOP)
        gate.opened.set()
        wait_until(lambda: own.client.hget(SLOT, "state") == b"ordered", "the batch is given to another")
        losses = own.client.hget(SLOT, "losses")
        os.kill(pid, signal.SIGCONT)
        [row] = own.settled(1)

    who = f"the worker on {platform.node()} (pid {pid})"
    told = own.log("router")
    assert row.status is Status.DELIVERED
    assert losses is None
    assert f"1 batch(es) not settled in time by {who}, which is suspended or cut off" in told
    assert "resending: splunk (int_splunk)" in told
    assert "delivery.interrupted" not in told


def test_a_batch_of_a_killed_worker_is_told_with_its_names(own: Fleet) -> None:
    """Whose it was, where, and of which integration."""
    gate = Gate()
    with HecReceiver(gate.script) as splunk:
        begin(own, splunk)
        pid = own.processes["worker"].pid
        own.kill("worker")
        gate.opened.set()
        own.start("worker")
        [row] = own.settled(1)

    assert row.status is Status.DELIVERED
    who = f"the worker on {platform.node()} (pid {pid})"
    assert (
        f"1 batch(es) interrupted by the end of {who}; no event is lost, resending: splunk (int_splunk)"
        in own.log("router")
    )
