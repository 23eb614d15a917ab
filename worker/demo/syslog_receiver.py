r"""A SIEM to try things with: a syslog receiver on loopback that counts the CEF messages that it is sent.

`python -m worker.demo.syslog_receiver --port-file F` takes messages over TCP, or with `--udp` as datagrams,
until SIGTERM. F gets two lines: its port, and the port where `GET /counts` shows over HTTP what came. It
answers nothing, as syslog has it.

How it reads frames and CEF is written from RFC 6587 and the ArcSight CEF standard, and shares no code with
what writes them: a pipe is escaped in the header alone, an equals sign in values alone, and what is neither
(`\n` and `\r` in values aside) is a mistake. The receivers of the tests read frames with it, too.
"""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path

import click

from worker.demo.counting import asks_for_counts, counts_response, event_counts, receiver_options
from worker.demo.server import (
    HOST,
    RECEIVE_BUFFER,
    Connection,
    Connections,
    Request,
    Response,
    listen_http,
    listening_server,
    run,
)

#: A priority of at most 191 (RFC 5424, 6.2.1) and whatever header follows it, up to the CEF.
_BEFORE_CEF = re.compile(r"<(?:1[0-8][0-9]|19[01]|[1-9]?[0-9])>[ -~]*?(?=CEF:[01]\|)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
#: What stands for a character that was escaped until the text is taken apart: no message holds a control.
_BACKSLASH, _PIPE, _EQUALS = "\x00", "\x01", "\x02"
#: The keys that name the event; the first has room for the longest id.
_ID_KEYS = ("devicePayloadId", "externalId")
_FIELDS = 7


def cef_event_id(message: bytes) -> str | None:
    """Return the id of the event that a message is about; None when the message breaks a rule."""
    try:
        text = message.decode()
    except UnicodeDecodeError:
        return None
    before = _BEFORE_CEF.match(text)
    if before is None or _CONTROL.search(text):
        return None
    pairs = _read_cef(text[before.end() :])
    return next((_unescaped(pairs[key]) for key in _ID_KEYS if pairs.get(key)), None)


def _read_cef(text: str) -> dict[str, str]:
    """Return the pairs of the extension, their values still masked; none when a rule is broken."""
    masked = text.replace("\\\\", _BACKSLASH).replace("\\|", _PIPE)
    *header, extension = masked.split("|", _FIELDS)
    if len(header) != _FIELDS or "\\" in "".join(header) or _PIPE in extension:
        return {}
    return _read_extension(extension.replace("\\=", _EQUALS))


def _read_extension(masked: str) -> dict[str, str]:
    """Read the pairs: an unescaped equals sign ends a key, which begins behind the blank before it."""
    first, *rest = masked.split("=")
    parts = [part.rpartition(" ") for part in rest[:-1]]
    keys = [first, *(key for _, _, key in parts)]
    values = [*(value for value, _, _ in parts), *rest[-1:]]
    is_sound = len(set(keys)) == len(keys) and all(map(str.isidentifier, keys))
    if not is_sound or "\\" in masked.replace("\\n", "").replace("\\r", ""):
        return {}
    return dict(zip(keys, values, strict=False))


def _unescaped(value: str) -> str:
    plain = value.replace("\\n", "\n").replace("\\r", "\r")
    return plain.replace(_EQUALS, "=").replace(_BACKSLASH, "\\")


#: The longest frame that is taken, in bytes: rsyslog's own limit (imtcp, MaxFrameSize).
LONGEST_FRAME = 200_000
#: How much the system is asked to keep of what has not been read, in bytes; it may allow less.
_RECEIVE_BUFFER = 8 * 1024 * 1024
#: So many datagrams are read before others have their turn.
_AT_ONCE = 256
#: Finds a frame in what was read: where its message begins and ends, and where the next frame begins. That is
#: beyond what was read as long as the frame is not whole.
Bounds = Callable[[bytearray, int], tuple[int, int, int]]
_NEWLINE, _SPACE = b"\n", b" "
_ZERO, _ONE, _NINE = b"019"


@click.command()
@receiver_options
@click.option("--udp", is_flag=True, help="Take datagrams instead of connections.")
def main(*, port_file: Path, port: int, udp: bool, count_only: bool) -> None:
    """Receive CEF over syslog on loopback, count it, and forget it."""
    run(serve_syslog(MessageCounter(count_only=count_only), port, udp=udp), port, port_file)


@asynccontextmanager
async def serve_syslog(counter: "MessageCounter", port: int, *, udp: bool) -> AsyncIterator[Sequence[int]]:
    """Take messages, and show their counts over HTTP; yields the ports of both. Raises OSError."""
    door: AbstractAsyncContextManager[Sequence[int]] = (
        _take_datagrams(counter, port)
        if udp
        else listening_server(lambda connections: FrameConnection(counter, connections), port)
    )
    async with door as taking, listen_http(counter.answer, 0) as telling:
        yield [*taking, *telling]


class MessageCounter:
    """Counts messages, and the events that they are about."""

    def __init__(self, *, count_only: bool = False) -> None:
        """Begin with nothing counted."""
        self._count_only = count_only
        self._seen: set[str] = set()
        self._messages = self._bytes = self._malformed = 0

    def take(self, message: bytes) -> None:
        """Count a message."""
        self._messages += 1
        self._bytes += len(message)
        if self._count_only:
            return
        event = cef_event_id(message)
        if event is None:
            self._malformed += 1
        else:
            self._seen.add(event)

    def take_malformed(self, size: int) -> None:
        """Count what is no frame, or only the beginning of one, as a message that cannot be read."""
        self._messages += 1
        self._malformed += 1
        self._bytes += size

    def counts(self) -> dict[str, int | None]:
        """Report what came: `bytes` without frames, `events` the messages that can be read."""
        return {
            "messages": self._messages,
            **event_counts(self._messages - self._malformed, None if self._count_only else self._seen),
            "malformed": self._malformed,
            "bytes": self._bytes,
        }

    def answer(self, request: Request) -> Response:
        """Answer the question for the counts."""
        if asks_for_counts(request):
            return counts_response(self.counts())
        return Response(404, b'{"error":"GET /counts is all that is answered here"}')


class NotSyslog(Exception):
    """What was sent is no frame; where the next one begins cannot be known."""


class FrameConnection(Connection):
    """Counts every message that is complete; hangs up on what is no frame."""

    def __init__(self, counter: MessageCounter, connections: Connections) -> None:
        """Take where messages are counted."""
        super().__init__(connections)
        self._counter = counter

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; a frame that has not ended never will."""
        super().connection_lost(exc)
        self._give_up()

    def _serve(self) -> None:
        try:
            for message in take_frames(self._unread):
                self._counter.take(message)
        except NotSyslog:
            self._give_up()
            self._transport.close()

    def _give_up(self) -> None:
        if self._unread:
            self._counter.take_malformed(len(self._unread))
            self._unread.clear()


def take_frames(unread: bytearray, bounds: Bounds | None = None) -> Iterator[bytes]:
    """Cut whole frames off what was read, and yield their messages; what is left is the start of a frame.

    The frames are of one kind (`counted_frame`, `newline_frame`) or, without `bounds`, of either: the first
    byte decides. Raises NotSyslog.
    """
    at = 0
    bounds = bounds or _either_frame
    try:
        while at < len(unread):
            start, end, following = bounds(unread, at)
            if following > len(unread):
                break
            yield bytes(unread[start:end])
            at = following
    finally:
        del unread[:at]


def _either_frame(unread: bytearray, at: int) -> tuple[int, int, int]:
    return (counted_frame if _ZERO <= unread[at] <= _NINE else newline_frame)(unread, at)


def newline_frame(unread: bytearray, at: int) -> tuple[int, int, int]:
    """Find the bounds of a frame that ends with a newline (RFC 6587, 3.4.2). Raises NotSyslog."""
    end = unread.find(_NEWLINE, at, at + LONGEST_FRAME + 1)
    if end < 0:
        if len(unread) - at > LONGEST_FRAME:
            raise NotSyslog(f"no newline: {bytes(unread[at : at + 100])!r}")
        end = len(unread)
    return at, end, end + 1


def counted_frame(unread: bytearray, at: int) -> tuple[int, int, int]:
    """Find the bounds of a frame that begins with MSG-LEN and a space (RFC 6587, 3.4.1). Raises NotSyslog."""
    longest = len(str(LONGEST_FRAME))
    space = unread.find(_SPACE, at, at + longest + 1)
    number = unread[at : space if space >= 0 else at + longest + 1]
    if not number.isdigit() or number[0] < _ONE or int(number) > LONGEST_FRAME:
        raise NotSyslog(f"no length: {bytes(unread[at : at + 100])!r}")
    start = at + len(number) + 1
    end = start + int(number) if space >= 0 else len(unread) + 1
    return start, end, end


@asynccontextmanager
async def _take_datagrams(counter: MessageCounter, port: int) -> AsyncIterator[Sequence[int]]:
    """Take a message from each datagram (RFC 5426, 3.1). Raises OSError."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        door.settimeout(0)
        door.bind((HOST, port))

        def drain() -> None:
            with suppress(BlockingIOError):
                for _ in range(_AT_ONCE):
                    counter.take(bytes(RECEIVE_BUFFER[: door.recv_into(RECEIVE_BUFFER)]))

        loop.add_reader(door, drain)
        yield [door.getsockname()[1]]
        loop.remove_reader(door)


if __name__ == "__main__":
    main()
