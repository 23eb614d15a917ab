"""What goes wrong, and what people do meanwhile.

Processes are killed, Redis is killed or freezes, the database is locked or refuses every write;
integrations are paused and resumed, dead letters are replayed.
"""

import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any

from redis.exceptions import ResponseError

from tests.fleet import Fleet, wait_until
from worker.broker import keys
from worker.ledger.replays import create_replay
from worker.model.replays import DeadLetterFilter

_FREEZE_SECONDS, _LOCK_SECONDS = 2.0, 3.0

#: What a recorder writes to.
_TABLES = (
    "recorded_entries",
    "deliveries",
    "minute_counts",
    "delivery_totals",
    "failure_totals",
    "dead_letters",
    "parked",
)
#: What makes the database refuse, and what ends it. A missing table is the error that a missing right is
#: elsewhere; the triggers blame every row, as if each entry were at fault.
_REFUSALS: list[tuple[list[str], list[str]]] = [
    (
        [f"ALTER TABLE {table} RENAME TO hidden_{table}" for table in _TABLES],
        [f"ALTER TABLE hidden_{table} RENAME TO {table}" for table in _TABLES],
    ),
    (
        [
            f"CREATE TRIGGER refuse_{table} BEFORE INSERT ON {table}"
            " BEGIN SELECT RAISE(ABORT, 'permission denied'); END"
            for table in _TABLES
        ],
        [f"DROP TRIGGER refuse_{table}" for table in _TABLES],
    ),
]

#: Replaces the newest chunk of a lane by one in which a bit is turned, if nobody has claimed it.
#: ARGV: 1 where, as a share of its length. Returns 1 if it was done.
_DAMAGE = """
local entry = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local groups = entry and redis.pcall('XPENDING', KEYS[1], 'delivery', entry[1], entry[1], 1)
if not entry or groups.err or #groups > 0 then
  return 0
end
local fields = entry[2]
local place = 1 + math.floor(tonumber(ARGV[1]) * #fields[6])
local turned = string.char(bit.bxor(string.byte(fields[6], place), 4))
fields[6] = string.sub(fields[6], 1, place - 1) .. turned .. string.sub(fields[6], place + 1)
redis.call('XDEL', KEYS[1], entry[1])
redis.call('XADD', KEYS[1], '*', unpack(fields))
return 1
"""

#: What it may do, for whoever chooses.
DEEDS = (
    *("kill", "kill-redis", "freeze-redis", "lock-database", "refuse-writes"),
    *("pause", "replay", "damage-backlog", "empty-redis"),
)
#: What loses events, and must be reported: done only if it is asked for by name.
LOSSY = frozenset({"empty-redis"})

#: The processes that chaos may kill, by the name under which the fleet starts them.
VICTIMS = ("router", "router-2", "worker", "worker-2", "recorder")

#: What each reads, and as which group.
_READS = {
    "router": (keys.EVENTS, keys.ROUTER_GROUP),
    "recorder": (keys.OUTCOMES, keys.RECORDER_GROUP),
}


class Monkey:
    """Does one bad thing after the other; everything that it ends, it starts again."""

    def __init__(
        self,
        fleet: Fleet,
        seed: int,
        integration_ids: Sequence[str],
        *,
        deeds: Collection[str] = (),
        role: str | None = None,
    ) -> None:
        """Take the fleet; the same seed does the same things in the same order.

        `deeds` names what it may do (left out: everything); with `role`, of the processes it kills no others,
        and each only once it works.
        """
        self.done: Counter[str] = Counter()
        self.replays: Counter[str] = Counter()
        self._fleet = fleet
        self._dice = random.Random(seed)
        self._integration_ids = integration_ids
        self._paused: set[str] = set()
        self._must_work = role is not None
        self._victims = [one for one in VICTIMS if role in {None, one.partition("-")[0]}]
        self._deeds = {
            name: each
            for name, each in self._possible().items()
            if name in deeds or not (deeds or name in LOSSY)
        }

    @property
    def kills(self) -> int:
        """How many processes it has ended with SIGKILL, Redis included."""
        return sum(self.done[role] for role in ("router", "worker", "recorder", "redis"))

    def run(self, over: threading.Event, pause: float) -> None:
        """Act until told to stop, with a pause after each deed, in seconds."""
        while not over.wait(self._dice.uniform(0.5, 1.5) * pause):
            act, _ = self._dice.choices(
                list(self._deeds.values()), [weight for _, weight in self._deeds.values()]
            )[0]
            act()
        for paused in sorted(self._paused):
            self._pause(paused, paused=False)

    def _possible(self) -> dict[str, tuple[Callable[[], None], int]]:
        """Return what may happen, by name, and how often, one against the other."""
        return {
            "kill": (self._kill_a_process, 10),
            "kill-redis": (self._kill_redis, 2),
            "freeze-redis": (self._freeze_redis, 1),
            "lock-database": (self._lock_the_database, 1),
            "refuse-writes": (self._have_the_database_refuse, 2),
            "pause": (self._pause_or_resume, 4),
            "replay": (self._replay, 2),
            "damage-backlog": (self._damage_a_backlog, 1),
            "empty-redis": (self._empty_redis, 1),
        }

    def _kill_a_process(self) -> None:
        victim = self._dice.choice(self._victims)
        if self._must_work and not self._works(victim):
            return
        self._fleet.kill(victim)
        self._fleet.spawn(victim)
        self.done[victim.partition("-")[0]] += 1

    def _works(self, victim: str) -> bool:
        """Whether this router or recorder, as it runs now, has read: what starts has nothing to break."""
        stream, group = _READS[victim.partition("-")[0]]
        with suppress(ResponseError):  # neither stream nor group yet
            found: Any = self._fleet.client.xinfo_consumers(stream, group)
            return any(b":%d:" % self._fleet.processes[victim].pid in one["name"] for one in found)
        return False

    def _kill_redis(self) -> None:
        self._fleet.server.kill_when_written()
        self._fleet.server.restart()
        self.done["redis"] += 1

    def _empty_redis(self) -> None:
        """Take everything from it, once the ledger has a mark that says what stands there."""
        wait_until(self._is_marked, "the ledger knows what stands in Redis")
        self._fleet.client.flushall()
        self.done["redis emptied"] += 1

    def _is_marked(self) -> bool:
        return int(self._fleet.client.hget(keys.EPOCH, "number") or 0) > 1

    def _freeze_redis(self) -> None:
        self._fleet.server.pause()
        time.sleep(_FREEZE_SECONDS)  # the deed itself
        self._fleet.server.resume()
        self.done["redis frozen"] += 1

    def _lock_the_database(self) -> None:
        with self._database() as connection:
            connection.execute("BEGIN EXCLUSIVE")
            time.sleep(_LOCK_SECONDS)  # the deed itself
            connection.execute("ROLLBACK")
        self.done["database locked"] += 1

    def _have_the_database_refuse(self) -> None:
        """Have every write fail, as under a role that lost its rights, or a trigger that refuses all."""
        begin, end = self._dice.choice(_REFUSALS)
        with self._database() as connection:
            for statement in begin:
                connection.execute(statement)
            time.sleep(_LOCK_SECONDS)  # the deed itself
            for statement in end:
                connection.execute(statement)
        self.done["database refused"] += 1

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        path = self._fleet.engine.url.database
        assert path is not None
        with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
            yield connection

    def _pause_or_resume(self) -> None:
        """Pause one integration, or end its pause."""
        chosen = self._dice.choice(self._integration_ids)
        self._pause(chosen, paused=chosen not in self._paused)
        self.done["paused or resumed"] += 1

    def _pause(self, integration_id: str, *, paused: bool) -> None:
        self._fleet.store.set_paused(integration_id, paused)
        self._fleet.announce()
        (self._paused.add if paused else self._paused.discard)(integration_id)

    def _damage_a_backlog(self) -> None:
        """Turn one bit of the newest chunk that waits anywhere, as a bad disk does."""
        for integration_id in self._dice.sample(self._integration_ids, len(self._integration_ids)):
            for lane in (keys.urgent(integration_id), keys.bulk(integration_id)):
                if self._fleet.client.eval(_DAMAGE, 1, lane, self._dice.random()):
                    self.done["chunk damaged"] += 1
                    return

    def _replay(self) -> None:
        """Send every dead letter of one integration again, as a person would who believes that it is well."""
        chosen = self._dice.choice(self._integration_ids)
        selection = DeadLetterFilter(integration_id=chosen)
        create_replay(self._fleet.engine, selection, target_id=None, rate=1000, made_by="monkey")
        self.replays[chosen] += 1
        self.done["replay"] += 1
