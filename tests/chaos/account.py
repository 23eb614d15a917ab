"""The account: every event that was acknowledged to a publisher, at every integration that wants it."""

from collections import Counter
from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, inspect, text

from tests.chaos.whereabouts import Whereabouts
from worker.model.failures import FailureCode

_SHOWN = 5
#: How each fault begins that is a loss: the event is nowhere. And each that may yet end well: it waits
#: somewhere, and patience ended first.
LOSS, UNSETTLED = "LOST", "NOT SETTLED"


@dataclass
class Account:
    """What was found at one integration; the first few of each kind of fault are named."""

    acknowledged: int = 0
    received: int = 0
    copies: int = 0
    most_copies: int = 0
    reported_missing: int = 0
    dead: Counter[str] = field(default_factory=Counter)
    faults: dict[str, list[str]] = field(default_factory=dict)
    fault_counts: Counter[str] = field(default_factory=Counter)

    def blame(self, fault: str, event_id: str) -> None:
        """Note a fault of one event."""
        self.fault_counts[fault] += 1
        named = self.faults.setdefault(fault, [])
        if len(named) < _SHOWN:
            named.append(event_id)

    @property
    def losses(self) -> int:
        """How many events are neither here nor there."""
        return self._count(LOSS)

    @property
    def not_settled(self) -> int:
        """How many events still wait somewhere."""
        return self._count(UNSETTLED)

    def _count(self, kind: str) -> int:
        return sum(count for fault, count in self.fault_counts.items() if fault.startswith(kind))

    def report(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "acknowledged": self.acknowledged,
            "received": self.received,
            "duplicates": self.copies - self.received,
            "most_copies_of_one_event": self.most_copies,
            "dead": dict(self.dead),
            "reported_missing": self.reported_missing,
            "faults": dict(self.fault_counts),
            "for example": self.faults,
        }


def account_for(  # noqa: PLR0913, PLR0917 - what was found, each by itself
    book: Path,
    acknowledged: Mapping[str, bytes],
    rows: Mapping[str, str],
    dead: Mapping[str, str],
    reasons: Container[str],
    most_copies: int,
    lost: int | None = None,
    waiting: Whereabouts | None = None,
) -> Account:
    """Compare a witness's book with what was published and with what the ledger says.

    `acknowledged` are the SHA-256 of what it should have received, by event; `rows` the ledger's deliveries
    (event to status), `dead` the letters that wait (event to the code); `reasons` are true codes. No
    event may have been received more than `most_copies` times. `lost` is how many the fleet reports to be
    missing from Redis at the least, or None if it reports no loss. `waiting` says where events still wait;
    it was asked before the book and the ledger were read.
    """
    found = Account(acknowledged=len(acknowledged))
    copies = _read(book, acknowledged, found)
    received = copies.keys()
    for event_id, count in copies.items():
        if count > most_copies:
            found.blame("received more often than promised", event_id)
    nameless = {one for one, code in dead.items() if code == FailureCode.UNREADABLE} - acknowledged.keys()
    missing = acknowledged.keys() - received - dead.keys()
    # A damaged event whose id does not decode is a dead letter under another name: each stands for one.
    told = missing if len(missing) <= len(nameless) else set()
    if lost is not None:
        # What became of it last went with Redis: it has no row, or one that says how it stood before.
        told |= {one for one in acknowledged if rows.get(one, "retrying") == "retrying"}
        told |= {one for one in missing if rows.get(one) != "delivered"}
        found.reported_missing = len(told)
        if lost > len(told):
            found.blame("reported to be missing, but accounted for", f"{lost} instead of {len(told)}")
    for event_id in acknowledged.keys() - told:
        place = (waiting or {}).get(event_id)
        _judge(found, event_id, event_id in received, rows.get(event_id), dead.get(event_id), place)
    for event_id in received - acknowledged.keys():
        # A publisher whose answer was lost may have been killed with it: accepted, never acknowledged.
        found.blame("received but never acknowledged", event_id)
    found.dead = Counter(dead.values())
    for event_id, code in dead.items():
        if code not in reasons:
            found.blame(f"dead for a reason that is not true of it: {code}", event_id)
    return found


def _judge(
    found: Account,
    event_id: str,
    received: bool,  # noqa: FBT001 - one of the facts
    status: str | None,
    cause: str | None,
    place: str | None,
) -> None:
    has_ended = status == "delivered" or (status == "dead" and cause is not None)
    if place is not None and not has_ended:
        found.blame(f"{UNSETTLED}: {place}", event_id)
        return
    if not received and cause is None:
        found.blame(f"{LOSS}: neither received nor a dead letter, and it waits nowhere", event_id)
    if status is None:
        found.blame("without a row in the ledger", event_id)
    elif status == "delivered" and not received:
        found.blame("the ledger says delivered, the destination never saw it", event_id)
    elif status == "dead" and cause is None:
        found.blame("dead in the ledger without a dead letter", event_id)
    elif status == "retrying":
        found.blame("retrying in the ledger, and it waits nowhere", event_id)


def _read(book: Path, acknowledged: Mapping[str, bytes], found: Account) -> Counter[str]:
    """Count how often each event was received; each copy is compared as it is read, for books are long."""
    received: Counter[str] = Counter()
    with book.open() as lines:
        for line in lines:
            digest, _, event_id = line.rstrip("\n").partition(" ")
            received[event_id] += 1
            found.copies += 1
            if acknowledged.get(event_id, b"").hex() not in {"", digest}:
                found.blame("received with another payload", event_id)
    found.received = len(received)
    found.most_copies = max(received.values(), default=0)
    return received


def ledger_of(engine: Engine, integration_id: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return status by event, and by event why dead letters died that wait."""
    with engine.connect() as connection:
        given = {"id": integration_id}
        rows = connection.execute(
            text(f"SELECT event_id, status FROM {_all_of(engine)} WHERE integration_id = :id"),  # noqa: S608 - a name of ours
            given,
        )
        statuses = {row[0]: row[1] for row in rows}
        letters = connection.execute(
            text(
                "SELECT event_id, error_code FROM dead_letters"
                " WHERE integration_id = :id AND state = 'waiting'"
            ),
            given,
        )
        return statuses, {row[0]: row[1] for row in letters}


def _all_of(engine: Engine) -> str:
    """Return where all deliveries are listed: tables of the release before this one have no view of them."""
    return "delivery_status" if "delivery_status" in inspect(engine).get_view_names() else "deliveries"


def without_letter(engine: Engine, lines: Collection[str], frames: int) -> int:
    """Count of these lines and frames, which were refused, those that no dead letter tells of."""
    with engine.connect() as connection:
        found = connection.execute(
            text("SELECT event_id FROM dead_letters WHERE integration_id IS NULL AND cause = 'invalid'")
        )
        letters = Counter(row[0] for row in found)
    known = letters.keys() & set(lines)
    of_frames = letters.total() - sum(letters[one] for one in known)
    return len(lines) - len(known) + max(0, frames - of_frames)


def _ended_of(engine: Engine) -> dict[str, int]:
    """Count, by integration, the events that are delivered or wait as dead letters."""
    with engine.connect() as connection:
        known = connection.execute(
            text(f"SELECT integration_id, count(*) FROM {_all_of(engine)} GROUP BY integration_id")  # noqa: S608 - a name of ours
        )
        ended = {row[0]: row[1] for row in known}
        # Next to none while all is well, and they have an index of their own. No batch holds such a one.
        unwell = connection.execute(
            text(
                "SELECT integration_id, count(*) FROM deliveries d WHERE status <> 'delivered'"
                " AND NOT EXISTS (SELECT 1 FROM dead_letters l WHERE l.event_id = d.event_id"
                " AND l.integration_id = d.integration_id AND l.state = 'waiting') GROUP BY integration_id"
            )
        )
        return ended | {row[0]: ended[row[0]] - row[1] for row in unwell}


def all_ended(engine: Engine, integration_ids: Collection[str], events: int) -> bool:
    """Whether so many events are delivered at each integration, or dead there and sent again by nobody."""
    # In this order: what a replay takes up between the two looks has not ended.
    if not all(_is_redriven(engine, one) for one in integration_ids):
        return False
    ended = _ended_of(engine)
    return all(ended.get(one, 0) >= events for one in integration_ids)


def _is_redriven(engine: Engine, integration_id: str) -> bool:
    """Whether no dead letter is left that is sent again by itself: it died of an outage, at most twice."""
    with engine.connect() as connection:
        left = connection.execute(
            text(
                "SELECT event_id FROM dead_letters WHERE integration_id = :id GROUP BY event_id"
                " HAVING count(*) <= 2"
                " AND sum(CASE WHEN state = 'waiting' AND cause = 'exhausted' THEN 1 ELSE 0 END) > 0"
            ),
            {"id": integration_id},
        )
        return left.first() is None
