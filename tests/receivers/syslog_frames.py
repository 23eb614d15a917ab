"""The two framings of RFC 6587, read strictly: what no receiver should have to guess at is an error."""

import re
from collections.abc import Callable

#: Takes what is unread; returns the messages that are whole, and the rest.
Frames = Callable[[bytes], tuple[list[bytes], bytes]]

_LENGTH = re.compile(rb"([1-9][0-9]{0,6}) ")
_MESSAGE = re.compile(rb"<(0|[1-9][0-9]{0,2})>[^\x00-\x1f\x7f]+")


class NotSyslog(Exception):
    """What was sent is no syslog message, or no frame."""


def checked(message: bytes) -> bytes:
    """Return the message: a priority of RFC 5424 (at most 191), then text on one line, without controls."""
    found = _MESSAGE.fullmatch(message)
    if found is None or int(found[1]) > 191:
        raise NotSyslog(f"no syslog message: {message[:200]!r}")
    return message


def newline_frames(unread: bytes) -> tuple[list[bytes], bytes]:
    """Take the whole messages, each before its newline (RFC 6587, 3.4.2), and what is left."""
    *messages, rest = unread.split(b"\n")
    return [checked(message) for message in messages], rest


def octet_frames(unread: bytes) -> tuple[list[bytes], bytes]:
    """Take the whole messages, each behind its length in bytes (RFC 6587, 3.4.1), and what is left."""
    messages, at = [], 0
    while at < len(unread):
        found = _LENGTH.match(unread, at)
        if found is None:
            if re.fullmatch(rb"[1-9][0-9]{0,6}", unread[at:]):
                break
            raise NotSyslog(f"no length: {unread[at : at + 100]!r}")
        end = found.end() + int(found[1])
        if end > len(unread):
            break
        messages.append(checked(unread[found.end() : end]))
        at = end
    return messages, unread[at:]
