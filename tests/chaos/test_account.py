"""The account tells what is lost, what has merely not settled, and where that waits."""

import hashlib
import json
from pathlib import Path

import pytest
import redis
from sqlalchemy import Engine

from tests.broker.sending import TIMING, append, claim, delivered, failed, subscribe
from tests.chaos.account import account_for
from tests.chaos.whereabouts import Whereabouts, whereabouts_of
from worker.broker import keys
from worker.broker.backlog import Backlog
from worker.broker.frames import FRAME, judge, pack_frame
from worker.broker.outcomes import Outcomes
from worker.broker.parking import Parking
from worker.ledger.engine import open_ledger
from worker.ledger.migrations.runner import upgrade_tables
from worker.ledger.recording import record_entries
from worker.model.parking import Cap


@pytest.fixture
def ledger(tmp_path: Path) -> Engine:
    """Give an empty ledger."""
    engine = open_ledger(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    upgrade_tables(engine)
    return engine


def faults(
    folder: Path,
    *,
    received: bool = False,
    status: str | None = None,
    cause: str | None = None,
    place: str | None = None,
) -> list[str]:
    """Return what the account says of one event."""
    digest = hashlib.sha256(b"payload")
    book = folder / "book"
    book.write_text(f"{digest.hexdigest()} e1\n" if received else "")
    waiting: Whereabouts = {} if place is None else {"e1": place}
    rows, dead = ({"e1": status} if status else {}), ({"e1": cause} if cause else {})
    found = account_for(book, {"e1": digest.digest()}, rows, dead, {"timed_out"}, 4, None, waiting)
    assert found.losses + found.not_settled <= 1
    return list(found.faults)


LOST = "LOST: neither received nor a dead letter, and it waits nowhere"


def test_what_is_nowhere_is_lost(tmp_path: Path) -> None:
    """Whatever the ledger has heard of it."""
    assert faults(tmp_path) == [LOST, "without a row in the ledger"]
    assert faults(tmp_path, status="retrying") == [LOST, "retrying in the ledger, and it waits nowhere"]
    assert LOST in faults(tmp_path, status="delivered")


@pytest.mark.parametrize("status", [None, "retrying"])
@pytest.mark.parametrize("received", [False, True])
def test_what_waits_somewhere_is_not_settled(tmp_path: Path, *, status: str | None, received: bool) -> None:
    """It is told where; whoever reads that looks there, and not for a loss."""
    assert faults(tmp_path, status=status, received=received, place="here") == ["NOT SETTLED: here"]


def test_what_has_ended_is_in_order(tmp_path: Path) -> None:
    """Also if a copy of it still waits: it is sent twice at the most."""
    assert faults(tmp_path, received=True, status="delivered", place="here") == []
    assert faults(tmp_path, status="dead", cause="timed_out") == []


def test_a_delivery_that_nobody_saw_is_a_lie_wherever_it_waits(tmp_path: Path) -> None:
    """That its outcome is on its way excuses nothing once the ledger has it."""
    words = "the ledger says delivered, the destination never saw it"
    assert words in faults(tmp_path, status="delivered", place="here")


def test_where_an_event_waits(client: redis.Redis, ledger: Engine) -> None:
    """In each place that it may come to on its way."""
    backlog = Backlog(client, TIMING)
    subscribe(client, "a", "b", batch_events=1)
    append(client, "a", [["held"], ["open"]])
    append(client, "b", [["other"]])
    claim(backlog, "a")
    append(client, "a", [["bulk"]], urgent=False)
    client.xadd(keys.EVENTS, {"event": json.dumps({"id": "new"})})
    client.xadd(keys.EVENTS, {"event": "no JSON"})
    client.xadd(keys.EVENTS, {"events": "no JSON\n" + json.dumps({"id": "line"})})
    framed = judge(b'{"id":"framed","type":"policy.deny","timestamp":"2026-11-27T10:00:00Z"}')
    client.xadd(keys.EVENTS, {FRAME: pack_frame("default", [framed.event], is_urgent=True)})
    client.xadd(keys.EVENTS, {FRAME: b"no frame"})

    assert whereabouts_of(client, ledger, "a") == {
        "held": "in the urgent lane of its backlog, held by slot 1",
        "open": "in the urgent lane of its backlog, claimed by no slot yet",
        "bulk": "in the bulk lane of its backlog, claimed by no slot yet",
        **dict.fromkeys(("new", "line", "framed"), "in siem:events, where no router has taken it yet"),
    }


def test_where_an_event_waits_behind_its_backlog(client: redis.Redis, ledger: Engine) -> None:
    """On its way to the ledger, and in it until its backlog has room."""
    backlog = Backlog(client, TIMING)
    subscribe(client, "a")
    append(client, "a", [["retried"]])
    batch = claim(backlog, "a").batch
    backlog.settle(batch, failed(batch))
    append(client, "a", [["old"], ["new"]])
    Parking(client, Cap(1, 1000)).park("a")
    assert whereabouts_of(client, ledger, "a") == {
        "retried": "in the urgent lane of its backlog, held by slot 1",
        "old": "on its way to the ledger in siem:parked",
        "new": "in the urgent lane of its backlog, claimed by no slot yet",
    }

    outcomes = Outcomes(client, "test", 30)
    for _ in range(4):  # the first read of each stream makes its group
        settled = outcomes.read(100, 1)
        record_entries(ledger, settled.outcomes, settled.dead, settled.parked)
        outcomes.finish(settled)

    assert whereabouts_of(client, ledger, "a") == {
        "retried": "in the urgent lane of its backlog, held by slot 1",
        "old": "parked in the ledger",
        "new": "in the urgent lane of its backlog, claimed by no slot yet",
    }


def test_what_is_settled_waits_for_a_recorder(client: redis.Redis, ledger: Engine) -> None:
    """Delivered, or dead: the ledger does not know yet."""
    backlog = Backlog(client, TIMING)
    subscribe(client, "a")
    append(client, "a", [["done"]])
    batch = claim(backlog, "a").batch
    backlog.settle(batch, delivered(batch))

    place = "settled in siem:outcomes, which no recorder has taken yet"
    assert whereabouts_of(client, ledger, "a") == {"done": place}


def test_nothing_waits_where_nothing_is(client: redis.Redis, ledger: Engine) -> None:
    """An integration that never had an event."""
    assert whereabouts_of(client, ledger, "a") == {}
