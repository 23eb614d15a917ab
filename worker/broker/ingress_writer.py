"""Adds events to `siem:events`: the one door for publishers and for the API."""

from collections.abc import Sequence
from typing import Any

import redis
from redis.exceptions import ResponseError

from worker.broker import keys
from worker.broker.connection import NO_REPLICA, REPLICA_MS, broker_errors, fails_over
from worker.model.errors import BrokerFull, BrokerUnavailable
from worker.model.outages import OutageCause
from worker.model.trace_context import TRACEPARENT


def add_events(
    client: redis.Redis, events: Sequence[bytes], traceparent: bytes = b""
) -> list[bytes | Exception]:
    """Publish events in one round trip; answer the entry id of each, or the error that kept it out.

    `traceparent` names the span that publishes them, if it is to be told to those who deliver them.

    The commands are written by hand: packing them with redis-py costs the publisher four times as much.
    """
    pool: Any = client.connection_pool
    command = _traced_command(traceparent) if traceparent else _XADD
    with broker_errors():
        connection = pool.get_connection()
        try:
            connection.send_packed_command([command % (len(raw), raw) for raw in events])
            answers = [_answer(connection) for _ in events]
            _await_replica(client, connection, answers)
        except BaseException:
            connection.disconnect()  # answers that were not read must not be taken for later ones
            raise
        else:
            return answers
        finally:
            pool.release(connection)


#: `XADD siem:events * event <raw>` as RESP.
_XADD = (
    b"*5\r\n$4\r\nXADD\r\n$%d\r\n%s\r\n$1\r\n*\r\n$5\r\nevent\r\n"
    % (
        len(keys.EVENTS),
        keys.EVENTS.encode(),
    )
    + b"$%d\r\n%s\r\n"
)


def _traced_command(traceparent: bytes) -> bytes:
    """Return the same command with the field `traceparent` behind the event."""
    pair = [b"$%d\r\n%s\r\n" % (len(word), word) for word in (TRACEPARENT, traceparent)]
    return _XADD.replace(b"*5", b"*7", 1) + b"".join(pair)


def _answer(connection: Any) -> bytes | Exception:
    """Read one answer; an error that Redis answers concerns one event only."""
    try:
        entry_id: bytes = connection.read_response()
    except ResponseError as error:
        return _in_words(error)
    return entry_id


def _in_words(error: ResponseError) -> Exception:
    try:
        with broker_errors():
            raise error
    except BrokerFull as full:
        return BrokerFull(f"the event was not accepted: {full}")
    except (BrokerUnavailable, ResponseError) as other:
        return other


def _await_replica(client: redis.Redis, connection: Any, answers: list[bytes | Exception]) -> None:
    """Behind sentinels, take for accepted only what a replica has as well: a failover then keeps it."""
    if not fails_over(client) or not any(isinstance(answer, bytes) for answer in answers):
        return
    connection.send_command("WAIT", 1, REPLICA_MS)
    if connection.read_response() < 1:
        unconfirmed = BrokerUnavailable(
            f"the event was not accepted: {NO_REPLICA}", OutageCause.TOO_FEW_REPLICAS
        )
        answers[:] = [unconfirmed if isinstance(answer, bytes) else answer for answer in answers]
