"""What this process lacks is charged to no destination: no attempt, no verdict, no dead letter."""

import errno
import itertools
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.destinations.batches import attempt_of
from tests.destinations.senders import GUARD
from tests.receivers import scripts
from tests.receivers.acks import unnumbered
from tests.receivers.hec import HecReceiver
from tests.receivers.syslog import SyslogReceiver, SyslogUdpReceiver
from tests.receivers.syslog_behaviours import resets
from tests.receivers.webhook import WebhookReceiver
from tests.transports.few_descriptors import few_descriptors
from worker.broker.backlog import Backlog, Claim
from worker.destinations.registry import make_sender
from worker.destinations.syslog_cef.withdrawals import WithdrawnParts
from worker.integrations.integration import parse_integration
from worker.model.batches import SETTLED, Batch
from worker.model.deliveries import MAX_REQUESTS, BreakerSignal, Settlement, Status
from worker.model.errors import DeliveryDead, DeliveryDelayed, OutOfResources, TransientDelivery
from worker.model.orders import WorkOrder
from worker.model.outages import Resource
from worker.model.settlement import SHORTAGE_PAUSE
from worker.pipeline.delivery import DeliveryWorker, Timeouts
from worker.transports.curl import exchange
from worker.transports.curl.posts import CurlTransport
from worker.transports.deadline import DeadlineSocket
from worker.transports.guard import Guard
from worker.transports.syslog import datagrams
from worker.transports.syslog import stream as syslog_stream
from worker.transports.syslog.bare_send import sending
from worker.transports.syslog.pool import EndWatch

EVENTS = 12


class _OneBatch:
    """Stands in for the backlog in Redis: hands out one batch, and keeps what is settled."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.settlements: list[Settlement] = []

    def claim(self, _order: WorkOrder) -> Claim:
        return Claim(self.batch, None)

    def settle(self, _batch: Batch, settlement: Settlement, *, stay: bool) -> None:
        assert not stay
        self.settlements.append(settlement)
        counts = (
            settlement.retry.request_counts if settlement.retry else bytes([SETTLED] * len(self.batch.events))
        )
        self.batch = replace(self.batch, request_counts=counts)


def _hec() -> Any:
    return HecReceiver()


RECEIVERS: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "splunk": (_hec, {"type": "splunk_hec", "token": "secret-token", "batch_events": 5}),
    "webhook": (WebhookReceiver, {"type": "webhook", "connections": 4}),
    "webhook, arrays": (WebhookReceiver, {"type": "webhook", "body": "array", "batch_events": 5}),
    "syslog over TCP": (SyslogReceiver, {"type": "syslog_cef", "batch_events": 5}),
    "syslog over UDP": (SyslogUdpReceiver, {"type": "syslog_cef"}),
}


@pytest.fixture(params=RECEIVERS)
def destination(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """Give a destination of each kind, whose receiver takes everything."""
    receiver, options = RECEIVERS[request.param]
    with receiver() as running:
        yield {"url": running.url} | options


@contextmanager
def _delivering(batch: Batch, destination: dict[str, Any]) -> Iterator[Callable[[], Settlement]]:
    """Give what delivers the batch once more, as a worker does, and returns how it was settled."""
    integration = parse_integration({"id": "int_1", "name": "one", "destination": destination})
    backlog = _OneBatch(replace(batch, configuration=b'{"any": "thing"}'))

    def open_sender(_document: bytes) -> Any:
        return integration, make_sender(integration, GUARD, connections=2)

    delivery_worker = DeliveryWorker(
        cast("Backlog", backlog), open_sender, lambda _order, _kind: None, "any", Timeouts(10, 20, 2)
    )

    def deliver() -> Settlement:
        with suppress(DeliveryDead, DeliveryDelayed, TransientDelivery):
            delivery_worker.deliver(batch.order)
        return backlog.settlements.pop()

    try:
        yield deliver
    finally:
        delivery_worker.close()


def _spent(count: int) -> Batch:
    """Return a batch that any further failure would kill: its attempts and requests are used up."""
    batch = attempt_of(count).batch
    return replace(batch, attempts=3, request_counts=bytes([MAX_REQUESTS - 1] * (count - 1) + [MAX_REQUESTS]))


def _check_nobody_is_charged(batch: Batch, settlement: Settlement, before: bytes) -> None:
    assert settlement.settled == 0
    assert settlement.dead == []
    assert settlement.health is BreakerSignal.UNKNOWN
    assert {(one.status, one.sent) for one in settlement.outcomes} == {(Status.RETRYING, False)}
    assert {one.failure.code for one in settlement.outcomes if one.failure} == {"out_of_resources"}
    retry = settlement.retry
    assert retry is not None
    assert retry.attempts == batch.attempts
    assert retry.request_counts == before
    assert retry.by_celery is False
    assert retry.reason == "out_of_resources"
    assert 0 < retry.seconds < 2 * SHORTAGE_PAUSE


@pytest.mark.parametrize("is_probe", [False, True])
def test_a_process_without_descriptors(destination: dict[str, Any], *, is_probe: bool) -> None:
    """Whatever the batch has behind it, and whether or not it tries a destination that was down."""
    batch = replace(_spent(EVENTS), probing=is_probe)
    before = bytes(batch.request_counts)
    with _delivering(batch, destination) as deliver:
        with few_descriptors(0):
            found = deliver()
        _check_nobody_is_charged(batch, found, before)
        assert deliver().settled == (1 if is_probe else EVENTS)


def test_a_sender_that_cannot_even_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key in a file, a time zone, a CA: what a sender reads to begin with may not open either."""
    batch = _spent(EVENTS)
    before = bytes(batch.request_counts)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with _delivering(batch, {"type": "webhook", "url": "http://127.0.0.1:9/"}) as deliver:
        monkeypatch.setattr("tests.destinations.test_shortages.make_sender", refuse)
        _check_nobody_is_charged(batch, deliver(), before)


@pytest.mark.parametrize("number", [errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM, errno.ENFILE])
@pytest.mark.parametrize("kind", ["splunk", "webhook", "syslog over TCP", "syslog over UDP"])
def test_a_machine_without_ports_or_memory(monkeypatch: pytest.MonkeyPatch, kind: str, number: int) -> None:
    """None of it can be used up for a test, so the system's refusal is a stand-in."""
    batch = _spent(EVENTS)
    before = bytes(batch.request_counts)

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    receiver, options = RECEIVERS[kind]
    with receiver() as running, _delivering(batch, {"url": running.url} | options) as deliver:
        with monkeypatch.context() as patched:
            patched.setattr(DeadlineSocket, "connect", refuse)
            patched.setattr(DeadlineSocket, "connect_ex", lambda _socket, _address: number)
            patched.setattr(exchange, "socket", SimpleNamespace(**vars(socket) | {"socket": refuse}))
            _check_nobody_is_charged(batch, deliver(), before)
        assert deliver().settled == EVENTS


def test_what_may_have_arrived_is_not_kept_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once events are on their way, a lack of memory breaks a connection: they are not sent without end."""
    batch = attempt_of(EVENTS).batch

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    receiver, options = RECEIVERS["syslog over TCP"]
    with receiver() as running, _delivering(batch, {"url": running.url} | options) as deliver:
        with monkeypatch.context() as patched:
            patched.setattr(DeadlineSocket, "send_at_once", refuse)
            found = deliver()
        assert found.retry is not None
        assert found.retry.attempts == 1
        assert found.retry.request_counts[0] == 1
        assert {one.failure.code for one in found.outcomes if one.failure} == {"connection_lost"}


#: What fails for want of memory: before anything of a request has gone out, and after it.
_BEFORE = {
    "splunk": "worker.destinations.splunk_hec.client.HecClient._packed",
    "webhook": "worker.destinations.webhook.format.WebhookFormat.request",
    "webhook, arrays": "worker.transports.curl.exchange.Exchange.load",
    "syslog over TCP": "worker.transports.guard.Guard.dial",
    "syslog over UDP": "worker.transports.guard.Guard.dial_datagrams",
}
_AFTER = {
    "splunk": "worker.transports.curl.posts._reply",
    "webhook": "worker.transports.curl.flight.Flight._collect",
    "webhook, arrays": "worker.transports.curl.flight.Flight._collect",
    "syslog over TCP": "worker.transports.syslog.flow_control.Outflow.drain",
    "syslog over UDP": "worker.transports.syslog.datagrams._look",
}


def _out_of_memory(*_: object, **__: object) -> None:
    raise MemoryError


@pytest.mark.parametrize("kind", RECEIVERS)
def test_memory_that_lacks_before_anything_is_sent_counts_nothing(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """However often: no request has carried the events."""
    batch = _spent(EVENTS)
    before = bytes(batch.request_counts)
    receiver, options = RECEIVERS[kind]
    with receiver() as running, _delivering(batch, {"url": running.url} | options) as deliver:
        with monkeypatch.context() as patched:
            patched.setattr(_BEFORE[kind], _out_of_memory)
            _check_nobody_is_charged(batch, deliver(), before)
        assert deliver().settled == EVENTS


@pytest.mark.parametrize("kind", RECEIVERS)
@pytest.mark.parametrize(
    ("error", "words"), [(MemoryError, ""), (RuntimeError, "can't start new thread"), (LookupError, "a bug")]
)
def test_what_has_gone_out_counts_whatever_ends_the_sending(
    monkeypatch: pytest.MonkeyPatch, kind: str, error: type[Exception], words: str
) -> None:
    """The destination may have it: so each event is carried by so many requests, and then it is dead."""
    batch = attempt_of(EVENTS).batch

    def fail(*_: object, **__: object) -> None:
        raise error(words)

    receiver, options = RECEIVERS[kind]
    with receiver() as running, _delivering(batch, {"url": running.url} | options) as deliver:
        monkeypatch.setattr(_AFTER[kind], fail)
        found = deliver()
        assert found.retry is not None
        assert found.retry.request_counts[0] == 1
        assert max(found.retry.request_counts) == 1
        assert found.retry.attempts == (error is LookupError)
        rounds = (deliver() for _ in range(EVENTS * MAX_REQUESTS))
        assert any(settlement.retry is None for settlement in rounds)


def _short_from_the_second_call(monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
    real, calls = getattr(owner, name), itertools.count()

    def short(*args: Any, **options: Any) -> Any:
        if next(calls):
            raise OutOfResources("no descriptor is left", Resource.OPEN_FILES)
        return real(*args, **options)

    monkeypatch.setattr(owner, name, short)


def test_a_shortage_after_a_reset_uncounts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the receiver read before it hung up counts, although the second try found no descriptor."""
    batch = attempt_of(EVENTS).batch
    destination = {"type": "syslog_cef", "batch_events": 5}
    monkeypatch.setattr(syslog_stream, "_SHORTEST_MOMENT", 10.0)  # the reset ends it
    monkeypatch.setattr(syslog_stream, "_LONGEST_MOMENT", 10.0)
    with (
        SyslogReceiver(resets(5)) as running,
        _delivering(batch, destination | {"url": running.url}) as deliver,
    ):
        _short_from_the_second_call(monkeypatch, Guard, "dial")
        found = deliver()
    assert found.retry is not None
    assert found.retry.request_counts == bytes([1] * 5 + [0] * 7)
    waiting = [(len(one.events), one.sent) for one in found.outcomes]
    assert sorted(waiting) == [(1, True), (2, False), (2, True), (2, True), (5, False)]


def test_a_shortage_after_events_without_an_ack_id_uncounts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Splunk took what stands before the refused event, and is sent it again only to have it confirmed."""
    batch = attempt_of(EVENTS).batch
    refuses = scripts.offender(lambda event: event["id"] == "e4")
    destination = {"type": "splunk_hec", "token": "secret-token", "use_ack": True}
    with HecReceiver(unnumbered(refuses)) as running:
        with _delivering(batch, destination | {"url": running.url}) as deliver:
            _short_from_the_second_call(monkeypatch, CurlTransport, "post")
            found = deliver()
        assert len(running.posts) == 1
    assert found.retry is not None
    assert min(found.retry.request_counts[:4]) >= 1
    assert found.retry.request_counts[4:] == bytes([SETTLED] + [0] * 7)


def test_a_datagram_that_was_not_taken_holds_up_those_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those before it have gone, and do not go again."""
    batch = attempt_of(EVENTS).batch
    sent: list[int] = []

    def refusing(sock: socket.socket) -> Callable[[bytes], object]:
        put = sending(sock)

        def refuse_the_fifth(message: bytes) -> None:
            sent.append(len(message))
            if len(sent) == 5:
                raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
            put(message)

        return refuse_the_fifth

    receiver, options = RECEIVERS["syslog over UDP"]
    with receiver() as running, _delivering(batch, {"url": running.url} | options) as deliver:
        monkeypatch.setattr(datagrams, "sending", refusing)
        found = deliver()

        assert found.settled == 4
        assert found.dead == []
        assert found.health == BreakerSignal.WELL
        assert found.retry is not None
        assert found.retry.request_counts == bytes([255] * 4 + [0] * 8)
        assert deliver().settled == 8
        assert len(sent) == EVENTS + 1


def test_a_watch_without_a_thread_fails_no_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was sent is sent; the end of a connection is noticed when a thread can be had, or at the end."""
    watch, ended = EndWatch(), []

    class Ended:
        seconds_old = 0.0

        def has_hung_up(self) -> bool:
            return True

        def close(self) -> None:
            pass

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        watch.follow(Ended(), lambda: ended.append("reported"))
    watch.wait_until_over()
    assert ended == ["reported"]


def test_what_is_taken_back_without_a_timer_is_reported_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next sending reports it, or the end of the sender."""
    written: list[int] = []
    parts = WithdrawnParts(lambda part: written.append(len(part.events)))

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        parts.of(attempt_of(3), [0, 1])()
    parts.write_now()
    assert written == [2]
