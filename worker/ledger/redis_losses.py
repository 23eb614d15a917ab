"""Keeps what was found missing in Redis, as evidence, and who has acknowledged it."""

import uuid
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, insert, select, update

from worker.ledger.audit import add_record
from worker.ledger.engine import reading, writing
from worker.ledger.redis_marks import begin_epoch, end_epoch
from worker.ledger.rows import storable, storable_prose
from worker.ledger.schema import redis_losses
from worker.model.audit import FLEET, Action, Actor, audit_record
from worker.model.errors import InvalidInput, NotFoundError
from worker.model.redis_marks import Loss, Mark, with_more
from worker.model.time import current_ms

_decode = msgspec.json.Decoder(Loss).decode


@dataclass(frozen=True, slots=True)
class RecordedLoss:
    """A loss as the ledger keeps it. Moments are in milliseconds since 1970 UTC."""

    id: str
    loss: Loss
    acknowledged_ms: int | None
    acknowledged_by: str | None
    acknowledgement: str | None


class LossStore:
    """All losses. Every method may raise LedgerUnavailable or SchemaOutdated."""

    def __init__(self, engine: Engine) -> None:
        """Take the ledger."""
        self._engine = engine

    def report(self, loss: Loss, ended: str, begun: str | None) -> str | None:
        """Keep a loss, end its epoch and begin another; return its id, or None if another process was first.

        Without `begun` the epoch goes on.
        """
        with writing(self._engine) as connection:
            if begun is not None:
                if not end_epoch(connection, ended):
                    return None
                begin_epoch(connection, Mark(begun))
            return _keep(connection, loss)

    def report_removed(self, loss: Loss) -> RecordedLoss:
        """Keep that entries were removed; return the loss that reports them.

        It is the one of their kind that is not acknowledged, with their sum, if there is one: a process that
        removes entries all the time does not make a loss of each moment, all of which would be read whenever
        the health of the fleet is asked for.
        """
        columns = redis_losses.c
        wanted = (
            select(columns.id, columns.document)
            .where(columns.acknowledged_ms.is_(None), columns.kind == loss.kind.value)
            .order_by(columns.found_ms.desc())
        )
        with writing(self._engine) as connection:
            # Locked, so that it is not acknowledged with a number that was not shown.
            for row in connection.execute(wanted.with_for_update()):
                known = _decode(row.document)
                if known.removed:
                    both = with_more(known, loss)
                    mine = columns.id == row.id
                    connection.execute(update(redis_losses).where(mine).values(_values(both)))
                    return RecordedLoss(row.id, both, None, None, None)
            return RecordedLoss(_keep(connection, loss), loss, None, None, None)

    def list(self, *, unacknowledged: bool = False) -> "list[RecordedLoss]":
        """Return all, the latest first; or only those that are not acknowledged."""
        columns = redis_losses.c
        wanted = select(
            columns.id,
            columns.document,
            columns.acknowledged_ms,
            columns.acknowledged_by,
            columns.acknowledgement,
        ).order_by(columns.found_ms.desc(), columns.id)
        if unacknowledged:
            wanted = wanted.where(columns.acknowledged_ms.is_(None))
        with reading(self._engine) as connection:
            return [RecordedLoss(row[0], _decode(row[1]), *row[2:]) for row in connection.execute(wanted)]

    def acknowledge(self, loss_id: str, by: str, note: str, *, actor: Actor = FLEET) -> RecordedLoss:
        """Note who has seen it, and what there is to say.

        Raises NotFoundError, and InvalidInput if it was acknowledged before.
        """
        columns = redis_losses.c
        found = self._get(loss_id)
        if found.acknowledged_ms is not None:
            reason = f"{loss_id} was acknowledged by {found.acknowledged_by} already"
            raise InvalidInput("ID", reason, "`siem redis losses` lists those that are not")
        values = {
            "acknowledged_ms": current_ms(),
            "acknowledged_by": storable_prose(by),
            "acknowledgement": storable_prose(note),
        }
        open_one = (columns.id == storable(loss_id)) & columns.acknowledged_ms.is_(None)
        with writing(self._engine) as connection:
            changed = connection.execute(update(redis_losses).where(open_one).values(values))
            if changed.rowcount:
                details = {
                    "kind": found.loss.kind.value,
                    "missing": found.loss.events,
                    "by": by,
                    "note": note,
                }
                record = audit_record(Action.LOSS_ACKNOWLEDGED, actor, subject=loss_id, details=details)
                add_record(connection, record)
        return self._get(loss_id)

    def _get(self, loss_id: str) -> RecordedLoss:
        found = next((one for one in self.list() if one.id == loss_id), None)
        if found is None:
            raise NotFoundError(f"there is no loss {loss_id}: `siem redis losses --all` lists them")
        return found


def _keep(connection: Connection, loss: Loss) -> str:
    """Keep a loss under a new id; return that."""
    made = f"loss_{uuid.uuid4().hex[:12]}"
    connection.execute(insert(redis_losses).values(id=made, **_values(loss)))
    return made


def _values(loss: Loss) -> dict[str, Any]:
    return {
        "kind": loss.kind.value,
        "since_ms": loss.since_ms,
        "found_ms": loss.found_ms,
        "events": loss.events,
        "document": msgspec.json.encode(loss).decode(),
    }
