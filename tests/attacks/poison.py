"""Messages that an attacker may put where a worker reads: of any bytes, any shape, any headers."""

import base64
import gzip
import json
import random
from collections.abc import Iterator
from typing import Any

KIND = "splunk_hec"
#: What a channel of Celery's must hold to be one: what `celery control` broadcasts, by its body.
_EXCHANGE = "celery.pidbox"

NO_MESSAGES: tuple[bytes, ...] = (
    *(b"", b"\xff\xfe", b"null", b"true", b"1", b"-1e999", b'"order"', b"[]", b"{}", b"[1, 2, 3, 4]", b"{"),
    *(b'{"body": null}', b'{"body": "nonsense"}', b'{"headers": {}, "properties": {}}', b"\x00" * 1000),
    b"[" * 100_000,
    b'{"properties": ' * 50_000,
    b"9" * 10_000,
    b'{"__type__": "uuid", "__value__": 1}',
    b'{"__type__": "bytes", "__value__": 1}',
    b'{"__type__": "decimal", "__value__": "x"}',
    b'{"__type__": [], "__value__": 1}',
    b"x" * 5_000_000,
)

ARGUMENTS: dict[str, Any] = {"integration": "int_splunk", "slot": 1, "epoch": 1}
NOTHING_FOLLOWS: dict[str, Any] = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
BODY: list[Any] = [[], ARGUMENTS, NOTHING_FOLLOWS]
_LINK = [{"task": "deliver_webhook", "args": [], "kwargs": ARGUMENTS, "options": {"queue": "webhook"}}]


def each(name: str, *values: Any) -> list[dict[str, Any]]:
    """Return a change of this field to each of these values."""
    return [{name: value} for value in values]


def _with_arguments(name: str, *values: Any) -> list[Any]:
    """Return the body of an order with this argument changed to each of these values."""
    return [[[], {**ARGUMENTS, **change}, NOTHING_FOLLOWS] for change in each(name, *values)]


BODIES: tuple[Any, ...] = (
    *({}, None, [], [1, 2, 3, 4], [1, 2, 3], "x", 1, True, [[], {}], [[], {}, {}], [[], None, {}]),
    *([None] * 3, [[], [], {}], [["int_splunk", 1, 1], {}, {}], [[], ARGUMENTS, None], [[], ARGUMENTS, [1]]),
    *_with_arguments("further", 1),
    *_with_arguments("integration", None, 1, [], {}, "", "a:b", "int_x\n", "x" * 9999, "x" * 99_999),
    *_with_arguments("slot", None, "1", 1.5, -1, 10**30, [], {}),
    *_with_arguments("epoch", None, "1", -1, 10**300, {}),
    *([[], ARGUMENTS, {**NOTHING_FOLLOWS, name: _LINK}] for name in ("callbacks", "errbacks", "chain")),
    [[], ARGUMENTS, {**NOTHING_FOLLOWS, "chord": _LINK[0]}],
)

HEADERS: tuple[dict[str, Any], ...] = (
    *each("task", None, 1, [], {}, "", "nobody", "celery.chord", "celery.backend_cleanup", "deliver_webhook"),
    *each("task", "deliver_\x1b[2J", "x" * 9999),
    *each("id", None, 1, [], {}, "", "\x1b]0;title\x07", "x" * 9999),
    *each("eta", "9999-12-31T23:59:59Z", "nonsense", 1, [], "2026-13-41T00:00:00", "x" * 9999),
    *each("expires", "nonsense", "0001-01-01T00:00:00Z", [], {}),
    *each("retries", -1, "1", None, 10**9, 1.5, []),
    *each("timelimit", "x", [1], [10**30, 1], 5),
    *each("compression", "gzip", "application/x-gzip", "nonsense", 1, []),
    *({"stamps": {"a": "b"}, "stamped_headers": ["a", []]}, {"group": [], "chord": {}}, {"lang": []}),
    *({"clock": "x"}, {"redelivered": []}, {"ignore_result": {}}, {"x" * 9999: 1}),
)

PROPERTIES: tuple[Any, ...] = (
    *(None, [], "x", {}),
    *each("delivery_info", None, [], {"exchange": [], "routing_key": {}}),
    *each("delivery_tag", None, 1, [], {}, "", "x" * 9999),
    *each("body_encoding", None, "nonsense", 1, []),
    *each("priority", "x", -1, 10**30, []),
    *({"reply_to": []}, {"correlation_id": {}}),
)

CONTENT: tuple[dict[str, Any], ...] = (
    *each("content-type", None, 1, [], "application/x-python-serialize", "text/plain", "x"),
    *each("content-encoding", None, 1, [], "nonsense", "utf-16", "binary"),
    *each("body", None, 1, [], {}, "", "%%%", "bm9uc2Vuc2U=", "A", "é" * 100),
    *each("headers", None, [], "x", 1, {}),
    {
        "body": base64.b64encode(gzip.compress(b"\x00" * 5_000_000)).decode(),
        "headers": {"task": f"deliver_{KIND}", "id": "1", "compression": "gzip"},
    },
)

CONTROL: tuple[Any, ...] = (
    *({}, None, [], 1, "x", [1, 2]),
    *each("method", None, [], "nobody", "x" * 99_999, "pool_grow", "\x1b[2J"),
    *({"method": "ping", **change} for change in each("arguments", 1, "x", [], {"nobody": 1})),
    *({"method": "ping", **change} for change in each("destination", 1, {"a": 1}, [[]])),
    *({"method": "ping", **change} for change in each("reply_to", 1, "x", [], {}, {"exchange": []})),
    *({"method": "ping", "pattern": "(", **change} for change in each("matcher", "pcre", "nobody", 1)),
    *({"method": "add_consumer", "arguments": one} for one in each("queue", None, [], "unacked", "\x1b[2J")),
    {"method": "rate_limit", "arguments": {"task_name": "x", "rate_limit": "nonsense"}},
    {"method": "time_limit", "arguments": {"task_name": [], "hard": "x"}},
)


def message(body: Any = None, **changes: Any) -> dict[str, Any]:
    """Return an order as Celery publishes it, with this body, and these changes at the top of it."""
    made: dict[str, Any] = {
        "body": base64.b64encode(json.dumps(BODY if body is None else body).encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": f"deliver_{KIND}",
            "id": "f614c2b7-66de-4275-92db-10d9e5dfb1fa",
            "eta": None,
            "expires": None,
            "retries": 0,
            "timelimit": [None, None],
            "root_id": "f614c2b7-66de-4275-92db-10d9e5dfb1fa",
            "argsrepr": "()",
            "origin": "gen1@host",
        },
        "properties": {
            "correlation_id": "f614c2b7-66de-4275-92db-10d9e5dfb1fa",
            "reply_to": "78d6c980-fae2-3b4d-bb85-63864d41ad83",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": KIND},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": "8f6145ea-c7fb-49e2-9585-9a518b2e3443",
        },
    }
    return made | changes


def _encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def poisoned_orders() -> Iterator[bytes]:
    """Yield what must not be taken for an order: each is dropped as it comes, whatever came before it."""
    yield from NO_MESSAGES
    for body in BODIES:
        made = message()
        made["body"] = base64.b64encode(json.dumps(body).encode()).decode()
        yield _encoded(made)
    whole = message()
    # What an order does not need is left out, so that these are taken for what is left of them.
    for headers in HEADERS:
        yield _encoded({**whole, "headers": {**whole["headers"], **headers}})
    for properties in PROPERTIES:
        changed = {**whole["properties"], **properties} if isinstance(properties, dict) else properties
        yield _encoded({**whole, "properties": changed})
    for content in CONTENT:
        yield _encoded({**whole, **content})


def mutations(seed: int, count: int) -> Iterator[bytes]:
    """Yield an order with some of its bytes changed, cut out or put in, the same ones for a seed."""
    chance = random.Random(seed)
    whole = _encoded(message())
    for _ in range(count):
        changed = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(len(changed))
            length = chance.randint(0, 8)
            changed[place : place + length] = chance.randbytes(chance.randint(0, 8))
        yield bytes(changed)


def unacknowledged() -> Iterator[bytes]:
    """Yield what the hash of unacknowledged messages may be made to hold."""
    yield from NO_MESSAGES[:-1]
    whole = message()
    for stored in (
        *([], [1], [1, 2, 3], [None, None, None], [{}, "", ""], {"a": 1}, [whole, "", []], [whole, [], "x"]),
        *([{"headers": []}, "", KIND], [{"properties": []}, "siem", KIND], ["x", "", "unacked"]),
        *([{**whole, "properties": {"priority": []}}, "", KIND], [{**whole, "headers": None}, "", "unacked"]),
    ):
        yield _encoded(stored)


def broadcasts() -> Iterator[bytes]:
    """Yield what may be published to the workers' channel of remote control."""
    yield from NO_MESSAGES[:-1]
    for body in CONTROL:
        made = message(body if body is not None else "null")
        made["body"] = base64.b64encode(json.dumps(body).encode()).decode()
        made["headers"] = {"clock": 1, "expires": 0}
        made["properties"]["delivery_info"] = {"exchange": _EXCHANGE, "routing_key": ""}
        yield _encoded(made)
    for content in CONTENT:
        yield _encoded({**message({"method": "ping", "arguments": {}}), **content})
    for headers in each("clock", "x", [], 10**400, {}):
        yield _encoded({**message({"method": "ping", "arguments": {}}), "headers": headers})
