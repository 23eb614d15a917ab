"""Pages of a list. A cursor is opaque to whoever gets it: it says where the page before ended.

Comes in: `limit` and `cursor` of a request. Goes out: the place behind the cursor, and the next one's.
"""

import base64
from typing import Annotated, TypeVar

import msgspec
from fastapi import Query

from worker.model.errors import InvalidInput
from worker.model.limits import MOST_ROWS, USUAL_ROWS
from worker.model.untrusted_json import DAMAGED

USUAL, MOST = USUAL_ROWS, MOST_ROWS
_LONGEST = 1024

Limit = Annotated[int, Query(ge=1, le=MOST, description="How many items the page has at the most.")]
Cursor = Annotated[
    str | None,
    Query(max_length=_LONGEST, description="`next` of the page before; left out, the first page."),
]

Place = TypeVar("Place")
#: A time in a cursor, in milliseconds since 1970 UTC.
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=1 << 52)]


def cursor_after(place: object) -> str:
    """Return the cursor of the page that begins behind this place: a tuple of text and numbers."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def decode_cursor(cursor: str, kind: type[Place]) -> Place:
    """Return the place in a cursor, such as `tuple[int, str]`. Raises InvalidInput naming `cursor`."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(text, type=kind)
    except DAMAGED:
        raise InvalidInput("cursor", "is none of ours", "give `next` of the page before") from None
