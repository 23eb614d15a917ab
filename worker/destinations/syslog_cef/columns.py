"""One field of many events, as values of CEF: checked and escaped together.

What must not stand as it is, is looked for by scans that C makes. Of all values at once they cost a fraction
of what they cost one by one. Where such a scan finds something, the values of that field are written one by
one (`worker.destinations.syslog_cef.extension`), to the same bytes. Between the values stands NUL meanwhile,
which neither a printable text nor JSON holds.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from worker.destinations.syslog_cef.extension import (
    NUMBER,
    TooLong,
    delta,
    digits_of,
    escaped_bytes,
    is_compact,
    is_plain,
    json_object,
    plain_id,
    repairs,
    text,
)

_NUL = b"\0"
_PRINTABLE_ASCII = bytes(range(0x20, 0x7F))
_NUMBERS = NUMBER + _NUL
#: The longest JSON that may say nothing: `null`.
_SHORT = 4
_Value = TypeVar("_Value", str, msgspec.Raw)


class ColumnWriter:
    """Writes the fields of some events, a field of all of them at a time.

    `unusual` are the places of the events of which a value may not be whole; nothing stands for such a value.
    """

    def __init__(self) -> None:
        """Begin without any."""
        self.unusual: set[int] = set()

    def ids(self, ids: Sequence[str], most: int) -> list[bytes]:
        """Return the ids of events; an empty one is unusual."""
        column = _texts_together(ids, most) or self._one_by_one(plain_id, ids, most)
        if b"" in column:
            self.unusual.update(place for place, value in enumerate(column) if not value)
        return column

    def numbers(self, raws: Sequence[msgspec.Raw], most: int) -> list[bytes]:
        """Return the digits of numbers, as they were published; nothing for null, or where there is none."""
        joined = _NUL.join(raws).replace(b"null", b"")
        if max(map(len, raws)) <= most and not joined.translate(None, _NUMBERS):
            return joined.split(_NUL)
        return self._one_by_one(digits_of, raws, most)

    def texts(self, texts: Sequence[str | None], most: int) -> list[bytes]:
        """Return texts; nothing for a blank one, or where there is none."""
        values = [value or "" for value in texts]
        return _texts_together(values, most) or self._one_by_one(text, values, most)

    def objects(self, raws: Sequence[msgspec.Raw], most: int) -> list[bytes]:
        """Return objects as compact JSON; nothing for an empty one, for null, or where there is none."""
        if not any(raws):
            return [b""] * len(raws)
        usual = [raw for raw in raws if _SHORT < len(raw) <= most]
        joined = b",".join(usual)
        if not is_plain(joined) or not is_compact(joined):
            return self._one_by_one(json_object, raws, most)
        column = escaped_bytes(_NUL.join(usual)).split(_NUL)
        if len(usual) == len(raws):
            return column
        written = iter(column)
        return [
            (next(written) if _SHORT < len(raw) <= most else self._one(json_object, raw, most, place))
            if raw
            else b""
            for place, raw in enumerate(raws)
        ]

    def deltas(self, raws: Sequence[msgspec.Raw], most: int) -> list[bytes]:
        """Return what changed in the behaviours, numbers or texts."""
        return self._one_by_one(delta, raws, most)

    def repairs(self, raws: Sequence[msgspec.Raw], most: int) -> list[bytes]:
        """Return what was repaired in the events."""
        return self.texts(list(map(repairs, raws)), most) if any(raws) else [b""] * len(raws)

    def _one_by_one(
        self, write: Callable[[_Value, int], bytes], values: Sequence[_Value], most: int
    ) -> list[bytes]:
        column = [b""] * len(values)
        for place, value in enumerate(values):
            if value:
                column[place] = self._one(write, value, most, place)
        return column

    def _one(self, write: Callable[[_Value, int], bytes], value: _Value, most: int, place: int) -> bytes:
        try:
            return write(value, most)
        except TooLong:
            self.unusual.add(place)
            return b""


def _texts_together(values: Sequence[str], most: int) -> list[bytes]:
    """Return texts, or nothing at all where one of them has to be looked at by itself."""
    joined = "\0".join(values)
    if max(map(len, values)) > most or (" " in joined and list(map(str.strip, values)) != values):
        return []
    if not joined.isascii():
        data = joined.encode() if "".join(values).isprintable() else b""
    elif (data := joined.encode()).translate(None, _PRINTABLE_ASCII) != bytes(len(values) - 1):
        return []
    return escaped_bytes(data).split(_NUL) if data else []
