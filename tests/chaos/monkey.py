"""What goes wrong, and what people do meanwhile.

Processes are killed, Redis is killed, freezes or is full, its master fails over, the database is locked or
refuses every write; integrations are paused and resumed, one comes and is deleted again, dead letters are
replayed.
"""

import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any

from redis.exceptions import RedisError, ResponseError

from tests.embedded_servers import RunningServer
from tests.fleet import Fleet, wait_until
from tests.sentinel_servers import WatchedServers
from worker.broker import keys
from worker.ledger.replays import create_replay
from worker.model.events import EventType
from worker.model.replays import DeadLetterFilter

_FREEZE_SECONDS, _LOCK_SECONDS, _FULL_SECONDS = 2.0, 3.0, 3.0
#: So much more than it has, Redis may take before it is full.
_ROOM = 200_000
#: Where nobody listens.
_NOWHERE = "http://127.0.0.1:9/services/collector/event"
#: How long a failover may take on a busy machine, in seconds.
_FAILOVER = 90.0

#: What a recorder writes to.
_TABLES = (
    "recorded_entries",
    "deliveries",
    "delivered_batches",
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

#: Replaces the newest chunk of a lane by one in which a bit is turned, if nobody has claimed it; one that is
#: shared is damaged where it stands, or its reference is.
#: ARGV: 1 where, as a share of its length; 2 what of a shared one: events, or reference. Returns 1 if it was
#: done.
_DAMAGE = """
local entry = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local groups = entry and redis.pcall('XPENDING', KEYS[1], 'delivery', entry[1], entry[1], 1)
if not entry or groups.err or #groups > 0 then
  return 0
end
local fields = entry[2]
local function turned(text)
  local place = 1 + math.floor(tonumber(ARGV[1]) * #text)
  local byte = string.char(bit.bxor(string.byte(text, place), 4))
  return string.sub(text, 1, place - 1) .. byte .. string.sub(text, place + 1)
end
if fields[5] == 'shared' and ARGV[2] == 'events' then
  local events = 'siem:chunk:' .. fields[6]
  redis.call('SET', events, turned(redis.call('GET', events)))
  return 1
end
fields[6] = turned(fields[6])
redis.call('XDEL', KEYS[1], entry[1])
redis.call('XADD', KEYS[1], '*', unpack(fields))
return 1
"""

#: What it may do, for whoever chooses.
DEEDS = (
    *("kill", "kill-redis", "freeze-redis", "fill-redis", "lock-database", "refuse-writes"),
    *("pause", "come-and-go", "replay", "damage-backlog", "empty-redis"),
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
        servers: WatchedServers | None = None,
    ) -> None:
        """Take the fleet; the same seed does the same things in the same order.

        `deeds` names what it may do (left out: everything), each of it once before any again; with `role`, of
        the processes it kills no others, and each only once it works. Of `servers`, if the fleet has such, it
        takes the master in the place of the fleet's own.
        """
        self.done: Counter[str] = Counter()
        self.replays: Counter[str] = Counter()
        self._fleet = fleet
        self._dice = random.Random(seed)
        self._integration_ids = integration_ids
        self._paused: set[str] = set()
        self._servers = servers
        self._guest: str | None = None
        self._must_work = role is not None
        self._victims = [one for one in VICTIMS if role in {None, one.partition("-")[0]}]
        self._deeds = {
            name: each
            for name, each in self._possible().items()
            if name in deeds or not (deeds or name in LOSSY)
        }
        #: What was asked for by name is done, however short the time is on a busy machine.
        self._first = [self._deeds[name][0] for name in deeds]

    @property
    def kills(self) -> int:
        """How many processes it has ended with SIGKILL, Redis included."""
        return sum(self.done[role] for role in ("router", "worker", "recorder", "redis"))

    def run(self, over: threading.Event, pause: float) -> None:
        """Act until told to stop, with a pause after each deed, in seconds."""
        first = iter(self._first)
        while not over.wait(self._dice.uniform(0.5, 1.5) * pause):
            act = next(first, None) or self._chosen()
            guest = self._guest
            act()
            # What waits for it makes many dead letters: it stays no longer than until the next deed is done.
            if guest is not None and guest == self._guest:
                self._come_or_go()
        for paused in sorted(self._paused):
            self._pause(paused, paused=False)
        if self._guest is not None:
            self._come_or_go()

    def _chosen(self) -> Callable[[], None]:
        deeds = list(self._deeds.values())
        act, _ = self._dice.choices(deeds, [weight for _, weight in deeds])[0]
        return act

    def _possible(self) -> dict[str, tuple[Callable[[], None], int]]:
        """Return what may happen, by name, and how often, one against the other."""
        return {
            "kill": (self._kill_a_process, 10),
            "kill-redis": (self._kill_redis, 2),
            "freeze-redis": (self._freeze_redis, 1),
            "fill-redis": (self._fill_redis, 1),
            "lock-database": (self._lock_the_database, 1),
            "refuse-writes": (self._have_the_database_refuse, 2),
            "pause": (self._pause_or_resume, 4),
            "come-and-go": (self._come_or_go, 2),
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
        if self._servers is None:
            self._fleet.server.kill_when_written()
            self._fleet.server.restart()
        else:
            self._fail_over(self._servers)
        self.done["redis"] += 1

    def _fail_over(self, servers: WatchedServers) -> None:
        """Kill the master; what becomes of it then is a replica of another."""
        old = servers.master
        old.kill()
        wait_until(lambda: servers.master is not old, "there is a new master", _FAILOVER)
        old.restart()
        wait_until(lambda: _follows(old), "the old master follows the new one", _FAILOVER)

    def _empty_redis(self) -> None:
        """Take everything from it, once the ledger has a mark that says what stands there."""
        wait_until(self._is_marked, "the ledger knows what stands in Redis")
        self._fleet.client.flushall()
        self.done["redis emptied"] += 1

    def _is_marked(self) -> bool:
        return int(self._fleet.client.hget(keys.EPOCH, "number") or 0) > 1

    def _freeze_redis(self) -> None:
        frozen = self._servers.master if self._servers else self._fleet.server
        frozen.pause()
        time.sleep(_FREEZE_SECONDS)  # the deed itself
        frozen.resume()
        self.done["redis frozen"] += 1

    def _fill_redis(self) -> None:
        """Leave Redis next to no memory for a while."""
        client = self._fleet.client
        client.config_set("maxmemory", int(client.info("memory")["used_memory"]) + _ROOM)
        time.sleep(_FULL_SECONDS)  # the deed itself
        client.config_set("maxmemory", 0)
        self.done["redis full"] += 1

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

    def _come_or_go(self) -> None:
        """Add an integration that wants everything and is never reached, or delete it with all that waits."""
        if self._guest is None:
            name = f"guest_{self.done['guest came']}"
            self._guest = self._fleet.integrate(_NOWHERE, name, event_types=[*EventType]).id
            self.done["guest came"] += 1
            return
        self._fleet.store.delete(self._guest)
        self._fleet.announce()
        self._guest = None
        self.done["guest deleted"] += 1

    def _damage_a_backlog(self) -> None:
        """Turn one bit of the newest chunk that waits anywhere, as a bad disk does."""
        for integration_id in self._dice.sample(self._integration_ids, len(self._integration_ids)):
            for lane in (keys.urgent(integration_id), keys.bulk(integration_id)):
                what = self._dice.choice(("events", "reference"))
                if self._fleet.client.eval(_DAMAGE, 1, lane, self._dice.random(), what):
                    self.done["chunk damaged"] += 1
                    return

    def _replay(self) -> None:
        """Send every dead letter of one integration again, as a person would who believes that it is well."""
        chosen = self._dice.choice(self._integration_ids)
        selection = DeadLetterFilter(integration_id=chosen)
        create_replay(self._fleet.engine, selection, target_id=None, rate=1000, made_by="monkey")
        self.replays[chosen] += 1
        self.done["replay"] += 1


def _follows(server: RunningServer) -> bool:
    with server.client() as client, suppress(RedisError):
        found = client.info("replication")
        return (found["role"], found.get("master_link_status")) == ("slave", "up")
    return False
