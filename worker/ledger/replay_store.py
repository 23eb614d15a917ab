"""What the replayer needs of the ledger, as one object that knows its engine."""

from collections.abc import Collection

from sqlalchemy import Engine

from worker.ledger import redriving, replays
from worker.model.replays import Page, Replay, ReplayedLetter, ReplayState


class ReplayStore:
    """The replays of one ledger. Every method may raise LedgerUnavailable."""

    def __init__(self, engine: Engine) -> None:
        """Take the ledger."""
        self._engine = engine

    def running(self) -> list[Replay]:
        """Return those that run, the oldest first."""
        return replays.running_replays(self._engine)

    def next_page(
        self, replay: Replay, most: int, closed: Collection[str] = ()
    ) -> tuple[list[ReplayedLetter], list[str]]:
        """Return the letters to hand over next, and those that need not be: see `replays.next_page`."""
        return replays.next_page(self._engine, replay, most, closed)

    def mark(self, page: Page) -> bool:
        """Note what a page did; return False when that stands there already."""
        return replays.mark_page(self._engine, page)

    def is_deleted(self, integration_id: str) -> bool:
        """Say whether there was an integration of that id that is deleted by now."""
        return replays.is_deleted(self._engine, integration_id)

    def end(self, replay_id: str, state: ReplayState, note: str | None = None) -> bool:
        """End one; return whether it ran."""
        return replays.end_replay(self._engine, replay_id, state, note)

    def redrivable(self) -> dict[str, int]:
        """Return integrations with letters of an outage, and when each last delivered something (ms)."""
        return redriving.redrivable(self._engine)

    def redrive(self, integration_id: str, well_since_ms: int) -> Replay | None:
        """Make a replay of what died before that; None when there is nothing to do."""
        return redriving.redrive(self._engine, integration_id, well_since_ms)
