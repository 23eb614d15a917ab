"""A publisher may add entries of any size: no process holds many, and each is a dead letter."""

from pathlib import Path

import pytest
import redis

from tests.fleet import Fleet, wait_until
from tests.pipeline.test_router import arrival, subscribers
from tests.receivers.hec import HecReceiver
from tests.system.conftest import denial
from worker.broker import ingress as ingress_module
from worker.broker import ingress_ahead, keys
from worker.broker.connection import send_command
from worker.broker.ingress import Ingress, RoutingResult
from worker.broker.ingress_ahead import IngressAhead
from worker.pipeline.judging import MOST_KEPT
from worker.pipeline.router import READ_COUNT
from worker.pipeline.routing import HEAVIEST, route_entries, routing_results

#: In these tests one read may hold a megabyte, and this is too much to be read by the dozen.
FEW, HUGE = 1 << 20, b"x" * 200_000


def add(client: redis.Redis, *values: bytes) -> None:
    """Publish by plain XADD."""
    pipeline = client.pipeline(transaction=False)
    for value in values:
        pipeline.xadd(keys.EVENTS, {"event": value})
    pipeline.execute()


@pytest.fixture
def ingress(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Ingress:
    """Give a router's end of a stream with its group."""
    for module in (ingress_module, ingress_ahead):
        monkeypatch.setattr(module, "HEAVIEST_READ", FEW)
    made = Ingress(client, "router", 30)
    made.read(1, 1)
    return made


def weights(ingress: Ingress) -> list[int]:
    """Read to the end, as a router does; return how many bytes each read held."""
    found = []
    while arrivals := ingress.read(READ_COUNT, 1):
        found.append(sum(len(one.raw or b"") for one in arrivals))
        assert ingress.hand_over(RoutingResult(done=[one.entry_id for one in arrivals]))
    return found


def test_huge_entries_are_read_a_few_at_a_time(client: redis.Redis, ingress: Ingress) -> None:
    """Wherever they stand among small ones."""
    add(client, *[b"small"] * 3000, *[HUGE] * 10, *[b"small"] * 50, *[HUGE] * 2)
    found = weights(ingress)

    assert sum(found) == 12 * len(HUGE) + 3050 * 5
    assert max(found) <= FEW


def test_small_entries_are_read_a_thousand_at_a_time(client: redis.Redis, ingress: Ingress) -> None:
    """However many wait."""
    add(client, *[b"small"] * 5000)

    assert len(weights(ingress)) == 5


def test_what_another_router_holds_is_weighed_with_the_rest(client: redis.Redis, ingress: Ingress) -> None:
    """It stands in front; the one that takes it over is given no more at a time."""
    add(client, *[HUGE] * 8)
    # As the release before did it.
    send_command(
        client, "XREADGROUP", "GROUP", keys.ROUTER_GROUP, "dead", "COUNT", 1000, "STREAMS", keys.EVENTS, ">"
    )
    add(client, *[b"small"] * 10)

    assert max(weights(Ingress(client, "heir", 0))) <= FEW
    assert ingress.waiting() == 0


@pytest.mark.parametrize("small", [0, 3000])
def test_who_reads_ahead_is_sent_a_few_huge_ones_at_a_time(
    client: redis.Redis, ingress: Ingress, small: int
) -> None:
    """However many small ones they stand behind."""
    add(client, *[b"small"] * small, *[HUGE] * 7, *[b"small"] * 100)
    reads = list(IngressAhead(client).after(b"0-0", lambda: 1000))

    ids = [entry_id for entries in reads for entry_id, _ in entries]
    assert len(set(ids)) == len(ids) == ingress.waiting() == small + 107
    assert max(sum(len(fields[1]) for _, fields in entries) for entries in reads) <= FEW


def test_who_reads_ahead_is_sent_many_small_ones_at_a_time(client: redis.Redis, ingress: Ingress) -> None:
    """However much they take together."""
    add(client, *[b"x" * 500] * 5000)
    assert ingress.waiting() * 500 > 2 * FEW

    reads = [len(entries) for entries in IngressAhead(client).after(b"0-0", lambda: 1000)]
    assert reads[:5] == [1000] * 5


@pytest.mark.parametrize("fields", [[], [b"other", b"x" * (2 << 20)]])
def test_the_dead_letter_keeps_a_part_and_says_so(fields: list[bytes]) -> None:
    """A megabyte; one transaction holds few of them."""
    raw = None if fields else b"x" * (2 << 20)
    entries = [arrival(number, raw, fields) for number in range(100)]
    sent = list(routing_results(entries, subscribers("a")))
    letter = route_entries(entries[:1], {}).dead[0]

    assert len(letter.events[0].raw) == MOST_KEPT
    assert f"the first {MOST_KEPT} are kept" in letter.failure.message
    assert sum(len(one.dead) for one in sent) == 100
    assert max(one.weight() for one in sent) <= HEAVIEST


@pytest.mark.slow
def test_a_fleet_outlives_huge_entries(tmp_path: Path) -> None:
    """They become dead letters of a bounded size, and the events between them are delivered."""
    with Fleet(tmp_path) as own, HecReceiver() as splunk:
        own.integrate(splunk.url)
        # What Redis allows by default.
        own.client.config_set("proto-max-bulk-len", 512 << 20)
        for number in range(3):
            add(own.client, b"x" * (60 << 20))
            own.publish([denial(f"e{number}")])
        own.start()
        own.settled(3)
        wait_until(lambda: len(own.dead(None)) == 3, "the huge ones are dead letters")

        assert {len(letter.payload) for letter in own.dead(None)} == {MOST_KEPT}
        assert set(splunk.accepted_ids) == {"e0", "e1", "e2"}
