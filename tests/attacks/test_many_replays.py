"""A tenant with hundreds of replays must not delay the replays of its neighbours."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from sqlalchemy import Engine

from tests.background.test_replayer import Clock, handed, replay_of, replayer_of, run
from tests.ledger.letters import bury, live
from worker.broker import keys
from worker.broker.snapshot import publish_integrations
from worker.ledger.engine import open_ledger
from worker.ledger.migrations.runner import upgrade_tables
from worker.ledger.replay_pages import ReplayStore
from worker.ledger.replays import get_replay
from worker.ledger.results import IntegrationRecord
from worker.model.replays import DeadLetterFilter, Replay, ReplayedLetter, ReplayState

MANY = 60


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Give a ledger with an integration of each of two tenants."""
    made = open_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    upgrade_tables(made)
    live(made, "int_a", tenant="a")
    live(made, "int_b", tenant="b")
    yield made
    made.dispose()


@pytest.fixture
def clock() -> Clock:
    """Give a clock of the test's own."""
    return Clock()


def tell_redis(client: redis.Redis) -> None:
    """Let Redis know both integrations."""
    records = [
        IntegrationRecord(
            f"int_{tenant}",
            "splunk_hec",
            json.dumps(
                {
                    "id": f"int_{tenant}",
                    "tenant_id": tenant,
                    "enabled": True,
                    "event_types": ["policy.deny"],
                    "destination": {"type": "splunk_hec"},
                }
            ),
            1,
            deleted=False,
        )
        for tenant in "ab"
    ]
    publish_integrations(client, records, 4)


def test_replays_of_a_paused_integration_cost_no_look_each(
    client: redis.Redis, engine: Engine, clock: Clock
) -> None:
    """However many there are, a step asks the ledger for a few pages, and hands over the neighbour's."""
    tell_redis(client)
    client.hset(keys.state_key("int_a"), "held", 1)
    bury(engine, "a1")
    bury(engine, "b1", integration_id="int_b")
    paused = [replay_of(engine, DeadLetterFilter(integration_id="int_a")) for _ in range(MANY)]
    replay_of(engine, DeadLetterFilter(integration_id="int_b"))
    asked: list[str] = []

    class Counting(ReplayStore):
        """Counts how often it is asked."""

        def running(self) -> list[Replay]:
            asked.append("running")
            return super().running()

        def next_page(self, *arguments: object) -> tuple[list[ReplayedLetter], list[str]]:
            asked.append("page")
            return super().next_page(*arguments)  # type: ignore[arg-type]  # the same

    replayer = replayer_of(client, engine, clock, Counting)
    replayer.step()

    assert handed(client, "int_b") == ["b1"]
    assert len(asked) < 10
    assert get_replay(engine, paused[0].id).state is ReplayState.RUNNING


def test_replays_of_a_paused_integration_go_on_when_it_is_resumed(
    client: redis.Redis, engine: Engine, clock: Clock
) -> None:
    """None of them rests for ever, and each comes to its end."""
    tell_redis(client)
    client.hset(keys.state_key("int_a"), "held", 1)
    bury(engine, "a1", "a2", "a3")
    made = [replay_of(engine, DeadLetterFilter(integration_id="int_a")) for _ in range(3)]
    replayer = replayer_of(client, engine, clock)
    run(replayer, clock, 2)
    assert handed(client, "int_a") == []
    client.hset(keys.state_key("int_a"), "held", 0)
    run(replayer, clock, 6)

    assert handed(client, "int_a") == ["a1", "a2", "a3"]
    assert {get_replay(engine, one.id).state for one in made} == {ReplayState.DONE}


def test_tenants_take_turns(client: redis.Redis, engine: Engine, clock: Clock) -> None:
    """Between two pages of the neighbour stands one page of the tenant with many replays."""
    tell_redis(client)
    bury(engine, *(f"a{number}" for number in range(20)))
    bury(engine, *(f"b{number}" for number in range(4)), integration_id="int_b")
    for _ in range(MANY):
        replay_of(engine, DeadLetterFilter(integration_id="int_a"), rate=4)
    replay_of(engine, DeadLetterFilter(integration_id="int_b"), rate=4)
    replayer = replayer_of(client, engine, clock)
    counts = []
    for _ in range(4):
        replayer.step()
        counts.append((len(handed(client, "int_a")), len(handed(client, "int_b"))))
        clock.now += 0.25

    assert counts == [(1, 1), (2, 2), (3, 3), (4, 4)]
