"""Connections share the descriptors of the process: idle ones make room, each sending has its share."""

import os
import resource
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, closing

import pytest
import trustme

from tests.destinations.batches import attempt_of, soon
from tests.destinations.senders import GUARD as LOOPBACK
from tests.destinations.senders import webhook_to
from tests.receivers.scripts import Action, Request
from tests.receivers.webhook import WebhookReceiver
from tests.transports.certificates import server_context
from tests.transports.curl.flights import post, posting
from tests.transports.endpoint import Endpoint, answers
from tests.transports.ways import WAYS
from worker.broker.celery_worker import SparingTaskPool
from worker.integrations import TlsOptions
from worker.model.deliveries import Verdict
from worker.model.errors import OutOfResources
from worker.model.outages import Resource
from worker.transports import budget
from worker.transports.budget import (
    BUDGET,
    OF_EACH_FLIGHT,
    DescriptorBudget,
    raise_descriptor_limit,
    threads_within,
)
from worker.transports.guard import Guard
from worker.transports.probe import connect_first
from worker.transports.shortages import OVER_AFTER, ShortageLog


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> int:
    """Leave this process a few places for connections, and little patience."""
    few = 4
    for keeper in list(BUDGET._keepers):  # noqa: SLF001 - what earlier tests have left behind
        keeper.close_idle()
    monkeypatch.setattr(budget, "LONGEST_WAIT", 0.2)
    flights = 1 + BUDGET._flights  # noqa: SLF001 - those of earlier tests as well
    monkeypatch.setattr(DescriptorBudget, "most", few + OF_EACH_FLIGHT * flights)
    return few


@pytest.fixture
def guard() -> Guard:
    """Give a guard that lets loopback through."""
    return LOOPBACK


def test_idle_connections_make_room_for_busy_ones(guard: Guard, places: int) -> None:
    """Whatever keeps them, and the one first that has rested longest; none is refused meanwhile."""
    with ExitStack() as stack:
        endpoints = [stack.enter_context(Endpoint(answers())) for _ in range(3 * places)]
        senders = [stack.enter_context(posting(guard, one.url())) for one in endpoints]
        for _ in range(2):
            for sender in senders:
                assert post(sender).status == 200
        # The latest to rest are open still.
        accepted = [one.accepted for one in endpoints]
        assert post(senders[-1]).status == 200
        assert [one.accepted for one in endpoints] == accepted


def test_connections_are_counted_by_their_other_end(monkeypatch: pytest.MonkeyPatch, guard: Guard) -> None:
    """Also where the system does not show their state, for a heartbeat rests on that; but no datagrams."""
    monkeypatch.delattr(socket, "TCP_INFO")
    with Endpoint(answers()) as endpoint:
        peer = f"127.0.0.1:{endpoint.port}"
        with guard.dial("127.0.0.1", endpoint.port, 5), guard.dial_datagrams("127.0.0.1", endpoint.port, 5):
            assert BUDGET.peers()[peer] == 1
        assert BUDGET.peers()[peer] == 0


def test_all_ways_share_the_places(guard: Guard, places: int) -> None:
    """A connection in use is never closed: what finds no place is not sent, and says what is short."""
    with ExitStack() as stack:
        endpoint = stack.enter_context(Endpoint(answers()))
        for _ in range(places + OF_EACH_FLIGHT):
            stack.enter_context(guard.dial("127.0.0.1", endpoint.port, 5))
        with pytest.raises(OutOfResources, match=r"no descriptor is left for a connection to 127\.0\.0\.1:"):
            guard.dial("127.0.0.1", endpoint.port, 5)
        sender = stack.enter_context(posting(guard, endpoint.url()))
        with pytest.raises(OutOfResources) as short:
            post(sender)
        assert short.value.resource is Resource.OPEN_FILES
    with closing(_listening()) as listening, guard.dial("127.0.0.1", listening.getsockname()[1], 5):
        pass


def test_a_batch_goes_on_over_the_connections_that_it_gets(places: int) -> None:
    """Sixty events with 32 connections wanted and a handful to be had: all arrive, none is sent twice."""
    at_once: list[int] = []
    under_way: set[int] = set()

    def slowly(request: Request) -> Action:
        under_way.add(id(request))
        at_once.append(len(under_way))
        time.sleep(0.005)
        under_way.discard(id(request))
        return Action(200, b"", request.events)

    attempt = attempt_of(60)
    with WebhookReceiver(slowly) as endpoint, webhook_to(endpoint.url, connections=32) as sender:
        results = sender.send(attempt, soon())

    assert {result.verdict for result in results} == {Verdict.ACCEPTED}
    assert set(attempt.request_counts) <= {1, 2}  # one whose connection was refused was not sent
    assert endpoint.ids == {event.id: 1 for event in attempt.batch.events}
    assert max(at_once) <= places


def test_sendings_at_the_same_time_have_a_share_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """One alone may have all, and gives way when others come."""
    monkeypatch.setattr(DescriptorBudget, "most", 90)
    made = DescriptorBudget()
    with made.sending():
        assert made.share == 90 - OF_EACH_FLIGHT
        with made.sending(), made.sending():
            assert made.share == 30 - OF_EACH_FLIGHT
        assert made.share == 90 - OF_EACH_FLIGHT


@pytest.mark.parametrize(("limit", "threads"), [(256, 34), (1024, 128), (1_048_576, 128), (64, 2), (20, 1)])
def test_threads_follow_the_limit(limit: int, threads: int) -> None:
    """Each needs a connection to Redis, one to publish orders, and one to a destination at least."""
    assert threads_within(limit, 128) == threads


def test_every_process_raises_its_soft_limit() -> None:
    """The low one that systems begin with is for programs that call select(2)."""
    program = (
        "import resource\n"
        "from worker.transports.budget import raise_descriptor_limit\n"
        "print(raise_descriptor_limit(), *resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    limit = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 4096)
    command = ["bash", "-c", f'ulimit -Sn 256; ulimit -Hn {limit}; exec "$@"', "limited", sys.executable]
    done = subprocess.run([*command, "-c", program], capture_output=True, check=True, timeout=180)
    assert done.stdout.split() == [str(limit).encode()] * 3


@pytest.mark.parametrize("way", WAYS)
def test_numbers_beyond_those_of_select(guard: Guard, ca: trustme.CA, way: str) -> None:
    """From 1024 on, select(2) fails or writes where it must not: with the limit raised, such numbers come."""
    raise_descriptor_limit()
    options = TlsOptions(ca_pem=ca.cert_pem.bytes().decode())
    with ExitStack() as stack:
        for _ in range(1024):
            stack.callback(os.close, os.dup(0))
        context = server_context(ca.issue_cert("127.0.0.1"))
        context.num_tickets = 0  # then it is waited for whether we are let in
        endpoint = stack.enter_context(Endpoint(answers(), tls=context))
        assert WAYS[way](guard, "127.0.0.1", endpoint.port, options, 100) == "200"
        made = stack.enter_context(
            closing(connect_first(guard, "127.0.0.1", ["127.0.0.1"], endpoint.port, 5))
        )
        assert made.shake_hands(options, "127.0.0.1", 5).failure is None
        made.hear_whether_let_in(0.2)


def test_a_closed_connection_leaves_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if its number belongs to another file by then."""
    monkeypatch.setattr(DescriptorBudget, "most", 1)
    made, sock = DescriptorBudget(), _listening()
    number = sock.fileno()
    made.note(number)
    assert not made.has_place()
    sock.close()
    with open(os.devnull) as other:  # noqa: PTH123 - whatever gets the number
        assert other.fileno() == number
        assert made.has_place()


def test_the_pool_goes_on_with_the_threads_that_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery's own would end the worker amid its batches."""
    pool = SparingTaskPool(limit=4)
    done = threading.Semaphore(0)
    gate = threading.Event()
    pool.on_apply(gate.wait, (5,))

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        for _ in range(3):
            pool.on_apply(done.release, ())
    gate.set()
    assert all(done.acquire(timeout=20) for _ in range(3))
    pool.on_stop()


def test_one_line_when_it_is_short_and_one_when_that_is_over(caplog: pytest.LogCaptureFixture) -> None:
    """Not one for each batch."""
    now = 100.0
    reported = ShortageLog(lambda: now)
    for _ in range(50):
        reported.note(Resource.PORTS, "cannot connect to 10.0.0.1:443: Cannot assign requested address")
        now += 1
        assert reported.current() == [Resource.PORTS]
    assert len(caplog.messages) == 1
    now += OVER_AFTER
    assert reported.current() == []
    begun, over = caplog.messages
    assert begun.startswith("this process is short of local ports: cannot connect to 10.0.0.1:443")
    assert "counts as no attempt" in begun
    assert "ip_local_port_range" in begun
    assert over == "this process has enough local ports again: it was short for 49 s, 50 times"


def _listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))
