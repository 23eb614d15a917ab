r"""Repairs what JSON allows in an event and many of its readers do not take.

Two things are valid JSON (RFC 8259) and yet refused or altered by common readers; I-JSON (RFC 7493, 2.1 and
2.2) forbids the first and advises against the second:

- `\ud83d` without its other half, which JSON.stringify writes for text that was cut within an emoji. Go reads
  U+FFFD, JavaScript and Python keep half a character that no UTF-8 can hold, serde_json, RapidJSON and
  PostgreSQL refuse the whole document. It becomes `\ufffd`.
- a number that no double holds, such as `1e400`. JavaScript and Python read infinity, Go and serde_json
  refuse it. It becomes text, `"1e400"`, so that no digit is lost; where no number may stand, it is refused.

The event then names in `siem_repaired` what was done. All its other bytes stay as they were.
"""

import re
from collections.abc import Callable
from math import isfinite

from worker.model.untrusted_json import read_members

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
    mended, done = _replaced(raw, lambda number: b'"%b"' % number)
    return _marked(mended, done) if done else None


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
        return False  # no number: whoever decodes it says so


def _marked(raw: bytes, done: set[str]) -> bytes:
    is_object = raw.lstrip(_BLANKS).startswith(b"{")
    if not is_object or any(name == REPAIRED for name, _ in read_members(raw)):
        return raw
    begin = raw.index(b"{") + 1
    mark = ",".join(f'"{kind}"' for kind in sorted(done))
    return b'%b"%b":[%b],%b' % (raw[:begin], REPAIRED.encode(), mark.encode(), raw[begin:])
