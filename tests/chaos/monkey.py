"""What goes wrong, and what people do meanwhile.

Processes are killed, Redis is killed or freezes, the database is locked away or refuses what is written;
integrations are paused and resumed, dead letters are replayed.
"""

import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

from tests.fleet import Fleet
from worker.ledger.replays import create_replay
from worker.model.replays import Selection

_FREEZE_SECONDS, _LOCK_SECONDS, _REFUSE_SECONDS = 2.0, 3.0, 3.0

#: The tables that a recorder writes to.
_RECORDED = ("recorded_entries", "deliveries", "minute_counts", "dead_letters", "parked")

#: The processes that chaos may kill, by the name under which the fleet starts them.
VICTIMS = ("router", "router-2", "worker", "worker-2", "recorder")


class Monkey:
    """Does one bad thing after the other; everything that it ends, it starts again."""

    def __init__(
        self, fleet: Fleet, seed: int, integration_ids: Sequence[str], only: str | None = None
    ) -> None:
        """Take the fleet; the same seed does the same things in the same order.

        With `only`, nothing but processes of this role are killed.
        """
        self.done: Counter[str] = Counter()
        self._fleet = fleet
        self._dice = random.Random(seed)
        self._integration_ids = integration_ids
        self._paused: set[str] = set()
        self._victims = [one for one in VICTIMS if only in {None, one.partition("-")[0]}]
        self._kills_alone = only is not None

    @property
    def kills(self) -> int:
        """How many processes it has ended with SIGKILL, Redis included."""
        return sum(self.done[role] for role in ("router", "worker", "recorder", "redis"))

    def run(self, over: threading.Event, pause: float) -> None:
        """Act until told to stop, with a pause after each deed, in seconds."""
        while not over.wait(self._dice.uniform(0.5, 1.5) * pause):
            deed = self._dice.choices(*zip(*self._deeds(), strict=True))[0]
            deed()
        for paused in sorted(self._paused):
            self._pause(paused, paused=False)

    def _deeds(self) -> list[tuple[Callable[[], None], int]]:
        """Return what may happen, and how often, one against the other."""
        if self._kills_alone:
            return [(self._kill_a_process, 1)]
        return [
            (self._kill_a_process, 10),
            (self._kill_redis, 2),
            (self._freeze_redis, 1),
            (self._lock_the_database, 1),
            (self._let_the_database_refuse, 2),
            (self._pause_or_resume, 4),
            (self._replay, 2),
        ]

    def _kill_a_process(self) -> None:
        victim = self._dice.choice(self._victims)
        self._fleet.kill(victim)
        self._fleet.spawn(victim)
        self.done[victim.partition("-")[0]] += 1

    def _kill_redis(self) -> None:
        self._fleet.server.kill()
        self._fleet.server.restart()
        self.done["redis"] += 1

    def _freeze_redis(self) -> None:
        self._fleet.server.pause()
        time.sleep(_FREEZE_SECONDS)  # the deed itself
        self._fleet.server.resume()
        self.done["redis frozen"] += 1

    def _lock_the_database(self) -> None:
        path = self._fleet.engine.url.database
        assert path is not None
        connection = sqlite3.connect(path, timeout=30, isolation_level=None)
        try:
            connection.execute("BEGIN EXCLUSIVE")
            time.sleep(_LOCK_SECONDS)  # the deed itself
            connection.execute("ROLLBACK")
        finally:
            connection.close()
        self.done["database locked"] += 1

    def _let_the_database_refuse(self) -> None:
        """Have it answer, and take nothing, in words that sound as if the values were to blame."""
        path = self._fleet.engine.url.database
        assert path is not None
        connection = sqlite3.connect(path, timeout=30, isolation_level=None)
        try:
            for table in _RECORDED:
                connection.execute(
                    f"CREATE TRIGGER refuse_{table} BEFORE INSERT ON {table} "
                    "BEGIN SELECT RAISE(ABORT, 'not allowed'); END"
                )
            time.sleep(_REFUSE_SECONDS)  # the deed itself
        finally:
            for table in _RECORDED:
                connection.execute(f"DROP TRIGGER IF EXISTS refuse_{table}")
            connection.close()
        self.done["database refuses"] += 1

    def _pause_or_resume(self) -> None:
        """Pause one integration, or end its pause."""
        chosen = self._dice.choice(self._integration_ids)
        self._pause(chosen, paused=chosen not in self._paused)
        self.done["paused or resumed"] += 1

    def _pause(self, integration_id: str, *, paused: bool) -> None:
        self._fleet.store.set_paused(integration_id, paused)
        self._fleet.announce()
        (self._paused.add if paused else self._paused.discard)(integration_id)

    def _replay(self) -> None:
        """Send every dead letter of one integration again, as a person would who believes that it is well."""
        selection = Selection(integration_id=self._dice.choice(self._integration_ids))
        create_replay(self._fleet.engine, selection, target_id=None, rate=1000, made_by="monkey")
        self.done["replay"] += 1
