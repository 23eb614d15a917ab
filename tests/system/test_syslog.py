"""What a syslog receiver may do, through the whole pipeline: what arrives, and what the ledger says of it."""

import threading
import time
from typing import Any

import pytest

from tests.fleet import wait_until
from tests.receivers.syslog import SyslogReceiver, SyslogUdpReceiver
from tests.receivers.syslog_behaviours import (
    Behaviour,
    first,
    half_closes,
    never_ends,
    on_cue,
    reads,
    resets,
    slowly,
    stalls,
)
from tests.system.conftest import Customer
from worker.ledger.results import DeliveryRow
from worker.model.deliveries import MAX_REQUESTS, Status
from worker.transports.syslog.pool import SUSPICIOUS

#: Together with a small buffer of the receiver, more than its system takes without the program reading.
LARGE = {"reason": "x" * 1_000, "context": {"detail": "y" * 2_000}}


def ids(messages: list[bytes]) -> list[str]:
    """Read the ids of events out of messages."""
    return [message.partition(b" externalId=")[2].split(b" ")[0].decode() for message in messages]


def delivered(rows: dict[str, DeliveryRow]) -> set[str]:
    """Name the events that were delivered."""
    return {event_id for event_id, row in rows.items() if row.status is Status.DELIVERED}


@pytest.mark.parametrize("framing", ["newline", "octet_counted"])
def test_events_arrive_as_cef(customer: Customer, framing: str) -> None:
    """Every event is a message of its own, in order, whatever stands in it; the ledger has its row."""
    with SyslogReceiver(framing=framing) as siem:
        customer.integrate(siem.url, framing=framing, facility="local3")
        published = customer.publish(customer.events(50, reason="Über\n<131>| die = Grenze\\"))
        rows = customer.settled(50)

        assert ids(siem.wait_for(50)) == published
        assert siem.messages[0].startswith(
            b"<155>Nov 22 10:11:12 mitrity CEF:0|MITRITY|MITRITY Platform|1.0|"
        )
        assert delivered(rows) == set(published)
        assert {(row.attempts, row.http_status, row.error) for row in rows.values()} == {(1, None, None)}


def test_batches_share_connections(customer: Customer) -> None:
    """A worker process keeps them from one batch to the next."""
    with SyslogReceiver() as siem:
        customer.integrate(siem.url)
        for number in range(5):
            customer.publish(customer.events(10)[2 * number : 2 * number + 2])
            customer.settled(2 * number + 2)

        assert len(siem.messages) == 10
        assert siem.accepted == 1


@pytest.mark.slow
def test_a_receiver_that_restarts(customer: Customer) -> None:
    """What was sent before and after arrives; the connections that went with it lose nothing."""
    with SyslogReceiver() as siem:
        customer.integrate(siem.url)
        events = customer.events(20)
        customer.publish(events[:10])
        customer.settled(10)
        siem.wait_for(10)
        time.sleep(SUSPICIOUS + 0.5)  # sooner, what was sent last would be repeated
        siem.restart()
        customer.publish(events[10:])
        rows = customer.settled(20)

        assert sorted(ids(siem.wait_for(20))) == sorted(event["id"] for event in events)
        assert delivered(rows) == {event["id"] for event in events}


def test_a_receiver_that_comes_back(customer: Customer) -> None:
    """While nobody listens, events are retried; they arrive once somebody does."""
    with SyslogReceiver() as siem:
        siem.stop()
        customer.integrate(siem.url)
        [event_id] = customer.publish(customer.events(1))
        row = customer.fleet.first_row(customer.integration)
        siem.start()
        rows = customer.settled(1)

        assert row.error_code == "connect_failed"
        assert rows[event_id].status is Status.DELIVERED
        assert rows[event_id].attempts >= 2
        assert ids(siem.wait_for(1)) == [event_id]


ENDS = {"half closes": half_closes(0), "resets": resets(0)}


@pytest.mark.slow
@pytest.mark.parametrize("ending", ENDS.values(), ids=ENDS)
def test_a_receiver_that_ends_idle_connections(customer: Customer, ending: Behaviour) -> None:
    """The next batch has a new connection, at the first attempt, and nothing is lost."""
    cue = threading.Event()
    with SyslogReceiver(first(1, on_cue(cue, ending))) as siem:
        customer.integrate(siem.url)
        events = customer.events(2)
        customer.publish(events[:1])
        customer.settled(1)
        siem.wait_for(1)
        time.sleep(SUSPICIOUS + 0.5)  # sooner, what was sent last would be repeated
        cue.set()
        siem.wait_for_ends(1)
        customer.publish(events[1:])
        rows = customer.settled(2)

        assert ids(siem.wait_for(2)) == [event["id"] for event in events]
        assert {row.attempts for row in rows.values()} == {1}


BREAKS = {
    "stalls": (stalls, "timed_out"),
    "resets": (resets(10), "connection_lost"),
    "half closes": (half_closes(10, then=reads), "closed_unconfirmed"),
}


@pytest.mark.parametrize(("behaviour", "code"), BREAKS.values(), ids=BREAKS)
def test_a_batch_that_breaks_off_is_sent_again(customer: Customer, behaviour: Behaviour, code: str) -> None:
    """All of it, with the same ids: the receiver may have some twice, but misses none."""
    with SyslogReceiver(first(1, behaviour), receive_buffer=4_096) as siem:
        customer.integrate(siem.url, timeout_seconds=0.5)
        published = customer.publish(customer.events(300, **LARGE))
        retrying = customer.fleet.first_row(customer.integration)
        rows = customer.settled(300)

        assert retrying.error_code in {code, None}
        assert delivered(rows) == set(published)
        assert max(row.attempts for row in rows.values()) == 2
        wait_until(lambda: set(ids(siem.messages)) == set(published), "all have arrived")


def test_a_slow_receiver(customer: Customer) -> None:
    """It is waited for, within the integration's timeout, and gets every event once."""
    with SyslogReceiver(slowly(0.002, 16_384), receive_buffer=16_384) as siem:
        customer.integrate(siem.url, timeout_seconds=2.5)
        published = customer.publish(customer.events(300, **LARGE))
        rows = customer.settled(300)

        assert sorted(ids(siem.wait_for(300))) == sorted(published)
        assert {row.attempts for row in rows.values()} == {1}


def test_deliveries_that_are_confirmed(customer: Customer) -> None:
    """With `confirm_by_shutdown`, every batch has a connection of its own, which the receiver closes."""
    with SyslogReceiver() as siem:
        customer.integrate(siem.url, confirm_by_shutdown=True)
        events = customer.events(20)
        for number in range(2):
            customer.publish(events[10 * number : 10 * number + 10])
            customer.settled(10 * number + 10)

        assert ids(siem.messages) == [event["id"] for event in events]
        assert siem.accepted == 2


@pytest.mark.parametrize("behaviour", [stalls, never_ends])
def test_deliveries_that_are_never_confirmed(customer: Customer, behaviour: Behaviour) -> None:
    """What the receiver's system took does not count; the dead letter says which setting to mend."""
    with SyslogReceiver(behaviour) as siem:
        customer.integrate(siem.url, confirm_by_shutdown=True, timeout_seconds=0.3, max_retries=1)
        [event_id] = customer.publish(customer.events(1))
        row = customer.settled(1)[event_id]

        assert row.status == Status.DEAD
        assert row.attempts == 2
        assert row.error_code == "unconfirmed"
        assert "switch the integration's `confirm_by_shutdown` off" in (row.hint or "")


def test_datagrams(customer: Customer) -> None:
    """Every event is a datagram of at most the configured length."""
    with SyslogUdpReceiver() as siem:
        customer.integrate(siem.url, max_message_bytes=600)
        published = customer.publish(customer.events(100, **LARGE))
        rows = customer.settled(100)

        assert ids(siem.wait_for(100)) == published
        assert max(len(message) for message in siem.messages) <= 600
        assert delivered(rows) == set(published)


def test_datagrams_that_nobody_hears(customer: Customer) -> None:
    """A closed port is noticed, retried, and told: of one batch, for two would open the breaker."""
    with SyslogUdpReceiver() as siem:
        pass
    customer.integrate(siem.url)
    published = customer.publish(customer.events(20))
    rows = customer.settled(20)

    assert {(row.status, row.attempts) for row in rows.values()} == {(Status.DEAD, MAX_REQUESTS)}
    assert {row.error_code for row in rows.values()} == {"connect_failed"}
    assert sorted(letter.event_id or "" for letter in customer.dead()) == sorted(published)


def test_datagrams_at_a_gentle_pace(customer: Customer) -> None:
    """What the pace leaves over in one attempt goes out in the next, once."""
    with SyslogUdpReceiver() as siem:
        pace: dict[str, Any] = {"max_datagrams_per_second": 100, "timeout_seconds": 0.4}
        customer.integrate(siem.url, **pace)
        published = customer.publish(customer.events(100))
        rows = customer.settled(100)

        assert sorted(ids(siem.wait_for(100))) == sorted(published)
        assert {row.attempts for row in rows.values()} == {1}
