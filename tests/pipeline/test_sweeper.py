"""The sweeper puts back on the way what others dropped, one sweeper at a time."""

from collections.abc import Iterator

import pytest
import redis

from tests.broker.sending import append, claim, subscribe
from tests.embedded_servers import RunningServer
from tests.logged import fields_of
from worker.broker import keys
from worker.broker.backlog import Backlog, Timing
from worker.broker.connection import redis_client
from worker.broker.parking import BacklogBudget, Parking
from worker.broker.snapshot import Snapshot
from worker.broker.sweep import Housekeeping
from worker.model.log_events import DELIVERY_INTERRUPTED, REDIS_KEY_DISPLACED
from worker.model.orders import WorkOrder
from worker.model.parking import Cap
from worker.pipeline.sweeper import Sweeper

TIMING = Timing(lease=60, order_lease=30, retry_grace=5)
IMPATIENT = Timing(lease=0, order_lease=0, retry_grace=0)


CAP = Cap(events=1000, size=1_000_000)


class Fleet:
    """A sweeper of its own for each call, and what all of them issued."""

    def __init__(self, client: redis.Redis) -> None:
        """Sweep in this Redis."""
        self._client = client
        self.issued: list[tuple[WorkOrder, str]] = []
        #: Bytes of memory that all backlogs may take; 0: what is usual.
        self.budget = 0

    def sweeper(self, timing: Timing = TIMING) -> Sweeper:
        """Make a sweeper as another router would run it."""
        parking = Parking(self._client, CAP)
        return Sweeper(
            Backlog(self._client, timing),
            parking,
            BacklogBudget(self._client, parking, self.budget),
            Snapshot(self._client),
            Housekeeping(self._client),
            lambda order, kind: self.issued.append((order, kind)),
            60,
        )


@pytest.fixture
def fleet(client: redis.Redis) -> Fleet:
    """Give a fleet without work."""
    return Fleet(client)


@pytest.fixture
def other_client(server: RunningServer) -> Iterator[redis.Redis]:
    """Give a second connection to the same server."""
    made = redis_client(server.url)
    yield made
    made.close()


def _scripts_run(client: redis.Redis) -> int:
    return int(client.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"])


def test_hundreds_for_which_nothing_waits_are_asked_for_together(client: redis.Redis, fleet: Fleet) -> None:
    """Only whose backlog has anything is woken; a script for each would take a second for thousands."""
    names = [f"i{number}" for number in range(600)]
    subscribe(client, *names)
    append(client, "i555", [["e1"]])
    assert fleet.sweeper().step() == 1  # and has the scripts loaded
    before = _scripts_run(client)

    append(client, "i7", [["e2"]], urgent=False)
    client.delete(keys.SWEEPER_LOCK)
    # Another one, which looks for damaged slots first.
    assert fleet.sweeper().step() == 1

    assert [order.integration_id for order, _ in fleet.issued] == ["i555", "i7"]
    assert _scripts_run(client) - before < 20


@pytest.mark.parametrize("damage", ["0", "x"])
def test_what_waits_is_found_although_the_counts_say_nothing(
    client: redis.Redis, fleet: Fleet, damage: str
) -> None:
    """They may be damaged: what stands in the lanes counts."""
    subscribe(client, "a")
    append(client, "a", [["e1"]])
    for field in ("unclaimed_events", "unclaimed_bytes", "backlog_events"):
        client.hset("siem:state:a", field, damage)

    assert fleet.sweeper().step() == 1


def test_a_backlog_that_nobody_woke_is_woken(client: redis.Redis, fleet: Fleet) -> None:
    """A router that died between the hand-over and the work order costs time and nothing else."""
    subscribe(client, "a")
    append(client, "a", [["e1"]])

    assert fleet.sweeper().step() == 1
    [(order, kind)] = fleet.issued
    assert (order.integration_id, kind) == ("a", "splunk_hec")


def test_a_backlog_that_a_script_moved_away_is_told(
    client: redis.Redis, fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    """Its events are lost with it: the log must say so, once."""
    subscribe(client, "a")
    append(client, "a", [["e1"]])
    client.set(keys.urgent("a"), "by hand")
    sweeper = fleet.sweeper()
    sweeper.step()
    sweeper.step()

    assert fields_of(caplog, REDIS_KEY_DISPLACED) == [
        {"key": "siem:backlog:a:urgent", "place": "siem:displaced:siem:backlog:a:urgent"}
    ]


def test_one_of_two_sweeps(client: redis.Redis, other_client: redis.Redis, fleet: Fleet) -> None:
    """Who holds the lock goes on sweeping, the other does nothing until that one falls silent."""
    first, second = fleet.sweeper(), Fleet(other_client).sweeper()
    assert first.step() == 0
    subscribe(client, "a", "b")
    append(client, "a", [["e1"]])

    assert second.step() == 0
    assert first.step() == 1
    append(client, "b", [["e2"]])
    client.delete("siem:sweeper")
    assert second.step() == 1
    assert first.step() == 0


def test_a_lost_order_is_issued_again(client: redis.Redis, fleet: Fleet) -> None:
    """An order that Celery never delivered comes back as it was: a late copy of it does no harm."""
    subscribe(client, "a", slots=1)
    append(client, "a", [["e1"]])
    [lost] = Backlog(client, IMPATIENT).wake(["a"])

    assert fleet.sweeper().step() == 1
    assert fleet.issued == [(lost, "splunk_hec")]


def test_a_batch_whose_worker_died_is_sent_again(
    client: redis.Redis, fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    """Its lease ran out: the slot is leased again, and the log says so."""
    subscribe(client, "a", slots=1)
    append(client, "a", [["e1"]])
    claim(Backlog(client, IMPATIENT), "a")

    assert fleet.sweeper().step() == 1
    [logged] = fields_of(caplog, DELIVERY_INTERRUPTED)
    assert (logged["batches"], logged["reason"]) == (1, "worker_ended")
    assert str(logged["worker"]).startswith("the worker on ")


def test_nothing_to_do_is_nothing_issued(client: redis.Redis, fleet: Fleet) -> None:
    """An idle fleet is left alone, and so is work that is under way."""
    subscribe(client, "a")
    assert fleet.sweeper().step() == 0
    append(client, "a", [["e1"]])
    claim(Backlog(client, TIMING), "a")
    client.delete("siem:sweeper")

    assert fleet.sweeper().step() == 0
    assert fleet.issued == []
