"""Stand-ins for what is beside Redis: what a destination replies to a batch, and the rows of the ledger.

Comes in: a batch and the fates of its events; chunks that were parked. Goes out: a settlement, as a worker
makes it; pages, as the ledger gives them back.
"""

import json
from collections.abc import Sequence

from worker.model.batches import Batch, DeliveryAttempt
from worker.model.deliveries import DeliveryResult, Failure, Settlement, Verdict
from worker.model.events import QueuedEvent
from worker.model.failures import FailureCode
from worker.model.parking import BacklogRoom, ParkedChunk
from worker.model.settlement import LOST_ALONE, RetryPolicy, settle_deleted, settle_lost, settle_results

#: How an attempt may end for one event; `unsent` is what time ran out before.
FATES = ("accepted", "retry", "refused", "misconfigured", "gone", "unsent", "accepted, but rest")
_CODES = {"misconfigured": FailureCode.TOKEN_INVALID, "gone": FailureCode.ENDPOINT_GONE}

ParkedPage = list[tuple[str, ParkedChunk]]


class Ledger:
    """What was parked, by the names of its rows; it can fail to forget."""

    def __init__(self) -> None:
        """Begin empty."""
        self.rows: dict[str, ParkedChunk] = {}

    def oldest(self, integration_id: str, room: BacklogRoom) -> ParkedPage:
        """Return what fits of the urgent lane, or else of the other; the first fits always."""
        own = [row for row in self.rows.items() if row[1].integration_id == integration_id]
        lane = [row for row in own if row[1].urgent] or own
        page: ParkedPage = []
        events, size = room.events, room.size
        for name, chunk in sorted(lane, key=lambda row: row[1].position):
            if events <= 0 or size <= 0 or (page and (chunk.events > events or chunk.size > size)):
                break
            page.append((name, chunk))
            events, size = events - chunk.events, size - chunk.size
        return page

    def forget(self, names: Sequence[str]) -> None:
        """Forget rows."""
        for name in names:
            self.rows.pop(name, None)


def event(name: str, size: int) -> QueuedEvent:
    """Make an event whose bytes are its name and so many more."""
    return QueuedEvent(name, "policy.deny", 1_000, 2_000, name.encode() + b"x" * size)


def carry(batch: Batch, replay_result: Sequence[str]) -> Settlement:
    """Send as a worker does, with these replies in turn for the events that are sent."""
    if json.loads(batch.configuration).get("deleted"):
        return settle_deleted(batch)
    if batch.lost_alone >= LOST_ALONE:
        return settle_lost(batch)
    attempt = DeliveryAttempt(batch)
    return settle_results(attempt, _results(attempt, replay_result), RetryPolicy(3, 2.0))


def _results(attempt: DeliveryAttempt, replay_result: Sequence[str]) -> list[DeliveryResult]:
    places: dict[str, list[int]] = {}
    for number, place in enumerate(attempt.places):
        fate = replay_result[number % len(replay_result)]
        if fate != "unsent":
            attempt.count([place])
        places.setdefault(fate, []).append(place)
    return [_result(fate, chosen) for fate, chosen in places.items()]


def _result(fate: str, places: list[int]) -> DeliveryResult:
    if fate.startswith("accepted"):
        return DeliveryResult(places, Verdict.ACCEPTED, 5, cool_down=5.0 if "rest" in fate else 0.0)
    verdict = Verdict.REFUSED if fate == "refused" else Verdict.RETRY
    return DeliveryResult(
        places, verdict, 5, Failure(_CODES.get(fate, FailureCode.DESTINATION_BUSY), fate, "wait")
    )
