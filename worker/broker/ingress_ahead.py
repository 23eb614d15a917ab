"""Reading in the ingress beyond what its readers were given, and handing over from there out of turn.

Entries stay where they are: only those that are handed over are deleted, in the same script. It does nothing
if a reader of the group has been given one of them meanwhile, or if another one reads ahead. So no entry is
handed over twice, none is lost when a process is killed, and a router of an earlier release, which reads
from the head alone, may run beside.
"""

import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from worker.broker import keys
from worker.broker.connection import broker_errors, joined_script, script_text, send_command, single_script
from worker.broker.formats import KnownFormats
from worker.broker.hand_over import fill, may_share
from worker.broker.ingress import HEAVIEST_READ, IngressEntry, RoutingResult, ingress_entries
from worker.broker.locks import LeaderLock
from worker.broker.notices import forget_floods, note_floods
from worker.broker.oom import flat, has_room
from worker.broker.packing import damaged_counts
from worker.broker.streams import Entry

if TYPE_CHECKING:
    import redis


#: A node of a stream takes so many bytes of memory at the most, and a little more for the tree that leads to
#: it, unless it is a single larger entry (redis.conf, stream-node-max-bytes).
_LARGEST_NODE = 4096 + 256
#: So many nodes at the head are weighed to know how much one takes.
_SAMPLES = 100
#: Where there are huge entries, a read ends with the one that brings it to this part of the heaviest read.
_ENOUGH = 1 / 16
#: How often to look how heavy they are, in seconds: it costs Redis some milliseconds where much waits.
_WEIGH_EVERY = 5.0
#: In a script, since the reply of XINFO STREAM itself holds two whole entries.
_NODES = script_text("ids") + (
    "local info = redis.pcall('XINFO', 'STREAM', KEYS[1])\n"
    "return info.err and 0 or value_of(info, 'radix-tree-keys')"
)
#: Another may read ahead once the one that does was silent for so many seconds.
TURN = 2.0


class IngressAhead:
    """One router's view beyond the head of `siem:events`. Every method raises BrokerUnavailable."""

    def __init__(self, client: "redis.Redis") -> None:
        """Use the client, which no other thread may use."""
        self._client = client
        self._turn = LeaderLock(client, keys.AHEAD_LOCK, TURN, when_full=True)
        self._hand_over = joined_script(client, "make_way", "ids", "ahead")
        self._read_some = single_script(client, "read_some")
        self._formats = KnownFormats(client)
        self._next_look = 0.0
        self._has_huge = False

    def is_mine(self) -> bool:
        """Whether this router may read ahead: one at a time, and none while Redis is too full for it."""
        with broker_errors():
            return self._turn.is_mine() and has_room(self._client)

    @property
    def turn(self) -> str:
        """The name of this turn: what was found in another one may have been handed over by others since."""
        return self._turn.name

    def note(self, tenants: Collection[str]) -> None:
        """Write down who floods the ingress."""
        note_floods(self._client, tenants)

    def pass_on(self) -> None:
        """Let another router read ahead; the ingress is no longer flooded."""
        forget_floods(self._client)
        self._turn.pass_on()

    def head(self) -> bytes | None:
        """Return the id of the last entry that a router was given; None before the first has read."""
        with broker_errors(), _no_group():
            for group in self._client.xinfo_groups(keys.EVENTS):
                if group["name"] == keys.ROUTER_GROUP.encode():
                    head: bytes = group["last-delivered-id"]
                    return head
        return None

    def after(self, entry_id: bytes, window: Callable[[], int]) -> Generator[list[Entry]]:
        """Yield the entries after this one, `window` of them at a time, until there are no more.

        Where some are huge, it is fewer: a thousand are too much for Redis and for us. Elsewhere Redis is
        busy with the next read while one is worked at.
        """
        with broker_errors():
            if self._holds_huge():
                yield from self._light_reads(entry_id, window)
            else:
                yield from self._wide_reads(entry_id, window)

    def _wide_reads(self, entry_id: bytes, window: Callable[[], int]) -> Iterator[list[Entry]]:
        pool: Any = self._client.connection_pool
        connection = pool.get_connection()
        try:
            yield from _reads(connection, entry_id, window)
        except GeneratorExit:
            raise
        except BaseException:
            connection.disconnect()  # an answer that was not read must not be taken for a later one
            raise
        finally:
            pool.release(connection)

    def _light_reads(self, entry_id: bytes, window: Callable[[], int]) -> Iterator[list[Entry]]:
        """Yield reads that end before they are heavy, at several times the cost to Redis."""
        more = True
        while more:
            reply: Any = self._read_some(
                keys=[keys.EVENTS], args=[entry_id, window(), round(HEAVIEST_READ * _ENOUGH)]
            )
            more, entries = reply
            yield entries
            entry_id = entries[-1][0] if entries else entry_id

    def _holds_huge(self) -> bool:
        """Whether the ingress holds huge entries that would make too heavy a read together.

        The number of nodes gives what many small ones take; the rest is of those that are larger.
        """
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + _WEIGH_EVERY
            weight = self._weight(samples=0)
            self._has_huge = weight > HEAVIEST_READ and weight - self._small() > HEAVIEST_READ // 2
        return self._has_huge

    def _small(self) -> int:
        """Return about how many bytes of memory the ingress takes without the huge entries."""
        nodes = int(send_command(self._client, "EVAL", _NODES, 1, keys.EVENTS))
        return min(nodes * _LARGEST_NODE, self._weight(samples=_SAMPLES))

    def _weight(self, *, samples: int) -> int:
        """Return how many bytes of memory the ingress takes, as the first nodes say; 0 samples are all.

        Returns 0 where that may not be asked.
        """
        try:
            return int(send_command(self._client, "MEMORY", "USAGE", keys.EVENTS, "SAMPLES", samples) or 0)
        except ResponseError:
            return 0

    def received(self, entries: Iterable[Entry]) -> list[IngressEntry]:
        """Return what stands in these entries."""
        return ingress_entries(self._client, entries)

    def hand_over(self, routing_result: RoutingResult, lowest_id: bytes) -> bytes | None:
        """Append to the backlogs and delete the entries, of which the first is `lowest_id`: all or nothing.

        Returns None when that is done, else the id of the last entry that a router was given: up to there
        entries are no longer to be had. Raises NotMyTurn when another router reads ahead by now.
        """
        pipeline = self._client.pipeline(transaction=True)
        fill(pipeline, routing_result, share=may_share(self._formats, routing_result.routed_chunks))
        pipeline.xdel(keys.EVENTS, *routing_result.done)
        commands = [command for command, _ in pipeline.command_stack]
        with broker_errors(), damaged_counts(self._client, commands):
            reply: Any = self._hand_over(
                keys=[keys.EVENTS, keys.AHEAD_LOCK],
                args=[keys.ROUTER_GROUP, self._turn.name, lowest_id, *flat(commands)],
            )
            if reply[0] == b"not mine":
                raise NotLeader
            if reply[0] == b"late":
                given: bytes = reply[1]
                return given
            for one in reply[1]:
                if isinstance(one, Exception):
                    raise one
        return None


def _reads(connection: Any, entry_id: bytes, window: Callable[[], int]) -> Iterator[list[Entry]]:
    asked, more = window(), True
    connection.send_command("XREAD", "COUNT", asked, "STREAMS", keys.EVENTS, entry_id)
    while more:
        reply = connection.read_response()
        entries = reply[0][1] if reply else []
        more = len(entries) == asked
        if more:
            asked = window()
            connection.send_command("XREAD", "COUNT", asked, "STREAMS", keys.EVENTS, entries[-1][0])
        try:
            yield entries
        except GeneratorExit:
            if more:
                connection.read_response()
            return


class NotLeader(Exception):
    """Another router reads ahead."""


@contextmanager
def _no_group() -> Iterator[None]:
    """Without a stream there is no group either."""
    try:
        yield
    except ResponseError as error:
        if "no such key" not in str(error):
            raise
