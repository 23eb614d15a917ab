"""Readers of syslog's headers, written from RFC 3164 and RFC 5424 alone, and of its frames."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from worker.demo.syslog_receiver import Bounds, NotSyslog, take_frames

_RFC3164 = re.compile(
    rb"<(?P<priority>[1-9]?[0-9]|1[0-9]{2})>"
    rb"(?P<time>(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) (?: [1-9]|[12][0-9]|3[01])"
    rb" [0-2][0-9]:[0-5][0-9]:[0-5][0-9]) (?P<host>[!-~]{1,255}) (?P<text>CEF:.*)",
    re.DOTALL,
)
_RFC5424 = re.compile(
    rb"<(?P<priority>[1-9]?[0-9]|1[0-9]{2})>1 "
    rb"(?P<time>[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]\.[0-9]{1,6}Z) "
    rb"(?P<host>[!-~]{1,255}) (?P<app>[!-~]{1,48}) - (?P<message_id>[!-~]{1,32}) - (?P<text>CEF:.*)",
    re.DOTALL,
)


@dataclass(frozen=True)
class SyslogMessage:
    """What a reader makes of a message; `text` is the CEF."""

    priority: int
    time: str
    host: str
    text: bytes
    app: str = ""
    message_id: str = ""


def parse_syslog(message: bytes, header: str) -> SyslogMessage:
    """Read one message with the header rfc3164 or rfc5424; raises ValueError."""
    found = (_RFC3164 if header == "rfc3164" else _RFC5424).fullmatch(message)
    if found is None:
        raise ValueError(f"no {header} header: {message[:300]!r}")
    words = {name: value.decode() for name, value in found.groupdict().items() if name != "text"}
    return SyslogMessage(int(words.pop("priority")), **words, text=found["text"])


def read_frames(stream: bytes, bounds: Bounds) -> list[bytes]:
    """Take a stream of whole frames apart; raises NotSyslog for anything else."""
    unread = bytearray(stream)
    messages = list(take_frames(unread, bounds))
    if unread:
        raise NotSyslog(f"the last frame does not end: {bytes(unread[:100])!r}")
    return messages


def ids(messages: Sequence[bytes]) -> list[str]:
    """Read the ids of events out of messages about them."""
    return [message.partition(b" externalId=")[2].split(b" ")[0].decode() for message in messages]
