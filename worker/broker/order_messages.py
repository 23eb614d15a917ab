"""Celery's messages in Redis, read as untrusted input.

Celery trusts its broker: what is no message of its own ends the worker that takes it, and stands in the list
of unacknowledged messages for the next one. So nothing of what is read here is given on. A work order is read
by its few known fields, within bounds, and written again; callbacks, compressed bodies, other tasks and
serializers never reach Celery. To drop a message loses nothing: the sweeper issues the order again.

A message has the form of Celery's protocol 2, as kombu 5.7 and the release before this one write and read it.
"""

import base64
import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from worker.integrations import destination_types
from worker.integrations.integration import MAX_RETRIES
from worker.model.orders import MessageFault
from worker.model.settlement import LONGEST_COUNTDOWN
from worker.model.untrusted_json import DAMAGED
from worker.model.untrusted_text import plain, shortened

#: An order that Celery has written has 1 100 bytes, in the list of unacknowledged messages a few more.
LONGEST_ORDER = 16 * 1024
#: Remote control may name many tasks or workers; a batch of task events has some hundred.
LONGEST_BROADCAST = 1024 * 1024
#: No retry is due later than this; more than the clocks of two hosts should differ by.
LATEST_DUE = timedelta(seconds=2 * LONGEST_COUNTDOWN)
#: How much is shown of what a decoder says, in characters: it may repeat what it read.
_LONGEST_WORDS = 100
#: A task is named for the type to which it delivers.
_TASK = "deliver_"
#: The largest number that each reader of JSON can hold.
_LARGEST = 2**53


class InvalidMessage(Exception):
    """A message that is dropped, with its fault and what its reader says, fit to be logged."""

    def __init__(self, fault: MessageFault, words: str = "") -> None:
        """Bound and clean the words."""
        self.fault = fault
        self.words = plain(shortened(words, _LONGEST_WORDS))
        super().__init__(f"{fault.words}{f' ({self.words})' if words else ''}")


def task_name(kind: str) -> str:
    """Name the task that delivers to destinations of this type."""
    return _TASK + kind


class _Headers(msgspec.Struct):
    task: Annotated[str, Meta(max_length=64)]
    id: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9-]{1,64}\Z")]
    retries: Annotated[int, Meta(ge=0, le=MAX_RETRIES)] = 0
    eta: Annotated[datetime, Meta(tz=True)] | None = None
    expires: None = None
    compression: None = None
    # When it was issued (`worker.broker.order_queues`), and whether it came back since: of no consequence.
    siem_issued_ms: Any = None
    redelivered: Any = False


class _Encoding(msgspec.Struct):
    body_encoding: Literal["base64"]


class _Message(
    msgspec.Struct, rename={"content_type": "content-type", "content_encoding": "content-encoding"}
):
    body: str
    headers: _Headers
    properties: _Encoding
    content_type: Literal["application/json"]
    content_encoding: Literal["utf-8"]


class _Arguments(msgspec.Struct, forbid_unknown_fields=True):
    integration: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}\Z")]
    slot: Annotated[int, Meta(ge=0, le=1000)]
    epoch: Annotated[int, Meta(ge=0, le=_LARGEST)]


class _NothingFollows(msgspec.Struct):
    callbacks: None = None
    errbacks: None = None
    chain: None = None
    chord: None = None


_read_message = msgspec.json.Decoder(_Message).decode
_read_body = msgspec.json.Decoder(
    tuple[Annotated[list[Any], Meta(max_length=0)], _Arguments, _NothingFollows]
).decode
_read_stored = msgspec.json.Decoder(tuple[msgspec.Raw, Any, Any]).decode
_encode = msgspec.json.Encoder().encode
#: What decoders raise for untrusted input; the last two for what is nested too deeply.
_UNREADABLE = (*DAMAGED, MemoryError, re.error)


def read_order(raw: bytes, queue: str) -> bytes:
    """Return the order of a message in the queue of this type, written again. Raises InvalidMessage."""
    if queue not in destination_types():
        raise InvalidMessage(MessageFault.OTHER_QUEUE)
    kind, order = _order(raw)
    if kind != queue:
        raise InvalidMessage(MessageFault.NO_ORDER, f"its task is {task_name(kind)}")
    return order


def read_unacknowledged(stored: bytes) -> tuple[str, bytes]:
    """Return the type and the order of an entry of Celery's hash `unacked`, written again.

    Its queue is that of its type, whatever stands beside the message. Raises InvalidMessage.
    """
    try:
        message, _, _ = _read_stored(stored)
        # It is given out again: since when it waits is not known any more.
        return _order(bytes(message), is_new=False)
    except _UNREADABLE as error:
        raise InvalidMessage(MessageFault.UNACKNOWLEDGED, str(error)) from None
    except InvalidMessage as error:
        raise InvalidMessage(MessageFault.UNACKNOWLEDGED, error.words) from None


def _order(raw: bytes, *, is_new: bool = True) -> tuple[str, bytes]:
    """Return type and order of a message, written again. Raises InvalidMessage."""
    if len(raw) > LONGEST_ORDER:
        raise InvalidMessage(MessageFault.TOO_LONG, f"{len(raw)} bytes")
    try:
        message = _read_message(raw)
    except _UNREADABLE as error:
        raise InvalidMessage(MessageFault.MALFORMED, str(error)) from None
    kind = message.headers.task.removeprefix(_TASK)
    if message.headers.task != task_name(kind) or kind not in destination_types():
        raise InvalidMessage(MessageFault.NO_ORDER, f"its task is {message.headers.task}")
    if message.headers.eta is not None and message.headers.eta - datetime.now(UTC) > LATEST_DUE:
        raise InvalidMessage(MessageFault.NO_ORDER, f"it is due at {message.headers.eta}")
    try:
        _, arguments, _ = _read_body(base64.b64decode(message.body, validate=True))
    except _UNREADABLE as error:
        raise InvalidMessage(MessageFault.NO_ORDER, str(error)) from None
    headers = message.headers if is_new else msgspec.structs.replace(message.headers, redelivered=True)
    return kind, _written(kind, headers, msgspec.structs.asdict(arguments))


def _written(kind: str, headers: _Headers, arguments: dict[str, Any]) -> bytes:
    """Write an order as Celery does. The delivery tag is new: acknowledging one order ends no other."""
    followed_by = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    return _encode(
        {
            "body": base64.b64encode(_encode([[], arguments, followed_by])).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {
                "lang": "py",
                "task": task_name(kind),
                "id": headers.id,
                "root_id": headers.id,
                "eta": None if headers.eta is None else headers.eta.isoformat(),
                "expires": None,
                "group": None,
                "retries": headers.retries,
                "timelimit": [None, None],
                "parent_id": None,
                "argsrepr": "()",
                "kwargsrepr": repr(arguments),
                "origin": "",
                **_issued(headers),
            },
            "properties": {
                "correlation_id": headers.id,
                "reply_to": None,
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": kind},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": str(uuid.uuid4()),
            },
        }
    )


def _issued(headers: _Headers) -> dict[str, int]:
    """Return the header that says when it was issued, of an order that is new and due at once."""
    issued_ms = headers.siem_issued_ms
    is_known = type(issued_ms) is int and 0 <= issued_ms <= _LARGEST
    return {"siem_issued_ms": issued_ms} if is_known and not (headers.eta or headers.redelivered) else {}


class _Clock(msgspec.Struct):
    clock: Annotated[int, Meta(ge=0, le=_LARGEST)] | None = None
    expires: float | None = None
    compression: None = None


class _Tagged(_Encoding):
    delivery_tag: Annotated[str, Meta(min_length=1, max_length=64)]
    delivery_info: dict[str, Any]


class _Broadcast(_Message):
    headers: _Clock  # type: ignore[assignment]  # the same field of another message
    properties: _Tagged


class _ReplyTo(msgspec.Struct):
    exchange: Annotated[str, Meta(max_length=256)]
    routing_key: Annotated[str, Meta(max_length=256)]


class _Command(msgspec.Struct):
    """What `celery control` and `celery inspect` send (kombu.pidbox)."""

    method: Annotated[str, Meta(pattern=r"\A[a-z_]{1,64}\Z")]
    arguments: dict[str, Any] | None = None
    destination: list[str] | None = None
    pattern: Annotated[str, Meta(max_length=256)] | None = None
    matcher: Literal["glob", "pcre"] | None = None
    ticket: Annotated[str, Meta(max_length=64)] | None = None
    reply_to: _ReplyTo | None = None


_read_broadcast = msgspec.json.Decoder(_Broadcast).decode
_read_command = msgspec.json.Decoder(_Command).decode
_read_anything = msgspec.json.Decoder(dict[str, Any] | list[dict[str, Any]]).decode


def check_broadcast(raw: bytes, *, is_command: bool) -> None:
    """Check a message of remote control, or of task events and replies. Raises InvalidMessage."""
    if len(raw) > LONGEST_BROADCAST:
        raise InvalidMessage(MessageFault.BROADCAST, f"{len(raw)} bytes")
    try:
        body = base64.b64decode(_read_broadcast(raw).body, validate=True)
        if not is_command:
            _read_anything(body)
        elif (command := _read_command(body)).matcher == "pcre":
            # With a pattern that does not compile Celery leaves its channel, and misses what comes meanwhile.
            re.compile(command.pattern or "")
    except _UNREADABLE as error:
        raise InvalidMessage(MessageFault.BROADCAST, str(error)) from None
