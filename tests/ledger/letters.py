"""Dead letters and integrations in a ledger, as the tests of replays need them: short to write."""

import itertools
import json
from collections.abc import Iterable

from sqlalchemy import Engine, insert, update

from tests.ledger.entries import NOON, REFUSAL, letter, outcome
from worker.ledger.dead_letters import find_dead_letters, find_letter
from worker.ledger.engine import writing
from worker.ledger.recording import record_entries
from worker.ledger.results import DeadLetterRow
from worker.ledger.schema import integrations
from worker.model.deliveries import Cause, Failure, Status
from worker.model.replays import DeadLetterFilter

_entries = itertools.count(1)


def all_dead_letters(
    engine: Engine,
    *,
    integration_id: str | None = None,
    cause: Cause | None = None,
    since_ms: int | None = None,
    limit: int = 50,
) -> list[DeadLetterRow]:
    """Return dead letters in any state with their payloads, the latest first."""
    asked = DeadLetterFilter(
        integration_id=integration_id, causes=(cause,) if cause else (), since_ms=since_ms, state=None
    )
    return [find_letter(engine, one.id) for one in find_dead_letters(engine, asked, limit)]


def live(engine: Engine, *ids: str, tenant: str = "default", redrive: bool = True) -> None:
    """Make integrations of these ids."""
    with writing(engine) as connection:
        for one in ids:
            document = json.dumps({"id": one, "name": one, "enabled": True, "redrive": redrive})
            row = {
                "id": one,
                "tenant_id": tenant,
                "type": "splunk_hec",
                "name": one,
                "enabled": True,
                "document": document,
                "revision": 1,
                "created_ms": 1,
                "updated_ms": 1,
            }
            connection.execute(insert(integrations).values(row))


def disable(engine: Engine, integration_id: str) -> None:
    """Switch an integration off."""
    _change(engine, integration_id, enabled=False)


def delete(engine: Engine, integration_id: str) -> None:
    """Delete an integration."""
    _change(engine, integration_id, deleted_ms=2)


def bury(
    engine: Engine,
    *event_ids: str,
    integration_id: str | None = "int_a",
    cause: Cause = Cause.EXHAUSTED,
    dead_ms: int = NOON,
    failure: Failure = REFUSAL,
) -> None:
    """Let events die: each in an entry of its own, one millisecond after the other."""
    for number, event_id in enumerate(event_ids):
        dead = letter(
            {event_id: json.dumps({"id": event_id}).encode()},
            integration_id=integration_id,
            cause=cause,
            dead_ms=dead_ms + number,
            failure=failure,
        )
        entry = f"{dead_ms + number}-{next(_entries)}"
        outcomes = []
        if integration_id is not None:
            died = outcome(
                [event_id], Status.DEAD, integration_id=integration_id, settled_ms=dead_ms + number
            )
            outcomes = [(entry, [died])]
        record_entries(engine, outcomes, [(entry, dead)])


def deliver(
    engine: Engine,
    event_ids: Iterable[str],
    *,
    integration_id: str = "int_a",
    settled_ms: int = NOON + 60_000,
    batches: bool = True,
) -> None:
    """Let events be delivered."""
    settled = outcome(list(event_ids), integration_id=integration_id, settled_ms=settled_ms)
    record_entries(engine, [(f"{settled_ms}-{next(_entries)}", [settled])], [], batches=batches)


def states(engine: Engine, integration_id: str | None = None) -> dict[str | None, str]:
    """Return the state of each letter by its event; of several of an event, that of the oldest."""
    rows = all_dead_letters(engine, integration_id=integration_id, limit=100_000)
    return {row.event_id: row.state.value for row in rows}


def _change(engine: Engine, integration_id: str, **values: object) -> None:
    with writing(engine) as connection:
        connection.execute(update(integrations).where(integrations.c.id == integration_id).values(**values))
