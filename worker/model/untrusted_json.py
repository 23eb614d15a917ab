"""The members of an event's JSON as they stand in its bytes: repeated ones are told, broken JSON is read.

JSON leaves open what a repeated key means (RFC 8259, 4): of two readers one may go by the first `decision`
and the other by the last. So no field that this software knows may be repeated, however its name is escaped.
"""

import re
from collections.abc import Container, Iterator

import msgspec

Members = dict[str, msgspec.Raw]

# A string that never ends is one token as well: else each of its quotes would be tried as a beginning.
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}:,]', re.DOTALL)
_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
members_of = msgspec.json.Decoder(Members).decode
_text = msgspec.json.Decoder(str).decode


def may_repeat(raw: bytes, members: Members) -> bool:
    """Return whether a member stands in the object twice; now and then True for none.

    A member that is repeated gives the object more quotes than its members have.
    """
    return raw.count(b'"') != 2 * len(members) + b"".join(members.values()).count(b'"')


def repeated_name(raw: bytes, known: Container[str]) -> str | None:
    """Return the first of the known names that stands more than once in an object."""
    seen: set[str] = set()
    for name, _ in read_members(raw):
        if name in seen and name in known:
            return name
        seen.add(name)
    return None


def read_members(raw: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield each member of an object with the bytes of its value, as far as the object can be read.

    Repeated ones come repeatedly. Of JSON that is cut off, the member that the cut goes through is left out.
    """
    depth, name, begins = 0, b"", None
    for found in _TOKEN.finditer(raw):
        token = found[0]
        if token in b"[{":
            depth += 1
            if depth == 1 and token == b"[":
                return
        elif token in b"]},":
            if depth == 1 and begins is not None:
                yield _decoded(name), raw[begins : found.start()].strip()
                begins = None
            depth -= token != b","
            if depth == 0:
                return
        elif depth == 1 and token == b":":
            begins = found.end()
        elif depth == 1 and begins is None:
            name = token


def is_deeper(raw: bytes, levels: int) -> bool:
    """Return whether brackets are nested deeper than that, strings aside; anything if it is no JSON."""
    if raw.count(b"[") + raw.count(b"{") <= levels:
        return False
    depth = deepest = 0
    for token in _STRING_OR_BRACKET.findall(raw):
        if token in {b"[", b"{"}:
            depth += 1
            deepest = max(deepest, depth)
        elif token in {b"]", b"}"}:
            depth -= 1
    return deepest > levels


def _decoded(name: bytes) -> str:
    try:
        return _text(name)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return name.decode("utf-8", "replace").strip('"')  # no name of ours looks like this
