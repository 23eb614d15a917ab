"""Reading a stream as one of a group, so that what a dead reader held is taken over by the living.

Redis streams in brief: XREADGROUP hands each entry to one consumer of the group and remembers that it
did; XACK and XDEL end an entry; XAUTOCLAIM takes over what another consumer has held for too long.
"""

import logging
import time
from collections.abc import Sequence
from typing import Any

import redis
from redis.exceptions import ResponseError

from worker.broker.connection import broker_errors, send_command, single_script
from worker.broker.round_trips import ask, ask_one
from worker.model.log_events import STREAM_ENTRIES_STRANDED

log = logging.getLogger(__name__)

#: One entry: its id, and field, value, field, value, …
Entry = tuple[bytes, list[bytes]]


class GroupReader:
    """One consumer of a group on one or several streams; not to be shared between threads.

    Every method raises BrokerUnavailable when Redis is away. After that, what this consumer may have
    been handed without noticing is read again first.
    """

    def __init__(
        self,
        client: redis.Redis,
        streams: Sequence[str],
        group: str,
        consumer: str,
        claim_idle: float,
        beside: str | None = None,
    ) -> None:
        """Read as `consumer`, which must be unique; take over what is silent for `claim_idle` seconds.

        What stands under the key `beside` is read behind the entries, in the same round trip.
        """
        self._client = client
        self._streams = list(streams)
        self._group = group
        self._consumer = consumer
        self._claim_idle = claim_idle
        self._beside = beside
        #: What stood under that key when the latest entries had been read; None if it was not read.
        self.noted: bytes | None = None
        self._make_group = single_script(client, "make_group")
        self._stranded = single_script(client, "stranded")
        self._own_first = True
        self._next_takeover = 0.0

    def read(self, count: int, block_ms: int) -> dict[str, list[Entry]]:
        """Read up to `count` entries of each stream; wait up to `block_ms` for the first."""
        with broker_errors():
            try:
                return self._read(count, block_ms)
            except ResponseError as error:
                if "NOGROUP" not in str(error):
                    raise
                self._make_groups()
                return {}

    def read_again(self) -> None:
        """After a failure: begin with what this consumer holds already."""
        self._own_first = True

    def _read(self, count: int, block_ms: int) -> dict[str, list[Entry]]:
        self.noted = None
        if self._own_first:
            own = self._ask(count, None, "0")
            if any(own.values()):
                return own
            self._own_first = False
        if time.monotonic() >= self._next_takeover:
            taken = {stream: self._take_over(stream, count) for stream in self._streams}
            self.noted = None
            if any(taken.values()):
                return taken  # and look again next time: there may be more
            self._next_takeover = time.monotonic() + self._claim_idle / 2
        return self._ask(count, block_ms, ">")

    def _ask(self, count: int, block_ms: int | None, since: str) -> dict[str, list[Entry]]:
        command: list[Any] = ["XREADGROUP", "GROUP", self._group, self._consumer, "COUNT", count]
        if block_ms is not None:
            command += ["BLOCK", block_ms]
        command += ["STREAMS", *self._streams, *[since] * len(self._streams)]
        # What may have been handed out before an error must be asked for again.
        self._own_first, before = True, self._own_first
        reply = self._send(command)
        self._own_first = before
        return {stream.decode(): self._present(stream, entries) for stream, entries in reply or ()}

    def _send(self, command: list[Any]) -> Any:
        if self._beside is None:
            return ask_one(self._client, *command)
        # MGET takes what is of another type for nothing.
        reply, noted = ask(self._client, command, ("MGET", self._beside))
        for one in (reply, noted):
            if isinstance(one, Exception):
                raise one
        [self.noted] = noted
        return reply

    def _take_over(self, stream: str, count: int) -> list[Entry]:
        """Take over what a silent consumer holds or, what should never be, what none holds."""
        stranded = self._stranded(keys=[stream], args=[self._group, self._consumer, count])
        if stranded:
            STREAM_ENTRIES_STRANDED.log(log, stream=stream, count=len(stranded))
            return self._present(stream, stranded)
        idle_ms = round(self._claim_idle * 1000)
        reply = send_command(
            self._client, "XAUTOCLAIM", stream, self._group, self._consumer, idle_ms, "0-0", "COUNT", count
        )
        return self._present(stream, reply[1])

    def _present(self, stream: str | bytes, entries: Sequence[Any]) -> list[Entry]:
        """Drop entries that were deleted while they were pending: Redis 6.2 answers them as nil."""
        present = [entry for entry in entries if entry and entry[1]]
        if len(present) < len(entries):
            gone = [entry[0] for entry in entries if entry and not entry[1]]
            if gone:
                self._client.xack(stream, self._group, *gone)
        return present

    def _make_groups(self) -> None:
        for stream in self._streams:
            self._make_group(keys=[stream], args=[self._group])


def forget_idle_consumers(client: redis.Redis, stream: str, group: str, idle: float) -> int:
    """Remove consumers that hold nothing and were silent for `idle` seconds; return how many."""
    forgotten = 0
    with broker_errors():
        try:
            consumers: Any = client.xinfo_consumers(stream, group)
        except ResponseError:  # neither stream nor group yet
            return 0
        for consumer in consumers:
            if consumer["pending"] == 0 and consumer["idle"] > idle * 1000:
                client.xgroup_delconsumer(stream, group, consumer["name"])
                forgotten += 1
    return forgotten
