"""A CEF message that is too long, made to fit: optional keys leave, then what must stay is shortened."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from worker.formats.cef_escaping import extension_value, shortened
from worker.formats.cef_keys import FIRST_TO_LEAVE, KEYS, TRUNCATED

#: These are short by nature, and of no use in part.
_NEVER_CUT = frozenset({"rt", "outcome"})
#: A SIEM deduplicates on these: they are the last to be cut.
_IDS = frozenset({"externalId", "devicePayloadId"})
#: What is kept of each other value, in bytes, before an id is cut.
_WORD = 6
#: Rather than cut an id, or any other value, to fewer bytes than these, the marker is left out.
_TELLING_ID, _TELLING_WORD = 40, 24


class _Piece(NamedTuple):
    """A value that may be cut, behind the text before it, which may not."""

    fixed: str
    key: str
    value: str


def fitted(start: str, name: str, tail: str, values: Sequence[str | None], limit: int) -> bytes:
    """Return the message in at most `limit` bytes, with a mark that it is not whole.

    `start` is all that stands before the name and `tail` what ends the header, all three escaped; `values`
    are not, and stand in the order of `KEYS`. Keys leave in the order of `FIRST_TO_LEAVE`. If that is not
    enough, the longest of what stays are cut to a common length, the ids last.
    """
    kept = {
        key.name: (key.lead, escaped)
        for key, value in zip(KEYS, values, strict=True)
        if value and (escaped := extension_value(value, key.most))
    }
    excess = sum(map(_size, (start, name, tail, TRUNCATED))) - 1 - limit
    excess += sum(_size(lead) + _size(value) for lead, value in kept.values())
    for key_name in FIRST_TO_LEAVE:
        if excess <= 0:
            break
        lead, value = kept.pop(key_name, ("", ""))
        excess -= _size(lead) + _size(value)
    pieces = [_Piece(start, "name", name), *_pieces(tail, kept)]
    if excess > 0:
        return _cut(pieces, limit)
    return _encoded("".join([piece.fixed + piece.value for piece in pieces]) + TRUNCATED)


def _pieces(tail: str, kept: dict[str, tuple[str, str]]) -> Iterator[_Piece]:
    """Part the rest of the message into what may be cut and what may not."""
    fixed, blank = tail, 1  # the first key follows the header at once
    for key, (lead, value) in kept.items():
        fixed, blank = fixed + lead[blank:], 0
        if key in _NEVER_CUT:
            fixed += value
        else:
            yield _Piece(fixed, key, value)
            fixed = ""
    yield _Piece(fixed, "", "")


def _cut(pieces: Sequence[_Piece], limit: int) -> bytes:
    """Shorten the values: 480 bytes leave each one character at the least, whatever the header."""
    room = limit - sum(_size(piece.fixed) for piece in pieces)
    ids = [_size(value) for _, key, value in pieces if key in _IDS]
    words = [_size(value) for _, key, value in pieces if key not in _IDS]
    marker = TRUNCATED
    id_size, word_size = _common_sizes(ids, words, room - len(marker))
    if id_size < min(max(ids, default=0), _TELLING_ID) or word_size < min(max(words), _TELLING_WORD):
        marker = ""
        id_size, word_size = _common_sizes(ids, words, room)
    cut = [
        _encoded(fixed) + shortened(value, id_size if key in _IDS else word_size)
        for fixed, key, value in pieces
    ]
    return b"".join(cut) + marker.encode()


def _common_sizes(ids: Sequence[int], words: Sequence[int], room: int) -> tuple[int, int]:
    """Return the sizes to which values of these sizes are cut to fill the room: ids, and all others."""
    id_size = _common_size(ids, room - sum(min(size, _WORD) for size in words))
    return id_size, _common_size(words, room - sum(min(size, id_size) for size in ids))


def _common_size(sizes: Sequence[int], room: int) -> int:
    """Return the size to which the longest of these must be cut so that all fit into the room."""
    for shorter, size in enumerate(sorted(sizes)):
        share = room // (len(sizes) - shorter)
        if size > share:
            return share
        room -= size
    return max(sizes, default=0)


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(_encoded(text))


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")
