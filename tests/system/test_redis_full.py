"""A Redis at maxmemory refuses what is new, the fleet goes on with what it has, and nothing is lost."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import SERVERS
from tests.fleet import Fleet, wait_until
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.system.conftest import denial
from tests.system.insistent import Insistent
from worker.model.errors import BrokerFull

pytestmark = pytest.mark.slow

#: Makes the events small beside what Redis holds, so that the overdraft has room for them: two values of so
#: many bytes, as large as the tests' Redis takes.
BALLAST = 20_000_000


@pytest.fixture(params=SERVERS)
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet of its own, on a server of each kind in turn; nothing runs yet."""
    with Fleet(tmp_path, binary=SERVERS[request.param]) as fleet:
        for number in range(2):
            fleet.client.setrange(f"ballast-{number}", BALLAST, b"!")
        yield fleet


def used(fleet: Fleet) -> int:
    """Say how much memory Redis uses, in bytes."""
    return int(fleet.client.info("memory")["used_memory"])


def limit(fleet: Fleet, maxmemory: int) -> None:
    """Let Redis use that much memory; 0 is as much as it likes."""
    fleet.client.config_set("maxmemory", maxmemory)


def is_full(fleet: Fleet) -> bool:
    """Say whether an event is refused for lack of memory."""
    try:
        fleet.publisher.publish(denial("other", tenant_id="nobody"))
    except BrokerFull:
        return True
    return False


def test_a_fleet_that_finds_redis_full_empties_it(own: Fleet) -> None:
    """Groups are made, orders go out, batches are settled and recorded, and memory becomes free."""
    with HecReceiver() as one, HecReceiver() as two:
        own.integrate(one.url, "one", batch_events=100)
        own.integrate(two.url, "two", batch_events=100)
        before = used(own)
        ids = own.publish(denial(f"e{number}", agent_id="a" * 400) for number in range(2000))
        limit(own, before + 100_000)
        refused = own.siem("publish", "-", stdin=json.dumps(denial("x")).encode())
        full = is_full(own)
        own.start()
        rows = own.settled(2000, "int_one") + own.settled(2000, "int_two")
        alive = [process.poll() for process in own.processes.values()]
        logs = {role: own.log(role) for role in own.processes}

        assert full
        assert refused.returncode == 3
        assert b"the event was not accepted: Redis is full (maxmemory)" in refused.stderr
        assert b"raise maxmemory" in refused.stderr
        assert set(one.accepted_ids) == set(two.accepted_ids) == set(ids)
        assert {row.status for row in rows} == {"delivered"}
        assert alive == [None, None, None]
        assert [role for role, log in logs.items() if "Traceback" in log] == []


def test_nothing_acknowledged_is_lost_while_redis_is_full(own: Fleet) -> None:
    """Amid traffic, while a destination is away: what was accepted arrives, new events are taken again."""
    well = threading.Event()

    def script(request: scripts.Request) -> scripts.Action:
        return scripts.ok()(request) if well.is_set() else scripts.busy()(request)

    with HecReceiver(script) as flaky, HecReceiver() as steady:
        own.integrate(flaky.url, "flaky")
        own.integrate(steady.url, "steady")
        own.start()
        with Insistent(own, "a") as one, Insistent(own, "b") as two:
            wait_until(lambda: len(one.accepted) > 200, "events flow")
            limit(own, used(own) + 1_000_000)
            wait_until(lambda: one.refusals > 100 and two.refusals > 100, "Redis is full")
            well.set()
            emptied = len(one.accepted)
            wait_until(lambda: len(one.accepted) > emptied + 200, "events are taken again")
            before = one.refusals

            def is_full_again() -> bool:
                # What is delivered meanwhile makes room, and on a quick machine more than this.
                limit(own, used(own) - 1_000_000)
                return one.refusals > before + 100

            wait_until(is_full_again, "Redis is full again")
            limit(own, 0)
            emptied = len(one.accepted)
            wait_until(lambda: len(one.accepted) > emptied + 200, "events are taken for good")
        accepted = {*one.accepted, *two.accepted}
        wait_until(lambda: accepted <= set(flaky.accepted_ids), "the flaky one has all")
        wait_until(lambda: accepted <= set(steady.accepted_ids), "the steady one has all")
        rows = own.settled(len(accepted), "int_flaky")
        alive = [process.poll() for process in own.processes.values()]

        assert accepted <= {row.event_id for row in rows if row.status == "delivered"}
        assert own.dead("int_flaky") == own.dead("int_steady") == []
        assert alive == [None, None, None]
        assert "Traceback" not in "".join(map(own.log, own.processes))
