"""W3C Trace Context: the value of `traceparent`, which says what an event or a request was caused by.

    00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
    version, trace id, id of the span, flags (bit 0: sampled)

Every publisher may write it, so it is read as what it is: words of others. What is malformed counts as
not given (W3C Trace Context, section 3.2), and is never an error.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

#: The optional field of an entry of the ingress, beside `event`.
TRACEPARENT = b"traceparent"
#: Longer values are not looked at. Version 00 has 55 characters; a later one may have more behind them.
LONGEST = 256
_LENGTH = 55
#: Of a later version only what stands where version 00 has it, if a dash follows or nothing.
_WELL_FORMED = re.compile(rb"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[\x21-\x7e]*)?")
_SAMPLED = 1


class TraceContext(NamedTuple):
    """A span, by the ids of its trace (16 bytes) and its own (8 bytes), and whether it is recorded."""

    trace_id: bytes
    span_id: bytes
    sampled: bool = True

    def header(self) -> bytes:
        """Return it as the value of `traceparent`, version 00."""
        flags = b"01" if self.sampled else b"00"
        return b"-".join((b"00", self.trace_id.hex().encode(), self.span_id.hex().encode(), flags))


def parse_traceparent(value: bytes) -> TraceContext | None:
    """Read a value of `traceparent`; None if it is malformed."""
    if not _LENGTH <= len(value) <= LONGEST:
        return None
    found = _WELL_FORMED.fullmatch(value)
    if found is None or (found[1] == b"00" and found[5] is not None):
        return None
    trace_id, span_id = bytes.fromhex(found[2].decode()), bytes.fromhex(found[3].decode())
    if not any(trace_id) or not any(span_id):
        return None
    return TraceContext(trace_id, span_id, bool(int(found[4], 16) & _SAMPLED))


def of_one_trace(contexts: Sequence[TraceContext]) -> TraceContext | None:
    """Return the first of them if all belong to one trace, else None."""
    if contexts and all(one.trace_id == contexts[0].trace_id for one in contexts):
        return contexts[0]
    return None
