r"""JSON from untrusted writers: read by its bytes, repaired, and shown as text.

JSON leaves open what a repeated key means (RFC 8259, 4): of two readers one may go by the first `decision`
and the other by the last. So no field that this software knows may be repeated, however its name is escaped.

Repairs what JSON allows in an event and many of its readers do not take.

Two things are valid JSON (RFC 8259) and yet refused or altered by common readers; I-JSON (RFC 7493, 2.1 and
2.2) forbids the first and advises against the second:

- `\ud83d` without its other half, which JSON.stringify writes for text that was cut within an emoji. Go reads
  U+FFFD, JavaScript and Python keep half a character that no UTF-8 can hold, serde_json, RapidJSON and
  PostgreSQL refuse the whole document. It becomes `\ufffd`.
- a number that no double holds, such as `1e400`. JavaScript and Python read infinity, Go and serde_json
  refuse it. It becomes text, `"1e400"`, so that no digit is lost; where no number may stand, it is refused.

The event then names in `siem_repaired` what was done. All its other bytes stay as they were.

The bytes of an event as text to read and to correct.

The text says what the bytes say: every name, number and escape stands as it was published, also a name that
stands twice. A reader of JSON would keep the last of two names (RFC 8259, 4) and cut the digits of numbers.
What cannot be printed stands by its code of JSON, as `\u202e` does: nothing hides, and the text stays JSON.
"""

import json
import re
from collections.abc import Callable, Container, Iterator
from math import isfinite

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


#: The member that a repaired event has in front, and what may stand in its list.
REPAIRED = "siem_repaired"
SURROGATE, NUMBER = "unpaired_surrogate", "number_too_large"

# A string that never ends is one token as well: else each of its quotes would be tried as a beginning.
_STRING_OR_NUMBER = re.compile(rb'"(?:[^"\\]|\\.)*+"?|-?[0-9][0-9.eE+-]*+', re.DOTALL)
#: A pair of surrogates, half of one, or any other escape.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
#: A number is in a double's reach if it is no longer than this and has no exponent.
_SHORT = 300
_LONG = re.compile(rb"(?<![0-9])[0-9]{%d}" % _SHORT)
#: White space of JSON (RFC 8259, 2).
_BLANKS = b" \t\n\r"
_TEN, _STRIDE = b"0" * 10, _SHORT // 10
_DIGITS = bytes.maketrans(b"123456789", b"000000000")


def may_hold_long_integer(raw: bytes) -> bool:
    """Return whether so many digits stand in a row that no double may hold them as a number."""
    # Of so many digits in a row, ten are in every such sample of the bytes.
    return _TEN in raw[::_STRIDE].translate(_DIGITS) and _LONG.search(raw) is not None


def repaired(raw: bytes) -> bytes | None:
    """Return valid JSON in which nothing is left to repair, with the mark in front; None if nothing was."""
    changed, done = _replaced(raw, lambda number: b'"%b"' % number)
    return _marked(changed, done) if done else None


def levelled(raw: bytes) -> bytes:
    """Return the bytes with something harmless, of its kind and length, for each thing to repair.

    What else is wrong with them is wrong with these too, and at the same place.
    """
    return _replaced(raw, lambda number: b"0.".ljust(len(number), b"0"))[0]


def _replaced(raw: bytes, of_number: Callable[[bytes], bytes]) -> tuple[bytes, set[str]]:
    done: set[str] = set()

    def replace(found: re.Match[bytes]) -> bytes:
        token = found[0]
        if token.startswith(b'"'):
            new, kind = _without_halves(token), SURROGATE
        else:
            new, kind = of_number(token) if _is_too_large(token) else token, NUMBER
        if new != token:
            done.add(kind)
        return new

    return _STRING_OR_NUMBER.sub(replace, raw), done


def _without_halves(string: bytes) -> bytes:
    if b"\\u" not in string:
        return string
    return _ESCAPE.sub(lambda found: rb"\ufffd" if found[1] else found[0], string)


def _is_too_large(token: bytes) -> bool:
    if len(token) < _SHORT and b"e" not in token and b"E" not in token:
        return False
    try:
        return not isfinite(float(token))
    except ValueError:
        return False  # not a number: its decoder says so


def _marked(raw: bytes, done: set[str]) -> bytes:
    is_object = raw.lstrip(_BLANKS).startswith(b"{")
    if not is_object or any(name == REPAIRED for name, _ in read_members(raw)):
        return raw
    begin = raw.index(b"{") + 1
    mark = ",".join(f'"{kind}"' for kind in sorted(done))
    return b'%b"%b":[%b],%b' % (raw[:begin], REPAIRED.encode(), mark.encode(), raw[begin:])


#: Text that is longer than this, in bytes as it comes in or characters as it goes out, is not indented: the
#: indents of what is nested deeply would be many times as long, and too long for an event.
MOST_INDENTED = 64 << 10
_LINE_BREAK = re.compile(r"\r\n?")


def payload_text(payload: bytes) -> str:
    r"""Return the payload for people: JSON with indents, anything else as it is; all of it printable.

    What is no UTF-8 is shown as `\xff` is, which is no JSON either.
    """
    text = payload.decode(errors="backslashreplace")
    return "\n".join(map(_printable, (_indented(text) or _LINE_BREAK.sub("\n", text)).split("\n")))


def _indented(text: str) -> str | None:
    """Return JSON with indents, its tokens as they are; None if it is no JSON, or would be too long."""
    if len(text) > MOST_INDENTED:
        return None
    try:
        indented = msgspec.json.format(text, indent=2)
    except (msgspec.DecodeError, RecursionError):
        return None
    return indented if len(indented) <= MOST_INDENTED else None


def _printable(line: str) -> str:
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() or char == "\t" else json.dumps(char)[1:-1] for char in line)


#: Catch these wherever such bytes are decoded. The last one is for what is nested too deeply, which msgspec
#: reports even of a field that is skipped. How deep that is depends on how many calls are on the stack.
DAMAGED = (msgspec.MsgspecError, ValueError, RecursionError)
