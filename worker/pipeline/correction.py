"""Publishes the corrected event of a dead letter that was never a valid one; the letter then waits no longer.

First Redis has the event, then the ledger gets it: who is killed in between, or does it twice, publishes
the same bytes twice, and they stay one event.
"""

from worker.broker.connection import Client
from worker.broker.ingress_writer import add_events
from worker.ledger.engine import Ledger
from worker.ledger.letter_changes import mark_corrected
from worker.ledger.results import DeadLetterRow
from worker.model.audit import FLEET, Actor
from worker.model.deliveries import Cause
from worker.model.errors import BrokerUnavailable, InvalidEvent, InvalidReplay
from worker.model.event_decoder import accept_event, to_publish
from worker.model.replays import LetterState


def publish_corrected(
    engine: Ledger, client: Client, letter: DeadLetterRow, raw: bytes, *, by: Actor = FLEET
) -> str:
    """Publish the event in place of the letter's, and return its id.

    Its id and tenant are those of the letter, where that has any. Raises InvalidReplay for a letter that
    waits for no correction, InvalidEvent, BrokerUnavailable, LedgerUnavailable.
    """
    if letter.cause is not Cause.INVALID:
        raise InvalidReplay("id", f"{letter.id} holds an event that was valid", "replay it instead")
    if letter.state is not LetterState.WAITING:
        raise InvalidReplay("id", f"{letter.id} is {letter.state} already", "give one that waits")
    event, accepted = accept_event(raw)
    for field, before, now in (
        ("tenant_id", letter.tenant_id, event.tenant_id),
        ("id", letter.event_id, event.id),
    ):
        if before and now != before:
            raise InvalidEvent(field, "is another one than that of the dead letter", f"give {before}")
    [answer] = add_events(client, [to_publish(raw, accepted)])
    if isinstance(answer, Exception):
        raise answer if isinstance(answer, BrokerUnavailable) else BrokerUnavailable(str(answer))
    mark_corrected(engine, letter, by=by)
    return event.id
