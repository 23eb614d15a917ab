"""A database that refuses everything is waited for; only what it refuses alone is set aside."""

import logging
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import redis
from sqlalchemy import Engine, event, text

from tests.ledger.entries import letter, outcome
from tests.ledger.letters import all_dead_letters
from worker.broker import keys
from worker.broker.notices import RecorderStall, recorder_stall
from worker.broker.outcomes import Outcomes
from worker.broker.packing import pack_chunk, pack_dead, pack_outcomes
from worker.broker.unrecordable import Unrecordable
from worker.ledger.deliveries import find_deliveries
from worker.ledger.engine import check_ledger_writes, open_ledger
from worker.ledger.migrations.runner import upgrade_tables
from worker.ledger.parked import ParkedStore
from worker.ledger.recording import probe, record_entries
from worker.model.deliveries import Status
from worker.model.errors import LedgerUnavailable, SchemaOutdated
from worker.model.events import QueuedEvent
from worker.pipeline.recorder import Recorder

#: More than a column of eight bytes holds.
HUGE = 1 << 63
STREAMS = (keys.OUTCOMES, keys.DEAD_LETTERS, keys.PARKED)


@pytest.fixture
def owner(own_postgres_url: str) -> Iterator[Engine]:
    """Give the ledger as a superuser sees it, which owns its tables."""
    engine = open_ledger(own_postgres_url)
    upgrade_tables(engine)
    with engine.begin() as connection:
        connection.execute(text("DROP ROLE IF EXISTS siem"))
        connection.execute(text("CREATE ROLE siem LOGIN"))
    yield engine
    with engine.begin() as connection:
        connection.execute(text("DROP OWNED BY siem"))
        connection.execute(text("DROP ROLE siem"))
    engine.dispose()


@pytest.fixture
def engine(owner: Engine) -> Iterator[Engine]:
    """Give the ledger as the recorder sees it: a role without any rights."""
    made = open_ledger(owner.url.set(username="siem").render_as_string(hide_password=False))
    yield made
    made.dispose()


def grant(owner: Engine) -> None:
    """Let the recorder's role work on the tables."""
    with owner.begin() as connection:
        connection.execute(text("GRANT ALL ON ALL TABLES IN SCHEMA public TO siem"))


def recorder_of(client: redis.Redis, engine: Engine) -> Recorder:
    """Make a recorder that has joined its group."""
    outcomes = Outcomes(client, "recorder-1", claim_idle=30)
    outcomes.read(1, 1)
    probing, stall = partial(probe, engine), RecorderStall(client)
    writes = partial(check_ledger_writes, engine)
    record = partial(record_entries, engine)
    return Recorder(outcomes, record, probing, lambda: True, linger=0, stall=stall, check_writes=writes)


def let_write(owner: Engine, engine: Engine, *, on: bool) -> None:
    """Let the recorder's role write, or only read, from its next connection on."""
    with owner.begin() as connection:
        connection.execute(
            text(f"ALTER ROLE siem SET default_transaction_read_only = {'off' if on else 'on'}")
        )
    engine.dispose()


def settle(client: redis.Redis, name: str, *, attempts: int = 1) -> None:
    """Append an outcome, a dead letter and a parked chunk; `attempts` of the outcome may be too many."""
    client.xadd(keys.OUTCOMES, {"outcomes": pack_outcomes([outcome([f"{name}-sent"], attempts=attempts)])})
    client.xadd(keys.DEAD_LETTERS, {"dead": pack_dead(letter({f"{name}-dead": b"{}"}))})
    chunk = pack_chunk([QueuedEvent(f"{name}-parked", "policy.deny", 1, 1, b"{}")])
    place = {"lane": "urgent", "entry": "7-1"}
    parked: dict[Any, Any] = {"integration": "int_a", **place, "n": 1, "bytes": 2, "events": chunk}
    client.xadd(keys.PARKED, parked)


def lengths(client: redis.Redis) -> list[int]:
    """Count what waits in each stream, and what was set aside."""
    return [int(str(client.xlen(stream))) for stream in (*STREAMS, keys.UNRECORDABLE)]


def test_a_database_that_refuses_everything_is_waited_for(
    client: redis.Redis, owner: Engine, engine: Engine
) -> None:
    """`permission denied` blames no entry: all wait, and stand in the ledger once that is mended."""
    recorder = recorder_of(client, engine)
    for number in range(3):
        settle(client, f"e{number}")
    for _ in range(3):
        with pytest.raises(LedgerUnavailable, match="permission denied"):
            recorder.step(threading.Event())
    waiting = lengths(client)
    grant(owner)
    recorder.step(threading.Event())

    assert (waiting, lengths(client)) == ([3, 3, 3, 0], [0, 0, 0, 0])
    assert (len(find_deliveries(owner)), len(all_dead_letters(owner))) == (3, 3)
    assert ParkedStore(owner).counts()["int_a"].events == 3


@pytest.mark.parametrize(
    ("sabotage", "raised"),
    [
        ("DROP TABLE parked", SchemaOutdated),
        # A refusal that names values, as a constraint's does, of everything that comes.
        ("ALTER TABLE recorded_entries ADD CONSTRAINT nothing CHECK (recorded_ms < 0) NOT VALID",
         LedgerUnavailable),
        ("ALTER TABLE dead_letters ADD COLUMN reviewer text NOT NULL", LedgerUnavailable),
        ("ALTER TABLE minute_counts DROP CONSTRAINT minute_counts_pkey", LedgerUnavailable),
    ],
)  # fmt: skip
def test_tables_that_were_changed_blame_no_entry(
    client: redis.Redis, owner: Engine, engine: Engine, sabotage: str, raised: type[Exception]
) -> None:
    """Whatever the database's words are, it takes no other entry of that kind either."""
    grant(owner)
    recorder = recorder_of(client, engine)
    with owner.begin() as connection:
        connection.execute(text(sabotage))
    settle(client, "e")
    with pytest.raises(raised):
        recorder.step(threading.Event())

    assert lengths(client)[-1] == 0
    assert sum(lengths(client)) == 3


@pytest.mark.parametrize("refusal", ["permission denied", "takes no entry at all"])
def test_it_is_shown_that_nothing_can_be_recorded(
    client: redis.Redis, owner: Engine, engine: Engine, refusal: str
) -> None:
    """Whether the database refuses the recorder, or by its tables every entry, until it takes one again."""
    recorder = recorder_of(client, engine)
    with owner.begin() as connection:
        connection.execute(text("ALTER TABLE dead_letters ADD COLUMN reviewer text NOT NULL"))
    if "entry" in refusal:
        grant(owner)
    settle(client, "e")
    with pytest.raises(LedgerUnavailable, match=refusal):
        recorder.step(threading.Event())
    stall = recorder_stall(client)
    with owner.begin() as connection:
        connection.execute(text("ALTER TABLE dead_letters DROP COLUMN reviewer"))
    grant(owner)
    recorder.step(threading.Event())

    assert stall is not None
    assert refusal in stall.words
    assert stall.public == "the database cannot be used at present"
    assert recorder_stall(client) is None


def test_a_recorder_without_work_shows_that_nothing_can_be_recorded(
    client: redis.Redis, owner: Engine, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that is read-only makes it not ready before an outcome comes, and until it takes a row."""
    monkeypatch.setattr("worker.pipeline.recorder.WRITE_CHECK_EVERY", 0.0)
    grant(owner)
    recorder = recorder_of(client, engine)
    let_write(owner, engine, on=False)
    with pytest.raises(LedgerUnavailable, match="read-only"):
        recorder.step(threading.Event())
    stall = recorder_stall(client)
    let_write(owner, engine, on=True)
    recorder.step(threading.Event())

    assert stall is not None
    assert "read-only" in stall.words
    assert recorder_stall(client) is None


def test_a_recorder_without_work_takes_back_only_what_it_has_shown(
    client: redis.Redis, owner: Engine, engine: Engine
) -> None:
    """Another recorder may have met what one row does not show; and one statement a while is enough."""
    grant(owner)
    asked: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    recorder = recorder_of(client, engine)
    RecorderStall(client).note(LedgerUnavailable("the disk is full"))
    for _ in range(3):
        recorder.step(threading.Event())

    assert [one.split()[0] for one in asked].count("UPDATE") == len(asked) == 1
    assert recorder_stall(client) is not None
    settle(client, "e")
    recorder.step(threading.Event())
    assert recorder_stall(client) is None


def test_only_the_entry_that_is_to_blame_is_set_aside(
    client: redis.Redis, owner: Engine, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """Its neighbours are recorded; why it was not stands beside it, and in the log."""
    grant(owner)
    recorder = recorder_of(client, engine)
    settle(client, "good")
    settle(client, "bad", attempts=HUGE)
    with caplog.at_level(logging.ERROR):
        recorder.step(threading.Event())
    [aside] = Unrecordable(client).all()

    assert lengths(client) == [0, 0, 0, 1]
    assert [row.event_id for row in find_deliveries(owner)] == ["good-sent"]
    assert len(all_dead_letters(owner)) == 2
    assert (aside.stream, "out of range" in aside.reason) == (keys.OUTCOMES, True)
    assert "siem unrecordable list" in caplog.text


def test_what_was_put_back_is_recorded_as_if_it_had_never_been_away(
    client: redis.Redis, owner: Engine, engine: Engine
) -> None:
    """Under its first id: an outcome that is older than another one does not replace it."""
    grant(owner)
    recorder = recorder_of(client, engine)
    late = pack_outcomes([outcome(["e1"], Status.RETRYING, attempts=1)])
    client.xadd(keys.OUTCOMES, {"outcomes": late})
    settle(client, "e2")
    outcomes = Outcomes(client, "recorder-0", claim_idle=30)
    outcomes.set_aside(outcomes.read(10, 1), "a test wants it so")
    client.xadd(keys.OUTCOMES, {"outcomes": pack_outcomes([outcome(["e1"])])})
    recorder.step(threading.Event())
    waiting = lengths(client)
    unrecordable = Unrecordable(client)
    chosen = list(unrecordable.all())
    put_back = [unrecordable.put_back(one) for one in chosen]
    again = [unrecordable.put_back(one) for one in chosen]
    recorder.step(threading.Event())

    assert waiting == [0, 0, 0, 4]
    assert (put_back, again) == ([True] * 4, [False] * 4)
    assert lengths(client) == [0, 0, 0, 0]
    assert {row.event_id: row.status for row in find_deliveries(owner)} == {
        "e1": Status.DELIVERED,
        "e2-sent": Status.DELIVERED,
    }
    assert [row.id.rpartition("-")[0] for row in all_dead_letters(owner)] == [
        one.entry for one in chosen if one.stream == keys.DEAD_LETTERS
    ]
    assert ParkedStore(owner).counts()["int_a"].events == 1


def test_entries_of_an_earlier_release_can_be_put_back(
    client: redis.Redis, owner: Engine, engine: Engine
) -> None:
    """It kept the content alone, in a field `raw`."""
    grant(owner)
    recorder = recorder_of(client, engine)
    chunk = pack_chunk([QueuedEvent("e3", "policy.allow", 1, 1, b"{}")])
    for stream, raw in (
        (keys.OUTCOMES, pack_outcomes([outcome(["e1"])])),
        (keys.DEAD_LETTERS, pack_dead(letter({"e2": b"{}"}))),
        (keys.DEAD_LETTERS, b"dead " + pack_dead(letter({"e4": b"{}"}))),
        (keys.PARKED, b"int_a " + chunk),
        (keys.PARKED, b"integration int_a lane bulk entry 7-1 n 1 bytes 2 events " + chunk),
        ("siem:somewhere", b"garbage"),
    ):
        client.xadd(keys.UNRECORDABLE, {"stream": stream, "entry": f"5-{len(raw)}", "raw": raw})
    unrecordable = Unrecordable(client)
    readable = [one for one in unrecordable.all() if one.fields]
    assert all(unrecordable.put_back(one) for one in readable)
    recorder.step(threading.Event())

    assert lengths(client) == [0, 0, 0, 1]
    assert [row.event_id for row in find_deliveries(owner)] == ["e1"]
    assert {row.event_id for row in all_dead_letters(owner)} == {"e2", "e4"}
    assert ParkedStore(owner).counts()["int_a"].events == 2
