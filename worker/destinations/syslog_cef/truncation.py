"""A CEF message that is too long, or has a value that is: what it has no room for is cut or left out.

The message says so with `flexString1`, and a value that is cut ends in a mark.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from worker.destinations.syslog_cef.mapping import FIRST_TO_LEAVE, KEYS, LONGEST_NAME, TRUNCATED
from worker.destinations.syslog_cef.values import (
    cut_escaped,
    digest,
    extension_value,
    header_value,
    lines,
    one_line,
)
from worker.model.untrusted_text import MARK, shortened

#: What is left of the name and the action, in bytes, before more than they must yield.
_TELLING = 24


@dataclass(slots=True)
class _Draft:
    """A message to be: `kept` are the leads and escaped values of the extension by their keys.

    `start` is all that stands before the name and `tail` what ends the header.
    """

    start: str
    name: str
    tail: str
    kept: dict[str, tuple[str, str]]
    mark: str = TRUNCATED

    def encoded(self) -> bytes:
        """Write the message."""
        extension = "".join([part for pair in self.kept.values() for part in pair]) + self.mark
        # The first key follows the header at once.
        return f"{self.start}{self.name}{self.tail}{extension[1:]}".encode("utf-8", "replace")

    def put(self, key: str, value: str) -> None:
        """Put another value into a key that is there."""
        self.kept[key] = (self.kept[key][0], value)


def fitted(start: str, name: str, tail: str, values: Sequence[str | None], limit: int) -> bytes:
    """Return the message in at most `limit` bytes, 480 or more, with a mark if it is not whole.

    `start` is all that stands before the name and `tail` what ends the header, both escaped; the name and
    the values are not, and the values stand in the order of `KEYS`. Keys leave in the order of
    `FIRST_TO_LEAVE`. If that is not enough, name and action are cut; before little is left of them, the ids
    that remain become digests.
    """
    plain_name = one_line(name)
    draft = _Draft(start, header_value(shortened(plain_name, LONGEST_NAME)), tail, {})
    is_whole = len(plain_name) <= LONGEST_NAME
    for key, value in zip(KEYS, values, strict=True):
        plain = lines(value or "")
        if value and len(plain) > key.most:
            plain, is_whole = key.cut(value, key.most), False
        if plain:
            draft.kept[key.name] = (key.lead, extension_value(plain))
    if is_whole:
        draft.mark = ""
        if len(message := draft.encoded()) <= limit:
            return message
        draft.mark = TRUNCATED
    _leave(draft, len(draft.encoded()) - limit)
    if len(message := draft.encoded()) > limit:
        raws = {key.name: value or "" for key, value in zip(KEYS, values, strict=True)}
        _squeeze(draft, raws, limit)
        message = draft.encoded()
    return message


def _leave(draft: _Draft, excess: int) -> None:
    """Take keys out of the message until its excess, in bytes, is gone."""
    for key in FIRST_TO_LEAVE:
        if excess <= 0:
            break
        lead, value = draft.kept.pop(key, ("", ""))
        excess -= _size(lead) + _size(value)


def _squeeze(draft: _Draft, raws: dict[str, str], limit: int) -> None:
    """Cut the name and the action to a common length, once enough else has yielded to leave some of them.

    In 480 bytes each keeps one mark at the least, whatever the header.
    """
    for _ in _yielding(draft, raws):
        words = [draft.name, draft.kept.get("act", ("", ""))[1]]
        room = limit - len(draft.encoded()) + sum(map(_size, words))
        size = _common_size([_size(word) for word in words], room)
        if size >= min(_TELLING, max(map(_size, words))):
            break
    draft.name = cut_escaped(draft.name, size)
    if "act" in draft.kept:
        draft.put("act", cut_escaped(words[1], size))


def _yielding(draft: _Draft, raws: dict[str, str]) -> Iterator[None]:
    """Yield before, and after each step by which something gives way to the name and the action."""
    yield
    for key in ("suid", "devicePayloadId"):
        if key in draft.kept and _size(draft.kept[key][1]) > _size(short := digest(raws[key])):
            draft.put(key, short)
        yield
    draft.mark = ""
    if not draft.name.endswith(MARK):
        draft.name += MARK  # something must say that the message is not whole
    yield
    draft.kept.pop("suid", None)
    yield


def _common_size(sizes: Sequence[int], room: int) -> int:
    """Return the size to which the longest of these must be cut so that all fit into the room."""
    for shorter, size in enumerate(sorted(sizes)):
        share = room // (len(sizes) - shorter)
        if size > share:
            return share
        room -= size
    return max(sizes, default=0)


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
