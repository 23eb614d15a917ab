"""What is known of a dead letter's event at its integration: its deaths, its delivery, each attempt."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from worker.ledger.attempts import AttemptRow, attempts_of
from worker.ledger.dead_letters import dead_letter_history
from worker.ledger.deliveries import find_deliveries
from worker.ledger.results import DeadLetterRow, DeliveryRow


@dataclass(frozen=True, slots=True)
class LetterHistory:
    """The deaths of an event, the first one first and without payloads; its delivery; its attempts.

    An event that was never valid has one death, and nothing else.
    """

    deaths: Sequence[DeadLetterRow]
    delivery: DeliveryRow | None
    attempts: Sequence[AttemptRow]


def letter_history(engine: Engine, letter: DeadLetterRow) -> LetterHistory:
    """Return the history of a dead letter's event at its integration. Raises LedgerUnavailable."""
    event_id, home, content = letter.event_id or "", letter.integration_id or "", letter.content
    rows = find_deliveries(engine, event_id=event_id, integration_id=home)
    # Where one of the two contents is not known, they may be the same.
    deliveries = [one for one in rows if content in {None, one.content} or one.content is None]
    return LetterHistory(
        deaths=dead_letter_history(engine, event_id, home, content) or [letter],
        delivery=deliveries[0] if deliveries else None,
        attempts=attempts_of(engine, event_id, [(home, content)]).get((home, content), ()),
    )
