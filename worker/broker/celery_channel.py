"""Five corrections to kombu's Redis transports, for a Redis that restarts, is full, or was damaged.

After a lost connection kombu 5.7 closes the old channel, and pool threads acknowledge on it, while the
connection behind it is already gone; it then fails with an AttributeError, which no caller takes for the
connection error that it is, and the worker exits (measured: whenever a delivery was under way).

A full Redis refuses work orders, and with 6.2 their acknowledgement too: nothing would then send what fills
it. Orders are small and few, at most one for each slot, so they are written all the same.

What is no message of Celery's ends the worker that takes it, and the next one. So everything that comes from
Redis is read by `worker.broker.order_messages` before kombu sees it, and what is no work order is dropped.
What stands under a key of Celery's and is of another type is moved away (`worker.broker.celery_validation`).

An order passes those of slow destinations in its queue (`worker.broker.order_queues`).

A worker that ends may be handed one more message after it has stopped to consume. kombu puts it back into its
queue, as it should, and warns of it, as if something were wrong.
"""

import logging
from collections.abc import Callable
from functools import partial
from queue import Empty
from typing import Any

import redis
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport.redis import (
    Channel,
    PrefixedRedisPipeline,
    PrefixedStrictRedis,
    QoS,
    SentinelChannel,
    SentinelTransport,
    Transport,
)
from kombu.utils.json import dumps
from redis.exceptions import OutOfMemoryError, ResponseError

from worker.broker.celery_log import CONSUMER, dependencies
from worker.broker.celery_validation import (
    CheckedPubSub,
    admitted,
    refused,
    repaired_types,
    with_repaired_types,
)
from worker.broker.oom import ALLOW_OOM, ask_when_full, write_when_full
from worker.broker.order_messages import InvalidMessage, read_unacknowledged
from worker.broker.order_queues import is_slow, put_before_slow
from worker.broker.redis_errors import is_full
from worker.integrations import destination_types
from worker.model.log_events import ORDER_RETURNED

log = logging.getLogger(__name__)

#: For so long, in seconds, Redis may give an order to a worker that has just stopped to consume: kombu waits
#: for each in a BRPOP of one second.
LONGEST_POP = 1.5


class OomTolerantPipeline(PrefixedRedisPipeline):
    """A transaction that is carried out although Redis is full, or a key of Celery's was of another type."""

    def execute(self, raise_on_error: bool = True) -> Any:  # noqa: FBT001, FBT002 - redis-py's signature
        """Execute; with the raw replies of Redis if it was full."""
        stack, scripts = list(self.command_stack), set(self.scripts)

        def ask() -> Any:
            self.command_stack, self.scripts = list(stack), set(scripts)
            return self._execute_when_full(raise_on_error)

        return with_repaired_types(redis.Redis(connection_pool=self.connection_pool), ask)

    def _execute_when_full(self, raise_on_error: bool) -> Any:  # noqa: FBT001 - redis-py's signature
        commands = [command for command, _ in self.command_stack]
        try:
            return super().execute(raise_on_error)
        except ResponseError as error:
            if not is_full(error):
                raise
            client = redis.Redis(connection_pool=self.connection_pool)
            if any(command[0] == "EVALSHA" for command in commands):  # no script can call another
                return [ask_when_full(client, *command) for command in commands]
            return write_when_full(client, commands)


class OomTolerantRedis(PrefixedStrictRedis):
    """A client that writes although Redis is full, or a key of Celery's was of another type."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command; with the raw reply of Redis if it was full."""
        return with_repaired_types(self, partial(self._ask_when_full, *args, **options))

    def _ask_when_full(self, *args: Any, **options: Any) -> Any:
        try:
            return super().execute_command(*args, **options)
        except OutOfMemoryError:
            return write_when_full(self, [self._prefix_args(args)])[0]

    def parse_response(self, connection: Any, command_name: Any, **options: Any) -> Any:
        """Read a reply; a message that is to be dropped is as if none had come."""
        found = super().parse_response(connection, command_name, **options)
        return admitted(*found) if command_name == "BRPOP" and found else found

    def pubsub(self, **options: Any) -> Any:
        """Make a client that hears what is broadcast."""
        return CheckedPubSub(self.connection_pool, global_keyprefix=self.global_keyprefix, **options)

    def register_script(self, script: Any) -> Any:
        """Prepare a script of kombu's so that it writes although Redis is full."""
        return super().register_script(ALLOW_OOM + script)

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> OomTolerantPipeline:  # noqa: FBT001, FBT002 - kombu's signature
        """Begin a transaction."""
        return OomTolerantPipeline(
            self.connection_pool,
            self.response_callbacks,
            transaction,
            shard_hint,
            global_keyprefix=self.global_keyprefix,
        )


class TolerantQoS(QoS):
    """The messages that are not acknowledged, less those that are no work orders."""

    def restore_visible(self, *args: Any, **options: Any) -> None:
        """Put back what was not acknowledged in time."""
        with self.channel.conn_or_acquire() as client, repaired_types(client):
            super().restore_visible(*args, **options)

    def restore_by_tag(self, tag: Any, client: object = None, leftmost: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's signature
        """Put an order that was not acknowledged back into the queue of its type; drop all else."""
        invalid: InvalidMessage | None = None

        def move(pipeline: Any) -> None:
            nonlocal invalid
            stored = pipeline.hget(self.unacked_key, tag)
            pipeline.multi()
            self._remove_from_indices(tag, pipeline)
            if stored is None:
                return
            try:
                queue, order = read_unacknowledged(stored)
            except InvalidMessage as error:
                invalid = error
            else:
                (pipeline.lpush if leftmost else pipeline.rpush)(queue, order)

        with self.channel.conn_or_acquire(client) as connected:
            connected.transaction(move, self.unacked_key)
        if invalid is not None:
            refused.note(invalid, "unacked")


class _Resilient(Channel):
    """Reports a connection that is gone as one that was lost; has its orders written in a full Redis."""

    QoS = TolerantQoS

    _shared: OomTolerantRedis | None = None

    def _connparams(self, asynchronous: bool = False) -> Any:  # noqa: FBT001, FBT002 - kombu's signature
        if self.connection is None or self.connection.client is None:
            raise redis.ConnectionError("the connection behind this channel is closed")
        return super()._connparams(asynchronous)

    def _create_client(self, asynchronous: bool = False) -> Any:  # noqa: FBT001, FBT002 - kombu's signature
        """Return a client of its own to a caller that waits with it, and the same one to all others.

        kombu makes three for each message, which is a seventh of what a message costs.
        """
        if asynchronous:
            return super()._create_client(asynchronous)
        known = self._shared
        if known is None or known.connection_pool is not self.pool:
            known = self._shared = super()._create_client()
        return known

    def _brpop_read(self, **options: Any) -> Any:
        """Take the next message; report that Redis has answered."""
        found = True
        try:
            with self.conn_or_acquire() as client, repaired_types(client):
                found = super()._brpop_read(**options)
        except Empty:  # no message came in the time of a BRPOP, or none but what is dropped
            dependencies.redis.back(CONSUMER)
            raise
        dependencies.redis.back(CONSUMER)
        return found

    def _put(self, queue: str, message: Any, **options: Any) -> None:
        """Put a message into its queue: a work order before those of slow destinations.

        A producer always hands options on (`mandatory`, `timeout` ...), which kombu's transport for Redis
        ignores, but for the batch that the message is to be sent with.
        """
        is_batched = options.get("_publish_batch") is not None
        if is_batched or queue not in destination_types() or is_slow(message):
            super()._put(queue, message, **options)
            return
        with self.conn_or_acquire() as client:
            put_before_slow(client, queue, dumps(message))

    def _get_client(self) -> Any:
        super()._get_client()  # refuses releases of redis-py that kombu cannot work with
        return partial(OomTolerantRedis, global_keyprefix=self.global_keyprefix)


class _Requeueing(Transport):
    """Puts what arrives after its consumer has gone back into the queue."""

    def _deliver(self, message: Any, queue: Any) -> None:
        if queue in self._callbacks:
            super()._deliver(message, queue)
            return
        ORDER_RETURNED.log(log, queue=str(queue))
        self._reject_inbound_message(message)


class ResilientChannel(_Resilient):
    """The corrected channel to one server."""


class ResilientSentinelChannel(_Resilient, SentinelChannel):
    """The corrected channel to the master that sentinels name."""


class ResilientTransport(_Requeueing):
    """The way to one server."""

    Channel = ResilientChannel


class ResilientSentinelTransport(_Requeueing, SentinelTransport):
    """The way to the master that sentinels name."""

    Channel = ResilientSentinelChannel


def install_channel(client: Callable[[], redis.Redis]) -> None:
    """Have every Redis connection of Celery in this process use a corrected transport.

    What is dropped is counted through this client, which is asked for when there is something to count.
    """
    refused.count_with(client)
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{ResilientTransport.__name__}"
    TRANSPORT_ALIASES["sentinel"] = f"{__name__}:{ResilientSentinelTransport.__name__}"
