"""Puts the events of dead letters into backlogs again, each page of them exactly once.

Input: routed chunks, and the page that they make up. Output: chunks in the backlogs and, in the same
transaction, the page as a record of it. A process that finds a record that the ledger has not got finishes it
there, and hands nothing over. A process that slept while another worked is refused by Redis.
"""

import logging
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
from redis.exceptions import WatchError

from worker.broker import keys
from worker.broker.connection import await_replica, broker_errors
from worker.broker.formats import KnownFormats
from worker.broker.hand_over import append, may_share
from worker.broker.ingress import RoutedChunk
from worker.broker.oom import append_whole
from worker.broker.packing import damaged_counts, whole
from worker.model.log_events import REPLAY_RECORDS_DAMAGED
from worker.model.replays import Page
from worker.model.untrusted_json import DAMAGED

if TYPE_CHECKING:
    import redis
    from redis.client import Pipeline


#: While more events than this wait at an integration, no dead letter is added to them.
DEEPEST_BACKLOG = 10_000

log = logging.getLogger(__name__)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Page).decode


class ReplayPass:
    """One look at the records, and the right to hand over one page if no other process does meanwhile."""

    def __init__(self, pipeline: "Pipeline", client: "redis.Redis") -> None:
        """Take a pipeline that watches the records."""
        self._pipeline = pipeline
        self._client = client
        self._formats = KnownFormats(client)

    def records(self) -> list[Page]:
        """Return the latest page of every replay that Redis knows."""
        with broker_errors():
            found: Any = self._pipeline.hgetall(keys.REPLAYS)
        pages = {name: _page(packed) for name, packed in found.items()}
        if damaged := [name for name, page in pages.items() if page is None]:
            # What such a page handed over may come once more: no event is lost by that.
            REPLAY_RECORDS_DAMAGED.log(log, count=len(damaged))
            with broker_errors():
                self._client.hdel(keys.REPLAYS, *damaged)
        return [page for page in pages.values() if page is not None]

    def now_ms(self) -> int:
        """Return the time by the clock of Redis."""
        with broker_errors():
            seconds, microseconds = self._pipeline.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    def over(self, page: Page, routed_chunks: Iterable[RoutedChunk]) -> bool:
        """Append the routed chunks and record the page: all of it, or, if another was quicker, nothing.

        After BrokerUnavailable that is not known; the records say.
        """
        chunks = list(routed_chunks)
        share = may_share(self._formats, chunks)
        with broker_errors():
            self._pipeline.multi()
            append(self._pipeline, chunks, share=share)
            self._pipeline.hset(keys.REPLAYS, page.replay_id, _encode(page))
            commands = [command for command, _ in self._pipeline.command_stack]
            try:
                with damaged_counts(self._client, commands):
                    append_whole(self._pipeline)
            except WatchError:
                return False
        await_replica(self._client)
        return True


class Replaying:
    """One replayer's way to the backlogs. Raises BrokerUnavailable."""

    def __init__(self, client: "redis.Redis") -> None:
        """Use a client of its own thread."""
        self._client = client

    @contextmanager
    def hand(self) -> Iterator[ReplayPass]:
        """Begin: from here to `ReplayPass.over`, no other process may hand anything over."""
        pipeline = self._client.pipeline(transaction=True)
        try:
            with broker_errors():
                pipeline.watch(keys.REPLAYS)  # type: ignore[no-untyped-call]  # redis-py
            await_replica(self._client)  # the ledger will note what the records say
            yield ReplayPass(pipeline, self._client)
        finally:
            pipeline.reset()

    def forget(self, replay_ids: Collection[str]) -> None:
        """Remove the records of replays that have ended; those that the ledger has got."""
        with broker_errors():
            self._client.hdel(keys.REPLAYS, *replay_ids)

    def ready(self, integration_ids: Iterable[str]) -> set[str]:
        """Return those that can do with more: enabled, breaker closed, not too much in the backlog."""
        ids = list(integration_ids)
        with broker_errors():
            pipeline = self._client.pipeline(transaction=False)
            for one in ids:
                pipeline.hmget(keys.state_key(one), "held", "breaker", "backlog_events")
            states = pipeline.execute() if ids else []
        return {one for one, state in zip(ids, states, strict=True) if _can_take(*state)}


def _page(packed: bytes) -> Page | None:
    try:
        return _decode(packed)
    except DAMAGED:
        return None


def _can_take(held: bytes | None, breaker: bytes | None, backlog: bytes | None) -> bool:
    return held != b"1" and not breaker and whole(backlog) < DEEPEST_BACKLOG
