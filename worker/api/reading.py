"""Reads the body of a request: a JSON object of bounded size, told in words when it is none.

Comes in: a request. Goes out: the object and the bytes that it was read from.
"""

from typing import Annotated, Any, NamedTuple

import msgspec
from fastapi import Depends, Request

from worker.api.problems import Problem
from worker.model.errors import InvalidInput

#: The largest description of an integration, certificates included, in bytes.
MOST_BYTES = 1 << 20
#: How deep it may be nested.
MOST_LEVELS = 20
_TYPES = ("application/json", "application/merge-patch+json")


class JsonObject(NamedTuple):
    """A JSON object, and its bytes."""

    value: dict[str, Any]
    raw: bytes


async def limited_body(request: Request, most: int) -> bytes:
    """Return the body. Raises a Problem, 413, once it is longer than `most` bytes."""
    read = bytearray()
    async for piece in request.stream():
        read += piece
        if len(read) > most:
            raise Problem(413, f"the body is larger than {most} bytes", hint="send less at once")
    return bytes(read)


async def _read_object(request: Request) -> JsonObject:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _TYPES:
        raise Problem(
            415,
            "Content-Type: is not JSON",
            field="Content-Type",
            hint="send application/json",
        )
    raw = await limited_body(request, MOST_BYTES)
    return JsonObject(_parsed(raw), raw)


_TOO_DEEP = InvalidInput("body", "is nested too deeply", "send it flat")


def _is_deeper_than(levels: int, value: Any) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(levels == 0 or _is_deeper_than(levels - 1, part) for part in parts)


def _parsed(raw: bytes) -> dict[str, Any]:
    """Read JSON as the standard has it: no NaN, and no text that cannot be written down again."""
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Problem(400, "the body is not JSON", field="body", hint="send a JSON object in UTF-8") from None
    except RecursionError:
        raise _TOO_DEEP from None
    if _is_deeper_than(MOST_LEVELS, value):
        raise _TOO_DEEP
    if not isinstance(value, dict):
        raise InvalidInput("body", "is no JSON object", 'send one like {"type": "webhook", …}')
    return value


Body = Annotated[JsonObject, Depends(_read_object)]
