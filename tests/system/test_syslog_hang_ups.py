"""Receivers that hang up on what they are sent, through the whole pipeline: what dies, what comes again."""

import threading
from collections import Counter

import pytest

from tests.fleet import wait_until
from tests.receivers.syslog import SyslogReceiver
from tests.receivers.syslog_behaviours import Behaviour, Visit, first, half_closes, on_cue, reads, resets
from tests.system.conftest import Customer
from tests.system.test_syslog import LARGE, delivered, ids
from worker.ledger.results import DeliveryRow
from worker.model.deliveries import MAX_REQUESTS, Status

pytestmark = pytest.mark.slow

ALWAYS = {
    "resets": (resets(1), "connection_lost"),
    "half closes": (half_closes(1, then=reads), "closed_unconfirmed"),
}


@pytest.mark.parametrize(("behaviour", "code"), ALWAYS.values(), ids=ALWAYS)
def test_a_receiver_that_always_breaks_off_costs_no_event(
    customer: Customer, behaviour: Behaviour, code: str
) -> None:
    """It is tried with ever less, and then the breaker holds everything until it takes something."""
    with SyslogReceiver(behaviour, receive_buffer=4_096) as siem:
        customer.integrate(siem.url, timeout_seconds=0.3, batch_bytes=4_000_000)
        published = customer.publish(customer.events(300, **LARGE))
        held = customer.held()
        dead = customer.dead()
        siem.behaviour = reads
        siem.restart()
        rows = customer.settled(300)

        assert held.error_code == code
        assert held.hint
        assert f"127.0.0.1:{siem.port}" in (held.error or "")
        assert dead == customer.dead() == []
        assert delivered(rows) == set(published)


@pytest.mark.parametrize(("behaviour", "code"), ALWAYS.values(), ids=ALWAYS)
def test_an_event_that_always_breaks_off_is_dead(customer: Customer, behaviour: Behaviour, code: str) -> None:
    """Four attempts, then a dead letter that says why and holds the payload."""
    with SyslogReceiver(behaviour) as siem:
        customer.integrate(siem.url)
        [event_id] = customer.publish(customer.events(1, **LARGE))
        row = customer.settled(1)[event_id]
        [letter] = customer.dead()

        assert row.status == Status.DEAD
        assert row.attempts == MAX_REQUESTS
        assert row.error_code == code
        assert (letter.event_id, letter.cause) == (event_id, "exhausted")


def test_one_event_on_which_the_receiver_hangs_up_dies_alone(customer: Customer) -> None:
    """The rest of its batch is delivered, with at most four requests each.

    What is behind it does not fit into the buffers of both systems: all of it would be withdrawn else, and
    wait for the next event.
    """

    def is_picky(visit: Visit) -> None:
        seen = len(siem.messages)
        while visit.read():
            if offender in ids(siem.messages[seen:]):
                resets(0)(visit)
                return

    with SyslogReceiver(is_picky, receive_buffer=4_096) as siem:
        customer.integrate(siem.url, batch_bytes=4_000_000)
        events = customer.events(200, **LARGE)
        offender = events[100]["id"]
        customer.publish(events)
        wait_until(lambda: _is_only_dead(customer, offender), "only the offender is dead")

        copies = Counter(ids(siem.messages))
        assert set(copies) >= {event["id"] for event in events} - {offender}


def _is_only_dead(customer: Customer, offender: str) -> bool:
    """Whether all has ended so; what was withdrawn in between is sent again by itself."""
    rows = {row.event_id: row for row in customer.fleet.rows(customer.integration)}
    dead = {event_id for event_id, row in rows.items() if row.status is Status.DEAD}
    return len(delivered(rows)) == 199 and dead == {offender}


def test_what_counted_until_the_receiver_hung_up_is_told_though_nothing_follows(customer: Customer) -> None:
    """A few seconds later, its only event is a dead letter that says why."""
    cue = threading.Event()
    with SyslogReceiver(on_cue(cue, resets(0))) as siem:
        customer.integrate(siem.url)
        [event_id] = customer.publish(customer.events(1))
        customer.settled(1)
        siem.wait_for(1)
        cue.set()
        siem.wait_for_ends(1)
        row = wait_until(lambda: _first_dead(customer), "it is taken back")
        [letter] = customer.dead()

        assert row.event_id == event_id
        assert row.error_code == "closed_unconfirmed"
        assert row.attempts == 1
        assert (letter.event_id, letter.cause) == (event_id, "exhausted")


def test_what_counted_until_the_receiver_hung_up_is_told_by_a_worker_that_ends(customer: Customer) -> None:
    """Told to end meanwhile, it watches its last batch to the end, and writes what became of that."""
    cue = threading.Event()
    with SyslogReceiver(on_cue(cue, resets(0))) as siem:
        customer.integrate(siem.url)
        [event_id] = customer.publish(customer.events(1))
        customer.settled(1)
        siem.wait_for(1)
        customer.fleet.processes["worker"].terminate()
        cue.set()
        siem.wait_for_ends(1)
        customer.fleet.terminate("worker")
        customer.fleet.start("worker")
        row = wait_until(lambda: _first_dead(customer), "it is taken back")

        assert row.event_id == event_id
        assert row.error_code == "closed_unconfirmed"
        assert row.attempts == 1


def _first_dead(customer: Customer) -> DeliveryRow | None:
    """Return the row of an event that is dead, once there is one."""
    rows = customer.fleet.rows(customer.integration)
    return next((row for row in rows if row.status is Status.DEAD), None)


def test_what_counted_until_the_receiver_hung_up_is_sent_again(customer: Customer) -> None:
    """An end just behind a batch withdraws it: it is dead for a while, and then goes out once more."""
    cue = threading.Event()
    with SyslogReceiver(first(1, on_cue(cue, resets(0)))) as siem:
        customer.integrate(siem.url)
        events = customer.events(2)
        customer.publish(events[:1])
        customer.settled(1)
        siem.wait_for(1)
        cue.set()
        siem.wait_for_ends(1)
        customer.publish(events[1:])
        customer.settled(2)
        wait_until(lambda: len(siem.messages) >= 3, "the withdrawn event is sent again", 120)
        wait_until(
            lambda: {row.status for row in customer.fleet.rows(customer.integration)} == {Status.DELIVERED},
            "both are delivered in the end",
        )

        assert Counter(ids(siem.messages)) == {events[0]["id"]: 2, events[1]["id"]: 1}
