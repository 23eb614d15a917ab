"""The replayer puts each dead letter's event into a backlog once, whatever fails in between."""

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from sqlalchemy import Engine

from tests.broker.sending import TIMING, claim, subscribe
from tests.ledger.entries import NOON
from tests.ledger.letters import bury, delete, deliver, disable, live, states
from worker.background.replayer import IDLE, Replayer, ReplayPacer, routed_chunks
from worker.broker.backlog import Backlog
from worker.broker.locks import LeaderLock
from worker.broker.packing import unpack_chunk
from worker.broker.replaying import Replaying
from worker.broker.snapshot import Limits, Snapshot, publish_integrations
from worker.ledger.engine import open_ledger
from worker.ledger.migrations.runner import upgrade_tables
from worker.ledger.replay_pages import ReplayStore
from worker.ledger.replays import create_replay, end_replay, find_replays, get_replay
from worker.ledger.results import IntegrationRecord
from worker.model.deliveries import Cause
from worker.model.errors import LedgerUnavailable
from worker.model.events import QueuedEvent
from worker.model.replays import DeadLetterFilter, Page, Replay, ReplayedLetter, ReplayState

pytestmark = pytest.mark.slow

_names = itertools.count()


class Breaking(ReplayStore):
    """A ledger that is lost between the hand-over of a page and the note of it."""

    def mark(self, page: Page) -> bool:
        """Fail before anything is written."""
        raise LedgerUnavailable(f"no answer for page {page.number}")


class Clock:
    """A clock that stands still until a test sets it forward."""

    def __init__(self) -> None:
        """Begin at some moment."""
        self.now = 1000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """Give a ledger with two integrations that Redis knows as well."""
    made = open_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    upgrade_tables(made)
    live(made, "int_a", "int_b")
    yield made
    made.dispose()


@pytest.fixture
def clock() -> Clock:
    """Give a clock of the test's own."""
    return Clock()


def replayer_of(
    client: redis.Redis, engine: Engine, clock: Clock, store: type[ReplayStore] = ReplayStore
) -> Replayer:
    """Make a replayer, as another process would, whose turn it always is."""
    turn = LeaderLock(client, f"turn-{next(_names)}", 60)
    return Replayer(store(engine), Replaying(client), Snapshot(client), turn, ReplayPacer(clock))


def replay_of(
    engine: Engine,
    selection: DeadLetterFilter | None = None,
    target_id: str | None = None,
    rate: int = 10_000,
) -> Replay:
    """Make a replay of all that waits, or of less."""
    return create_replay(
        engine, selection or DeadLetterFilter(), target_id=target_id, rate=rate, made_by="a test", quotas=None
    )


def run(replayer: Replayer, clock: Clock, steps: int = 4) -> None:
    """Take steps, each in time for what the one before had to wait for."""
    for _ in range(steps):
        clock.now += max(IDLE, replayer.step()) * 4


def handed(client: redis.Redis, integration_id: str = "int_a", lane: str = "urgent") -> list[str]:
    """Name the events in a lane, in order."""
    return [event.id for event in events_in(client, integration_id, lane)]


def events_in(client: redis.Redis, integration_id: str, lane: str) -> list[QueuedEvent]:
    """Return the events in a lane, in order."""
    entries = client.xrange(f"siem:backlog:{integration_id}:{lane}") or []
    return [event for _, fields in entries for event in unpack_chunk(fields[b"events"])]  # type: ignore[index, arg-type]  # redis-py


def test_letters_come_into_the_backlog_and_can_be_claimed(
    client: redis.Redis, engine: Engine, clock: Clock
) -> None:
    """As if a router had put them there; the sweeper finds them."""
    subscribe(client, "int_a", "int_b")
    bury(engine, *(f"e{number}" for number in range(700)))
    replay = replay_of(engine)
    run(replayer_of(client, engine, clock), clock)
    ended = get_replay(engine, replay.id)
    backlog = Backlog(client, TIMING)

    assert handed(client) == [f"e{number}" for number in range(700)]
    assert backlog.depth("int_a") == 700
    assert len(claim(backlog, "int_a").batch.events) == 500
    assert ended.state is ReplayState.DONE
    assert ended.replayed == 700
    assert ended.skipped == 0
    assert set(states(engine).values()) == {"replayed"}


def test_a_page_that_nobody_noted_is_not_handed_over_again(
    client: redis.Redis, engine: Engine, clock: Clock
) -> None:
    """Lost between Redis and the ledger, it is noted by the next replayer, and counted once."""
    subscribe(client, "int_a", "int_b")
    bury(engine, *(f"e{number}" for number in range(5)))
    replay = replay_of(engine, rate=8)
    with pytest.raises(LedgerUnavailable, match="page 1"):
        replayer_of(client, engine, clock, Breaking).step()
    assert handed(client) == ["e0", "e1"]
    assert set(states(engine).values()) == {"waiting"}

    run(replayer_of(client, engine, clock), clock, 6)
    ended = get_replay(engine, replay.id)

    assert handed(client) == ["e0", "e1", "e2", "e3", "e4"]
    assert ended.state is ReplayState.DONE
    assert ended.replayed == 5
    assert ended.pages == 3
    assert client.hlen("siem:replays") == 0


def test_a_page_that_nobody_noted_binds_other_replays_too(
    client: redis.Redis, engine: Engine, clock: Clock
) -> None:
    """Even if its own replay was cancelled meanwhile: its letters were sent, and are not sent by another."""
    subscribe(client, "int_a", "int_b")
    bury(engine, "e0", "e1", "e2")
    lost = replay_of(engine, rate=8)
    with pytest.raises(LedgerUnavailable):
        replayer_of(client, engine, clock, Breaking).step()
    end_replay(engine, lost.id, ReplayState.CANCELLED)
    other = replay_of(engine)
    run(replayer_of(client, engine, clock), clock)

    assert handed(client) == ["e0", "e1", "e2"]
    assert (get_replay(engine, lost.id).replayed, get_replay(engine, other.id).replayed) == (2, 1)


def test_what_was_delivered_before_the_note_still_counts_as_replayed(
    client: redis.Redis, engine: Engine, clock: Clock
) -> None:
    """The record says what was handed over, not what the ledger would say of it now."""
    subscribe(client, "int_a", "int_b")
    bury(engine, "e0", "e1")
    replay = replay_of(engine)
    with pytest.raises(LedgerUnavailable):
        replayer_of(client, engine, clock, Breaking).step()
    deliver(engine, ["e0", "e1"])
    run(replayer_of(client, engine, clock), clock)

    assert (get_replay(engine, replay.id).replayed, get_replay(engine, replay.id).skipped) == (2, 0)


def test_a_replayer_that_slept_is_refused(client: redis.Redis, engine: Engine, clock: Clock) -> None:
    """It read its page before another handed over the same; nothing goes out twice."""
    subscribe(client, "int_a", "int_b")
    bury(engine, "e0", "e1")
    replay_of(engine)

    class Sleepy(ReplayStore):
        """Reads a page, and sleeps until another replayer has done everything."""

        def next_page(self, *arguments: object) -> tuple[list[ReplayedLetter], list[str]]:
            page = super().next_page(*arguments)  # type: ignore[arg-type]  # the same
            run(replayer_of(client, engine, clock), clock)
            return page

    replayer_of(client, engine, clock, Sleepy).step()

    assert handed(client) == ["e0", "e1"]


def test_one_replayer_works_at_a_time(client: redis.Redis, engine: Engine, clock: Clock) -> None:
    """The other one waits for its turn, and has it once the first has ended."""
    subscribe(client, "int_a", "int_b")
    bury(engine, "e0")
    store, replaying, snapshot = ReplayStore(engine), Replaying(client), Snapshot(client)
    first, second = (
        Replayer(store, replaying, snapshot, LeaderLock(client, "siem:replayer", 60), ReplayPacer(clock))
        for _ in range(2)
    )
    first.step()
    replay_of(engine)

    assert second.step() == IDLE
    assert handed(client) == []
    ended = threading.Event()
    ended.set()
    first.run(ended)
    second.step()
    assert handed(client) == ["e0"]


def test_a_replay_keeps_its_pace(client: redis.Redis, engine: Engine, clock: Clock) -> None:
    """Forty a second are ten every quarter of a second, however often the replayer steps."""
    subscribe(client, "int_a", "int_b")
    bury(engine, *(f"e{number}" for number in range(60)))
    replay_of(engine, rate=40)
    replayer = replayer_of(client, engine, clock)
    sent = []
    for _ in range(20):
        replayer.step()
        sent.append(len(handed(client)))
        clock.now += 0.0625

    assert sent == [10] * 4 + [20] * 4 + [30] * 4 + [40] * 4 + [50] * 4


def test_replays_take_turns(client: redis.Redis, engine: Engine, clock: Clock) -> None:
    """A small one of the same tenant waits for one page of a large one that was made before."""
    subscribe(client, "int_a", "int_b")
    bury(engine, *(f"e{number}" for number in range(1200)))
    bury(engine, "b1", integration_id="int_b")
    large = replay_of(engine, DeadLetterFilter(integration_id="int_a"))
    replay_of(engine, DeadLetterFilter(integration_id="int_b"))
    replayer = replayer_of(client, engine, clock)
    for _ in range(2):
        replayer.step()

    assert handed(client, "int_b") == ["b1"]
    assert get_replay(engine, large.id).replayed == 500


@pytest.mark.parametrize(
    "state",
    [{"held": "1"}, {"breaker": "open"}, {"backlog_events": "10000"}],
    ids=["disabled", "breaker open", "deep backlog"],
)
def test_an_integration_that_can_take_no_more_is_spared(
    client: redis.Redis, engine: Engine, clock: Clock, state: dict[str, str]
) -> None:
    """Its letters stay in the ledger, those of the others go on; later it gets its own."""
    subscribe(client, "int_a", "int_b")
    bury(engine, "a1")
    bury(engine, "b1", integration_id="int_b", dead_ms=NOON + 10)
    before = client.hgetall("siem:state:int_a")
    client.hset("siem:state:int_a", mapping=state)  # type: ignore[arg-type]  # redis-py wants wider keys
    replay = replay_of(engine)
    own = replay_of(engine, DeadLetterFilter(integration_id="int_a"))
    replayer = replayer_of(client, engine, clock)
    run(replayer, clock)
    assert (handed(client), handed(client, "int_b")) == ([], ["b1"])
    assert get_replay(engine, own.id).state is ReplayState.RUNNING

    client.delete("siem:state:int_a")
    client.hset("siem:state:int_a", mapping=before)  # type: ignore[arg-type]  # the same
    run(replayer, clock)

    assert handed(client) == ["a1"]
    assert {get_replay(engine, one.id).state for one in (replay, own)} == {ReplayState.DONE}


@pytest.mark.parametrize("is_gone", [False, True])
def test_a_replay_whose_target_was_deleted_ends(
    client: redis.Redis,
    engine: Engine,
    clock: Clock,
    is_gone: bool,  # noqa: FBT001 - from Redis
) -> None:
    """It says why, and its letters wait on; also once Redis knows nothing of the target any more."""
    if is_gone:
        subscribe(client, "int_a")
        delete(engine, "int_b")
    else:
        subscribe(client, "int_b")
        publish_integrations(client, [IntegrationRecord("int_b", "splunk_hec", "{}", 2, deleted=True)], 4)
    bury(engine, "a1")
    replay = replay_of(engine, target_id="int_b")
    run(replayer_of(client, engine, clock), clock)
    ended = get_replay(engine, replay.id)

    assert (ended.state, ended.replayed) == (ReplayState.CANCELLED, 0)
    assert ended.note == "the integration that it was for is not there any more"
    assert states(engine) == {"a1": "waiting"}


def test_what_redis_does_not_know_yet_waits(client: redis.Redis, engine: Engine, clock: Clock) -> None:
    """After a loss of Redis, a recorder brings the integrations back; until then nothing is handed over."""
    subscribe(client, "int_b")
    bury(engine, "a1")
    replay = replay_of(engine)
    replayer = replayer_of(client, engine, clock)
    run(replayer, clock)
    assert get_replay(engine, replay.id).state is ReplayState.RUNNING
    subscribe(client, "int_a", "int_b")
    run(replayer, clock)

    assert handed(client) == ["a1"]


def test_chunks_suit_lane_and_limits() -> None:
    """What must not wait has a lane of its own; no chunk is larger than one request may be."""
    limits = {"int_a": Limits("webhook", batch_events=2, batch_bytes=10)}
    kinds = ["policy.deny", "policy.allow", "policy.deny", "policy.deny", "agent.connected"]
    letters = [
        ReplayedLetter(str(number), "int_a", QueuedEvent(f"e{number}", kind, 1, 2, b"x" * (number + 2)))
        for number, kind in enumerate(kinds)
    ]
    made = routed_chunks(letters, limits)

    assert [(one.urgent, [event.id for event in one.events]) for one in made] == [
        (True, ["e0", "e2"]),
        (True, ["e3"]),
        (False, ["e1", "e4"]),
    ]
    assert {tuple(one.integration_ids) for one in made} == {("int_a",)}


class TestRedrive:
    """Letters of an outage go out again by themselves, and no others."""

    def run(self, client: redis.Redis, engine: Engine, clock: Clock) -> list[str]:
        """Let a replayer look, and finish what it found; name the events that it handed over."""
        run(replayer_of(client, engine, clock), clock)
        return handed(client)

    def test_after_an_outage(self, client: redis.Redis, engine: Engine, clock: Clock) -> None:
        """What died before something was delivered is sent; what died later is not, yet."""
        subscribe(client, "int_a", "int_b")
        bury(engine, "e1", "e2")
        bury(engine, "late", dead_ms=NOON + 70_000)
        before = self.run(client, engine, clock)
        deliver(engine, ["f1"], settled_ms=NOON + 60_000)

        assert before == []
        assert self.run(client, engine, clock) == ["e1", "e2"]
        assert states(engine)["late"] == "waiting"

    @pytest.mark.parametrize("cause", [cause for cause in Cause if cause is not Cause.EXHAUSTED])
    def test_only_of_an_outage(self, client: redis.Redis, engine: Engine, clock: Clock, cause: Cause) -> None:
        """What was refused, was no event or had no integration is left to a person."""
        subscribe(client, "int_a", "int_b")
        bury(engine, "e1")
        bury(engine, "e2", cause=cause)
        deliver(engine, ["f1"])

        assert self.run(client, engine, clock) == ["e1"]

    def test_not_while_the_breaker_is_open(self, client: redis.Redis, engine: Engine, clock: Clock) -> None:
        """A probe that went well does not make a healthy destination yet."""
        subscribe(client, "int_a", "int_b")
        bury(engine, "e1")
        deliver(engine, ["f1"])
        client.hset("siem:state:int_a", "breaker", "open")

        assert self.run(client, engine, clock) == []
        client.hdel("siem:state:int_a", "breaker")
        assert self.run(client, engine, clock) == ["e1"]

    def test_not_where_it_is_not_wanted(self, client: redis.Redis, engine: Engine, clock: Clock) -> None:
        """An integration may say so; one that is disabled gets nothing either."""
        live(engine, "int_no", redrive=False)
        live(engine, "int_off")
        disable(engine, "int_off")
        subscribe(client, "int_no", "int_off")
        for one in ("int_no", "int_off"):
            bury(engine, "e1", integration_id=one)
            deliver(engine, ["f1"], integration_id=one)
        self.run(client, engine, clock)

        assert (handed(client, "int_no"), handed(client, "int_off")) == ([], [])

    def test_not_for_ever(self, client: redis.Redis, engine: Engine, clock: Clock) -> None:
        """An event that dies after every redrive is left to a person at its third death."""
        subscribe(client, "int_a", "int_b")
        for number in range(4):
            bury(engine, "e1", dead_ms=NOON + number * 100_000)
            deliver(engine, [f"f{number}"], settled_ms=NOON + number * 100_000 + 50_000)
            self.run(client, engine, clock)

        assert handed(client) == ["e1", "e1"]

    def test_one_at_a_time(self, client: redis.Redis, engine: Engine, clock: Clock) -> None:
        """While a redrive runs, the next look makes no second one."""
        subscribe(client, "int_a", "int_b")
        bury(engine, *(f"e{number}" for number in range(200)))
        deliver(engine, ["f1"])
        for _ in range(3):
            replayer_of(client, engine, clock).step()

        assert [one.replayed for one in find_replays(engine)] == [150]
