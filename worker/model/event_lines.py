"""Many events in one entry, one a line: the form in which any language may publish several at once."""

from worker.model.errors import InvalidEvent

#: Events of one entry, and bytes with all that stands between them.
MOST_LINES, MOST_LINES_BYTES = 1000, 1 << 20
_HINT = f"give one event a line, at most {MOST_LINES} in {MOST_LINES_BYTES >> 20} MiB"


def bounded_lines(text: bytes) -> list[bytes]:
    """Return the lines of one entry that are not blank, without the white space around them.

    Raises InvalidEvent for none, for too many, and for too large a text.
    """
    if len(text) > MOST_LINES_BYTES:
        raise InvalidEvent("events", f"is {len(text)} bytes long", _HINT)
    lines = [line for one in text.split(b"\n") if (line := one.strip())]
    if not lines:
        raise InvalidEvent("events", "holds no event", _HINT)
    if len(lines) > MOST_LINES:
        raise InvalidEvent("events", f"has {len(lines)} lines", _HINT)
    return lines
