"""One message on which a receiver hangs up does not take its batch along: only it ends as a dead letter."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from tests.destinations.batches import attempt_of, next_attempt, soon
from tests.destinations.senders import syslog_to
from tests.destinations.syslog_cef.syslog_parser import ids
from tests.fleet import wait_until
from tests.receivers.syslog import SyslogReceiver
from tests.receivers.syslog_behaviours import Behaviour, Visit, closes, reads, resets
from worker.destinations.syslog_cef.sender import SyslogCefSender
from worker.integrations.integration import MAX_RETRIES
from worker.model.batches import DeliveryAttempt
from worker.model.deliveries import MAX_REQUESTS, Status
from worker.model.settlement import RetryPolicy, settle_results
from worker.transports.syslog import stream as syslog_stream
from worker.transports.syslog.connection import SyslogConnection
from worker.transports.syslog.flow_control import StallTimeout

pytestmark = pytest.mark.slow

ENDINGS = {"closes": closes(0), "resets": resets(0)}


class Picky:
    """A behaviour that hangs up as soon as it has read one of these events."""

    def __init__(self, offenders: set[str], ending: Behaviour) -> None:
        """End connections so."""
        self.offenders = offenders
        self.ending = ending

    def __call__(self, visit: Visit) -> None:
        """Read, and hang up on an offender."""
        receiver = visit.receiver
        assert isinstance(receiver, SyslogReceiver)
        seen = len(receiver.messages)
        while visit.read():
            if self.offenders & set(ids(receiver.messages[seen:])):
                self.ending(visit)
                return
        visit.end_in_order()


@contextmanager
def noticing(receiver: SyslogReceiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the sender look at a connection only once the receiver has read it, or has hung up.

    In place of the moment that it waits otherwise: a test that is slow must not miss an end.
    """
    expected = 0
    carry, see_open = SyslogConnection.carry, SyslogConnection.see_open

    def counted(connection: SyslogConnection, frames: Sequence[bytes], patience: StallTimeout) -> int:
        nonlocal expected
        expected = len(receiver.messages)
        count = carry(connection, frames, patience)
        expected += count
        return count

    def see_late(connection: SyslogConnection, seconds: float) -> None:
        wait_until(lambda: connection.has_hung_up() or len(receiver.messages) >= expected, "the part is read")
        see_open(connection, seconds)

    with monkeypatch.context() as patched:
        patched.setattr(syslog_stream, "_LONGEST_MOMENT", 0.1)
        patched.setattr(SyslogConnection, "carry", counted)
        patched.setattr(SyslogConnection, "see_open", see_late)
        yield


def ends_of(sender: SyslogCefSender, attempt: DeliveryAttempt, max_retries: int) -> dict[str, str]:
    """Send the batch until all is settled; return what became of each event."""
    found: dict[str, str] = {}
    for number in range(40):
        attempt = next_attempt(attempt, number, attempt.batch.claimed_at)
        settlement = settle_results(attempt, sender.send(attempt, soon()), RetryPolicy(max_retries, 0))
        for outcome in settlement.outcomes:
            found |= {trace.id: outcome.status for trace in outcome.events}
        if settlement.retry is None:
            return found
    raise AssertionError(f"not settled: {Counter(found.values())}")


@pytest.mark.parametrize("max_retries", [pytest.param(0, marks=pytest.mark.slow), MAX_RETRIES])
@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
@pytest.mark.parametrize("confirms", [False, True], ids=["kept", "confirmed"])
def test_only_the_offender_dies(
    ending: Behaviour, monkeypatch: pytest.MonkeyPatch, *, max_retries: int, confirms: bool
) -> None:
    """Wherever it stands, with retries or without, and no event comes more than four times."""
    attempt = attempt_of(200)
    with (
        SyslogReceiver(Picky({"e100"}, ending)) as receiver,
        syslog_to(receiver.url, confirm_by_shutdown=confirms) as sender,
        noticing(receiver, monkeypatch),
    ):
        found = ends_of(sender, attempt, max_retries)

        assert {event for event, fate in found.items() if fate == Status.DEAD} == {"e100"}
        copies = Counter(ids(receiver.messages))
        assert set(copies) == {event.id for event in attempt.batch.events}
        assert max(copies.values()) <= MAX_REQUESTS


@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 8))]
)
def test_many_offenders_die_alone(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few or every third: every other event is delivered, with four requests at the most."""
    dice = random.Random(seed)
    attempt = attempt_of(dice.randint(2, 60))
    share = dice.choice([0.02, 0.1, 0.3])
    offenders = {event.id for event in attempt.batch.events if dice.random() < share}
    with (
        SyslogReceiver(Picky(offenders, dice.choice([*ENDINGS.values()]))) as receiver,
        syslog_to(receiver.url) as sender,
        noticing(receiver, monkeypatch),
    ):
        found = ends_of(sender, attempt, MAX_RETRIES)

        assert {event for event, fate in found.items() if fate == Status.DEAD} == offenders
        assert max(Counter(ids(receiver.messages)).values()) <= MAX_REQUESTS


@pytest.mark.parametrize("count", [1, 2, 3, 200])
def test_a_receiver_that_hangs_up_on_everything_costs_no_more_than_before(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more event is tried by itself, and then all wait: no event dies of an outage earlier for that."""
    attempt = attempt_of(count)
    with (
        SyslogReceiver(closes(1)) as receiver,
        syslog_to(receiver.url) as sender,
        noticing(receiver, monkeypatch),
    ):
        for number in range(MAX_RETRIES):
            settlement = settle_results(attempt, sender.send(attempt, soon()), RetryPolicy(MAX_RETRIES, 0))
            assert settlement.settled == 0, number
            assert settlement.dead == [], number
            attempt = next_attempt(attempt, number + 1, attempt.batch.claimed_at)

        receiver.behaviour = reads
        found = ends_of(sender, attempt, MAX_RETRIES)
        assert set(found.values()) == {Status.DELIVERED}
