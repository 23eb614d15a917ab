"""What goes wrong: processes are killed, Redis is killed or freezes, the database is locked away."""

import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable

from tests.fleet import Fleet

_FREEZE_SECONDS, _LOCK_SECONDS = 2.0, 3.0

#: The processes that chaos may kill, by the name under which the fleet starts them.
VICTIMS = ("router", "router-2", "worker", "worker-2", "recorder")


class Monkey:
    """Does one bad thing after the other; everything that it ends, it starts again."""

    def __init__(self, fleet: Fleet, seed: int) -> None:
        """Take the fleet; the same seed does the same things in the same order."""
        self.done: Counter[str] = Counter()
        self._fleet = fleet
        self._dice = random.Random(seed)

    def run(self, over: threading.Event, pause: float) -> None:
        """Act until told to stop, with a pause after each deed, in seconds."""
        while not over.wait(self._dice.uniform(0.5, 1.5) * pause):
            deed = self._dice.choices(*zip(*self._deeds(), strict=True))[0]
            deed()

    def _deeds(self) -> list[tuple[Callable[[], None], int]]:
        """Return what may happen, and how often, one against the other."""
        return [
            (self._kill_a_process, 10),
            (self._kill_redis, 2),
            (self._freeze_redis, 1),
            (self._lock_the_database, 1),
        ]

    def _kill_a_process(self) -> None:
        victim = self._dice.choice(VICTIMS)
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
