"""A publisher may also remove what others published (`XADD … MAXLEN`): it is noticed, with a number.

Redis 6.2 does not count what a stream is given: there it is only said that it cannot be noticed.
"""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.background.loss_rig import LossRig
from tests.conftest import SERVERS
from tests.embedded_servers import VALKEY
from tests.fleet import Fleet, wait_until
from tests.system.conftest import denial
from worker.broker import keys
from worker.broker.clocks import Renumbering
from worker.broker.connection import send_command
from worker.broker.ingress import Ingress, RoutingResult
from worker.broker.redis_server import read_facts
from worker.ledger.redis_losses import LossStore
from worker.model.errors import LedgerUnavailable
from worker.model.redis_checks import judge_doors
from worker.model.redis_marks import LossKind, loss_text


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[LossRig]:
    """Give a Redis that counts and a ledger, marked once, and a router's group."""
    with LossRig(VALKEY, tmp_path) as made:
        Ingress(made.client, "router", 30).read(1, 1)
        made.watch.step()
        yield made


def publish(client: redis.Redis, count: int) -> None:
    """Add entries to the ingress."""
    for number in range(count):
        client.xadd(keys.EVENTS, {"event": b"e%d" % number})


def route(client: redis.Redis, count: int, router: str = "router") -> None:
    """Hand over so many entries that no integration wants."""
    ingress = Ingress(client, router, 30)
    assert ingress.hand_over(RoutingResult(done=[one.entry_id for one in ingress.read(count, 1)]))


@pytest.mark.parametrize(
    "command",
    [
        ("XADD", keys.EVENTS, "MAXLEN", 0, "*", "event", "last"),
        ("XADD", keys.EVENTS, "MINID", 9_999_999_999_999, "*", "event", "last"),
        ("XTRIM", keys.EVENTS, "MAXLEN", 0),
    ],
    ids=["MAXLEN", "MINID", "XTRIM"],
)
def test_what_was_removed_before_it_was_routed_is_told(
    rig: LossRig, command: tuple[str | int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """Once, in the log and in the ledger; not what was routed before."""
    publish(rig.client, 100)
    route(rig.client, 40)
    rig.watch.step()
    publish(rig.client, 13)
    removed = 73 + (command[0] == "XADD")  # it removes its own entry, too
    send_command(rig.client, *command)
    rig.watch.step()
    rig.watch.step()
    [loss] = rig.losses()

    assert (loss.kind, loss.events, loss.waiting) == (LossKind.VANISHED, removed, {"events": removed})
    assert f"up to {removed} entries of events that no router had read" in loss_text(loss)
    assert "removed before they were routed" in loss_text(loss)
    assert [one.levelno for one in caplog.records if "were removed" in one.getMessage()] == [logging.ERROR]


def test_removals_are_one_loss_until_that_is_acknowledged(
    rig: LossRig, caplog: pytest.LogCaptureFixture
) -> None:
    """With their sum: one for each mark, every two seconds, would be read whenever health is asked for."""
    store = LossStore(rig.engine)
    publish(rig.client, 30)
    for number in range(20):
        [(first, _), *_] = send_command(rig.client, "XRANGE", keys.EVENTS, "-", "+")
        rig.client.xdel(keys.EVENTS, first)
        rig.watch.step()
        assert [one.events for one in rig.losses()] == [number + 1]
    lines = [one.getMessage() for one in caplog.records if "were removed" in one.getMessage()]
    [known] = store.list()
    store.acknowledge(known.id, "ops", "seen")
    rig.client.xtrim(keys.EVENTS, maxlen=8, approximate=False)
    rig.watch.step()

    assert len(lines) == 1
    assert known.loss.since_ms < known.loss.found_ms
    assert sorted(one.events for one in rig.losses()) == [2, 20]
    assert [one.loss.events for one in store.list(unacknowledged=True)] == [2]


def test_what_routers_hand_over_is_never_missed(rig: LossRig) -> None:
    """Also in one transaction with others, by either release: both count what they hand over."""
    for count in (1, 50, 7):
        publish(rig.client, count)
        rig.watch.step()
        route(rig.client, count)
        rig.watch.step()

    assert rig.losses() == []


def test_what_a_router_holds_is_not_missed_but_what_a_dead_one_held_is(rig: LossRig) -> None:
    """A router has the event in its memory, and hands it over although its entry is gone."""
    publish(rig.client, 10)
    living, dead = Ingress(rig.client, "living", 30), Ingress(rig.client, "dead", 30)
    held = living.read(6, 1)
    dead.read(4, 1)
    rig.watch.step()
    rig.client.xtrim(keys.EVENTS, maxlen=0, approximate=False)
    rig.watch.step()
    before = rig.losses()
    assert living.hand_over(RoutingResult(done=[one.entry_id for one in held]))
    rig.watch.step()
    between = rig.losses()
    assert Ingress(rig.client, "heir", 0).read(10, 1) == []
    rig.watch.step()
    [loss] = rig.losses()

    assert before == between == []
    assert loss.events == 4


def test_ids_that_are_brought_back_to_the_clock_are_no_loss(rig: LossRig) -> None:
    """Although the stream begins again; what is removed then is noticed as before."""
    publish(rig.client, 20)
    rig.client.xadd(keys.EVENTS, {"event": "x"}, id="9999999999999-0")
    publish(rig.client, 30)
    rig.watch.step()
    Renumbering(rig.client).step()
    rig.watch.step()
    publish(rig.client, 9)
    route(rig.client, 10)
    rig.watch.step()
    told = rig.losses()
    rig.client.xtrim(keys.EVENTS, maxlen=45, approximate=False)
    rig.watch.step()

    assert told == []
    assert [one.events for one in rig.losses()] == [5]


def test_a_count_that_was_damaged_is_no_loss(rig: LossRig) -> None:
    """It begins again, and so does the comparison."""
    publish(rig.client, 20)
    route(rig.client, 20)
    rig.watch.step()
    rig.client.hset(keys.COUNTERS, "published", "x")
    rig.watch.step()
    publish(rig.client, 3)
    route(rig.client, 3)
    rig.watch.step()

    assert rig.losses() == []


def test_marks_of_the_release_before_are_not_compared(rig: LossRig) -> None:
    """They say nothing of it: the count begins with the next one."""
    publish(rig.client, 5)
    rig.watch.step()
    known = rig.store.latest()
    assert known is not None
    assert known.figures.unaccounted is not None
    with rig.engine.begin() as connection:
        connection.exec_driver_sql('update redis_epochs set figures = \'{"waiting":{"events":5}}\'')
    rig.client.xtrim(keys.EVENTS, maxlen=0, approximate=False)
    rig.watch.step()
    before = rig.losses()
    publish(rig.client, 4)
    rig.client.xtrim(keys.EVENTS, maxlen=1, approximate=False)
    rig.watch.step()

    assert before == []
    assert [one.events for one in rig.losses()] == [3]


def test_a_removal_while_the_database_is_away_is_told_afterwards(rig: LossRig) -> None:
    """The last mark before it is kept."""
    publish(rig.client, 5)
    rig.watch.step()
    rig.store.away = True
    rig.client.xtrim(keys.EVENTS, maxlen=0, approximate=False)
    for _ in range(2):
        with pytest.raises(LedgerUnavailable):
            rig.watch.step()
    rig.store.away = False
    rig.watch.step()

    assert [one.events for one in rig.losses()] == [5]


@pytest.mark.parametrize("name", SERVERS)
def test_a_redis_that_does_not_count_is_said_to(name: str, tmp_path: Path) -> None:
    """By the doctor and `siem redis check`; there nothing is reported by mistake either."""
    with LossRig(SERVERS[name], tmp_path) as rig:
        warned = [one.name for one in judge_doors(read_facts(rig.client))]
        rig.watch.step()
        publish(rig.client, 5)
        rig.watch.step()
        rig.client.xtrim(keys.EVENTS, maxlen=0, approximate=False)
        rig.watch.step()

        assert ("removals" in warned) == (name == "redis-6.2")
        assert [one.events for one in rig.losses()] == ([] if name == "redis-6.2" else [5])


@pytest.mark.slow
def test_a_fleet_tells_how_many_events_somebody_removed(tmp_path: Path) -> None:
    """Of twenty thousand that wait, in `siem health` and its log, until it is acknowledged."""
    with Fleet(tmp_path) as own:
        own.integrate("http://127.0.0.1:9")
        own.start("recorder")
        own.publish_at_once(denial(f"e{number}") for number in range(20_000))

        def is_marked() -> bool:
            figures = json.loads(own.client.hget(keys.EPOCH, "figures") or b"{}")
            return bool(figures.get("waiting", {}).get("events") == 20_000)

        wait_until(is_marked, "a mark counts them")
        own.client.xadd(keys.EVENTS, {"event": "{}"}, maxlen=0, approximate=False)
        [loss] = wait_until(lambda: own.siem_json("redis", "losses")["items"], "the loss is reported")
        parts = {
            one["name"]: one for one in json.loads(own.siem("health", "--json").stdout)["fleet"]["parts"]
        }

        assert loss["missing"] == 20_001
        assert not parts["redis-losses"]["ok"]
        assert "20001 entries of events" in parts["redis-losses"]["detail"]
        assert own.log("recorder").count("were removed before they were routed") == 1
