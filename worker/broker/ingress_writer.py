"""Adds events to `siem:events`: the one door for publishers and for the API."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import redis
from redis.exceptions import ResponseError

from worker.broker import keys
from worker.broker.connection import NO_REPLICA, REPLICA_MS, broker_errors, fails_over
from worker.broker.connection_pool import join_small
from worker.broker.formats import Format, KnownFormats
from worker.broker.framed_chunks import new_framed_id, pack_framed
from worker.broker.frames import FRAME, WITHIN, JudgedEvent, entry_groups, sealed
from worker.broker.packing import pack_chunk
from worker.broker.round_trips import ask_packed
from worker.broker.shared_chunks import LEAST_ALONE
from worker.model.errors import BrokerFull, BrokerUnavailable
from worker.model.outages import OutageCause
from worker.model.trace_context import TRACEPARENT

#: The field of an entry that holds one event.
EVENT = b"event"


class _Payload(NamedTuple):
    """A field of an entry that holds events, its value in parts, and what stands apart: key and value."""

    field: bytes
    value: Sequence[bytes]
    apart: tuple[bytes, bytes] | None = None


def add_judged(
    client: redis.Redis, formats: KnownFormats, events: Sequence[JudgedEvent], traceparent: bytes = b""
) -> list[bytes | Exception]:
    """Publish judged events in one round trip, many in an entry where the fleet reads that.

    Answers as `add_events` does; events that share an entry share its id, or what kept it out.
    """
    if len(events) < 2 or not formats.has(Format.FRAMES):  # noqa: PLR2004 - one event needs no frame
        return add_events(client, [one.event.raw for one in events], traceparent)
    together = list(entry_groups(events))
    payloads = [_payload([events[at] for at in places], formats) for places in together]
    answers = _add(client, payloads, traceparent)
    found: list[bytes | Exception] = [b""] * len(events)
    for places, answer in zip(together, answers, strict=True):
        for at in places:
            found[at] = answer
    return found


def _payload(events: Sequence[JudgedEvent], formats: KnownFormats) -> _Payload:
    first = events[0]
    if len(events) == 1:
        return _Payload(EVENT, (first.event.raw,))
    queued = [one.event for one in events]
    tenant_id, is_urgent, packed = first.tenant_id, first.is_urgent, pack_chunk(queued)
    if len(packed) < LEAST_ALONE or not formats.may_frame_chunks():
        return _Payload(FRAME, sealed(WITHIN, len(events), tenant_id, packed, is_urgent=is_urgent))
    chunk_id = new_framed_id()
    frame = pack_framed(tenant_id, queued, packed, chunk_id, is_urgent=is_urgent)
    return _Payload(FRAME, (frame,), (keys.chunk(chunk_id).encode(), packed))


def add_events(
    client: redis.Redis, events: Sequence[bytes], traceparent: bytes = b""
) -> list[bytes | Exception]:
    """Publish events in one round trip; answer the entry id of each, or the error that kept it out.

    `traceparent` names the span that publishes them, if it is to be told to those who deliver them.
    """
    return _add(client, [_Payload(EVENT, (raw,)) for raw in events], traceparent)


def _add(client: redis.Redis, payloads: Sequence[_Payload], traceparent: bytes) -> list[bytes | Exception]:
    """Add an entry for each of these fields.

    The commands are written by hand: packing them with redis-py costs the publisher four times as much.
    """
    pool: Any = client.connection_pool
    commands = join_small(_commands(payloads, traceparent))
    with broker_errors():
        connection = pool.get_connection()
        try:
            replies = iter(ask_packed(connection, commands, sum(map(_replies_to, payloads))))
            answers = [_answer(one, replies) for one in payloads]
            _await_replica(client, connection, answers)
        except BaseException:
            connection.disconnect()  # answers that were not read must not be taken for later ones
            raise
        else:
            return answers
        finally:
            pool.release(connection)


#: `XADD siem:events * <field> <value>` as RESP: what stands before the value, and behind it.
_XADD = b"*%%d\r\n$4\r\nXADD\r\n$%d\r\n%s\r\n$1\r\n*\r\n$%%d\r\n%%s\r\n$%%d\r\n" % (
    len(keys.EVENTS),
    keys.EVENTS.encode(),
)
_END = b"\r\n"
#: What stands before it where its events stand apart: both are done, or neither. And what stands behind it. A
#: publisher may set what is not there, and not write over the ingress.
_SETNX = b"*1\r\n$5\r\nMULTI\r\n*3\r\n$5\r\nSETNX\r\n$%d\r\n%s\r\n$%d\r\n"
_EXEC = b"*1\r\n$4\r\nEXEC\r\n"
#: Its words, and those with `traceparent` behind the value.
_WORDS, _TRACED_WORDS = 5, 7


def _commands(payloads: Sequence[_Payload], traceparent: bytes) -> Iterator[bytes]:
    """Yield the parts of all commands, none of them copied: a value may be half a megabyte."""
    pair = [b"$%d\r\n%s\r\n" % (len(word), word) for word in (TRACEPARENT, traceparent)]
    words, end = (_TRACED_WORDS, _END + b"".join(pair)) if traceparent else (_WORDS, _END)
    for field, value, apart in payloads:
        if apart is not None:
            key, packed = apart
            yield _SETNX % (len(key), key, len(packed))
            yield packed
            yield _END
        yield _XADD % (words, len(field), field, sum(map(len, value)))
        yield from value
        yield end
        if apart is not None:
            yield _EXEC


def _replies_to(payload: _Payload) -> int:
    return 1 if payload.apart is None else 4  # to MULTI, SETNX, XADD, EXEC


def _answer(payload: _Payload, replies: Iterator[Any]) -> bytes | Exception:
    """Return what one payload is answered; an error that Redis answers concerns that one only."""
    if payload.apart is None:
        answer = next(replies)
    else:
        own = list(islice(replies, _replies_to(payload)))
        # Of a transaction that was not carried out, the first error says why.
        errors = [one for one in own if isinstance(one, Exception)]
        answer = errors[0] if errors else own[-1][-1]
    return _in_words(answer) if isinstance(answer, ResponseError) else answer


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
