"""Finds dead letters of an outage that is over, and makes replays of them.

Only what died although nothing was wrong with it, and only where something was delivered since: the events
that a destination refused, or that were none, are never meant. An event that has died several times is left
to a person: sending it a further time would not be about the outage.

What died because its destination said that it is gone for good (a webhook's HTTP 410) comes back when
a user enables the integration again, however often it died: until then it can be discarded.
"""

import json
from typing import Any

from sqlalchemy import Connection, Engine, func, select, text

from worker.ledger.batch_reading import latest_ms
from worker.ledger.dead_letters import count_dead_letters, count_letters
from worker.ledger.engine import distinct_values, reading
from worker.ledger.replays import create_replay, insert_replay, running_in, running_replays
from worker.ledger.schema import dead_letters, deliveries, integrations
from worker.model.deliveries import Cause, Status
from worker.model.failures import FailureCode
from worker.model.replays import DEFAULT_RATE, ENABLED, REDRIVE, DeadLetterFilter, Replay

#: An event that has died more often than that at one integration is not sent again by itself.
MOST_DEATHS = 2
#: How far back among an integration's settlements a working one has delivered something.
_LATELY = 1000

_WAITS_FOR_BETTER_DAYS = text("state = 'waiting' AND cause = 'exhausted'")
_letter = dead_letters.c
_delivery = deliveries.c


def redrivable(engine: Engine) -> dict[str, int]:
    """Return integrations with letters of an outage, and when each has last delivered something (ms).

    Those that are disabled, were deleted, or do not want it, are left out.
    """
    with reading(engine) as connection:
        return {
            integration_id: last_ms
            for integration_id in distinct_values(connection, _letter.integration_id, _WAITS_FOR_BETTER_DAYS)
            if _wants_redrive(connection, integration_id)
            and (last_ms := _last_delivered_ms(connection, integration_id))
        }


def redrive(engine: Engine, integration_id: str, well_since_ms: int) -> Replay | None:
    """Make a replay of what died before that; None when nothing did, or one is running."""
    if any(one.made_by == REDRIVE and _is_of(one, integration_id) for one in running_replays(engine)):
        return None
    selection = DeadLetterFilter(
        integration_id=integration_id,
        until_ms=well_since_ms - 1,
        causes=(Cause.EXHAUSTED.value,),
        most_deaths=MOST_DEATHS,
    )
    if not count_dead_letters(engine, selection).replayable:
        return None
    return create_replay(engine, selection, target_id=None, rate=DEFAULT_RATE, made_by=REDRIVE, quotas=None)


def bring_back(connection: Connection, integration_id: str) -> Replay | None:
    """Make a replay of what died because the destination was gone; None when nothing did, or one runs.

    To be called in the transaction that enables the integration.
    """
    selection = DeadLetterFilter(integration_id=integration_id, codes=(FailureCode.ENDPOINT_GONE.value,))
    counted = count_letters(connection, selection)
    running = [
        one
        for one in running_in(connection)
        if one.made_by == ENABLED and _is_of(one, integration_id) and one.upto_ms >= counted.upto_ms
    ]
    if running or not counted.replayable:
        return None
    return insert_replay(connection, selection, counted, target_id=None, rate=DEFAULT_RATE, made_by=ENABLED)


def _is_of(replay: Replay, integration_id: str) -> bool:
    return replay.selection.integration_id == integration_id


def _wants_redrive(connection: Connection, integration_id: str) -> bool:
    columns = integrations.c
    wanted = select(columns.document).where(
        columns.id == integration_id, columns.enabled, columns.deleted_ms.is_(None)
    )
    document: Any = connection.execute(wanted).scalar_one_or_none()
    return document is not None and bool(json.loads(document).get("redrive", True))


def _last_delivered_ms(connection: Connection, integration_id: str) -> int | None:
    lately = (
        select(_delivery.settled_ms, _delivery.status)
        .where(_delivery.integration_id == integration_id)
        .order_by(_delivery.settled_ms.desc())
        .limit(_LATELY)
        .subquery()
    )
    wanted = select(func.max(lately.c.settled_ms)).where(lately.c.status == Status.DELIVERED)
    known = (connection.execute(wanted).scalar_one(), latest_ms(connection, integration_id))
    return max((one for one in known if one is not None), default=None)
