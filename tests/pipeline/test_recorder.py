"""The recorder finishes in Redis only what stands in the ledger, however often that takes."""

import threading
from collections.abc import Sequence
from typing import Any

import pytest
import redis

from tests.logged import event_names, fields_of
from worker.broker.locks import LedgerClaim
from worker.broker.outcomes import Outcomes
from worker.broker.packing import pack_dead, pack_outcomes
from worker.ledger.results import Recorded
from worker.model.deliveries import DeadLetter, Failure, Outcome
from worker.model.errors import BrokerUnavailable, LedgerUnavailable
from worker.model.failures import FailureCode
from worker.model.log_events import DEPENDENCY_LOST
from worker.model.parking import ParkedChunk
from worker.pipeline.recorder import TRANSACTION, Recorder

FINDING = Failure(FailureCode.INVALID_EVENT, "id: is missing", "give one")


class Ledger:
    """Records in memory, unless it is down."""

    def __init__(self) -> None:
        """Begin empty, and up."""
        self.down = False
        self.tries = 0
        self.outcomes: list[tuple[str, list[Outcome]]] = []
        self.dead: list[tuple[str, DeadLetter]] = []

    def record(
        self,
        outcomes: Sequence[tuple[str, list[Outcome]]],
        dead: Sequence[tuple[str, DeadLetter]],
        _parked: Sequence[tuple[str, ParkedChunk]],
    ) -> Recorded:
        """Take the entries, or raise."""
        self.tries += 1
        if self.down:
            raise LedgerUnavailable
        self.outcomes += outcomes
        self.dead += dead
        return Recorded(len(outcomes) + len(dead))

    def probe(self) -> None:
        """Take an entry of no consequence, or raise."""
        if self.down:
            raise LedgerUnavailable


@pytest.fixture
def ledger() -> Ledger:
    """Give an empty ledger that works."""
    return Ledger()


def recorder_of(client: redis.Redis, ledger: Ledger, name: str = "recorder-1") -> Recorder:
    """Make a recorder that has joined its group."""
    outcomes = Outcomes(client, name, claim_idle=30)
    recorder = Recorder(outcomes, ledger.record, ledger.probe, lambda: True, linger=0)
    recorder.step(threading.Event())
    return recorder


def settle(client: redis.Redis) -> None:
    """Append one entry to each of the two streams."""
    outcome = Outcome("int_1", "delivered", 1, None, None, [])
    client.xadd("siem:outcomes", {"outcomes": pack_outcomes([outcome])})
    client.xadd("siem:dead-letters", {"dead": pack_dead(DeadLetter(None, "invalid", FINDING, 1, [], []))})


def left(client: redis.Redis) -> list[int]:
    """Count the entries that stand in the streams."""
    return [int(str(client.xlen(name))) for name in ("siem:outcomes", "siem:dead-letters")]


def test_what_was_recorded_is_finished(client: redis.Redis, ledger: Ledger) -> None:
    """Both kinds of entry reach the ledger in one transaction, and are gone from Redis."""
    recorder = recorder_of(client, ledger)
    settle(client)

    assert recorder.step(threading.Event()) == 2
    assert ledger.tries == 1
    assert len(ledger.outcomes) == 1
    assert len(ledger.dead) == 1
    assert left(client) == [0, 0]


class Lingering(threading.Event):
    """Entries come while a recorder lingers; notes how often it does."""

    def __init__(self, client: redis.Redis, entries: int) -> None:
        """Have so many pairs of entries come in each wait."""
        super().__init__()
        self.waits = 0
        self._client, self._entries = client, entries

    def wait(self, timeout: float | None = None) -> bool:  # noqa: ARG002 - an event's
        """Have them come."""
        self.waits += 1
        for _ in range(self._entries):
            settle(self._client)
        return False


def test_what_trickles_in_is_recorded_together(client: redis.Redis, ledger: Ledger) -> None:
    """A recorder waits for its linger once, and takes what has come meanwhile with one read."""
    recorder = Recorder(Outcomes(client, "r", claim_idle=30), ledger.record, ledger.probe, lambda: True, 600)
    recorder.step(threading.Event())
    settle(client)
    lingering = Lingering(client, TRANSACTION)

    assert recorder.step(lingering) >= TRANSACTION
    assert (lingering.waits, ledger.tries) == (1, 1)


def test_a_recorder_that_is_behind_does_not_wait(client: redis.Redis, ledger: Ledger) -> None:
    """A read that is full is followed by the next one at once."""
    recorder = Recorder(Outcomes(client, "r", claim_idle=30), ledger.record, ledger.probe, lambda: True, 600)
    recorder.step(threading.Event())
    for _ in range(TRANSACTION):
        settle(client)
    lingering = Lingering(client, 0)

    assert recorder.step(lingering) == TRANSACTION
    assert lingering.waits == 0


def test_what_could_not_be_recorded_is_read_again(client: redis.Redis, ledger: Ledger) -> None:
    """With the database down entries stay in Redis; once it is back, each is recorded once."""
    recorder = recorder_of(client, ledger)
    settle(client)
    ledger.down = True
    for _ in range(3):
        with pytest.raises(LedgerUnavailable):
            recorder.step(threading.Event())
    assert left(client) == [1, 1]
    ledger.down = False

    assert recorder.step(threading.Event()) == 2
    assert ledger.tries == 4
    assert len(ledger.outcomes) == 1
    assert len(ledger.dead) == 1
    assert left(client) == [0, 0]


class Flickering(LedgerClaim):
    """A claim for which Redis is away when it is asked for the second time."""

    asked = 0

    def require(self) -> None:
        """Answer the first time and from the third time on."""
        self.asked += 1
        if self.asked == 2:
            raise BrokerUnavailable("gone")


def test_what_was_read_just_before_redis_went_is_read_again(client: redis.Redis, ledger: Ledger) -> None:
    """At once, and not when it has been idle for so long that it may be taken over."""
    recorder_of(client, ledger)
    outcomes = Outcomes(client, "recorder-2", 30, Flickering(client, "any"))
    recorder = Recorder(outcomes, ledger.record, ledger.probe, lambda: True, linger=30)
    settle(client)
    with pytest.raises(BrokerUnavailable):
        recorder.step(threading.Event())
    stopping = threading.Event()
    stopping.set()

    assert recorder.step(stopping) == 2
    assert left(client) == [0, 0]


def test_newer_entries_come_after_those_that_failed(client: redis.Redis, ledger: Ledger) -> None:
    """What came meanwhile is not forgotten over what is read again."""
    recorder = recorder_of(client, ledger)
    settle(client)
    ledger.down = True
    with pytest.raises(LedgerUnavailable):
        recorder.step(threading.Event())
    ledger.down = False
    settle(client)

    assert [recorder.step(threading.Event()) for _ in range(2)] == [2, 2]
    assert len({entry_id for entry_id, _ in ledger.outcomes}) == 2
    assert left(client) == [0, 0]


def test_two_recorders_share_the_work(client: redis.Redis, ledger: Ledger) -> None:
    """No entry is handed to both."""
    first, second = (recorder_of(client, ledger, name) for name in ("recorder-1", "recorder-2"))
    settle(client)
    first.step(threading.Event())
    settle(client)
    second.step(threading.Event())

    assert len({entry_id for entry_id, _ in ledger.outcomes}) == len(ledger.outcomes) == 2


def test_a_recorder_outlives_its_database(
    client: redis.Redis, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    """It keeps trying, says once that the database is lost and once that it is back, and stops on request."""
    recorder_of(client, ledger)
    settle(client)
    stopping = threading.Event()

    def back_at_the_third_try(*entries: Any) -> Recorded:
        ledger.down = ledger.tries < 2
        if not ledger.down:
            stopping.set()
        return ledger.record(*entries)

    outcomes = Outcomes(client, "recorder-1", claim_idle=30)
    Recorder(outcomes, back_at_the_third_try, ledger.probe, lambda: True, linger=0).run(stopping)

    assert (ledger.tries, left(client)) == (3, [0, 0])
    assert event_names(caplog) == ["dependency.lost", "dependency.back"]
    [lost] = fields_of(caplog, DEPENDENCY_LOST)
    assert lost["dependency"] == "the database"
    assert str(lost["error"]).startswith("T")
