"""Pages of long lists: where one ends, as an opaque cursor that asks for the next one."""

import base64
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

import msgspec

from worker.model.errors import InvalidInput
from worker.model.untrusted_json import DAMAGED

Place = TypeVar("Place")
_Row = TypeVar("_Row")
#: A time in a cursor, in milliseconds since 1970 UTC.
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=1 << 52)]


def cut_page(
    found: Sequence[_Row], limit: int, place_of: Callable[[_Row], object]
) -> tuple[Sequence[_Row], str | None]:
    """Return the rows of a page, and the cursor of the next page; None when there is none.

    Of `limit` + 1 rows that were asked for, the last one only shows that there are more.
    """
    shown = found[:limit]
    return shown, encode_cursor(place_of(shown[-1])) if len(found) > limit else None


def encode_cursor(place: object) -> str:
    """Return the cursor of the page that begins behind this place: a tuple of text and numbers."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def decode_cursor(cursor: str, kind: type[Place]) -> Place:
    """Return the place in a cursor, such as `tuple[int, str]`. Raises InvalidInput naming `cursor`."""
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(text, type=kind)
    except DAMAGED:
        raise InvalidInput("cursor", "is none of ours", "give `next` of the page before") from None


def time_and_id(cursor: str | None) -> tuple[int, str] | None:
    """Return the time (ms since 1970 UTC) and the id of the last row before; None for the first page."""
    return None if cursor is None else decode_cursor(cursor, tuple[Milliseconds, str])
