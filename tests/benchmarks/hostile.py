"""Destinations that hold up whoever waits for them: black holes, and some that answer after seconds.

`python -m tests.benchmarks.hostile FILE HOLES SLOW SECONDS` listens on that many ports of loopback, writes
them to the file (a JSON object with `holes` and `slow`), and goes on until SIGTERM.
"""

import asyncio
import json
import signal
import sys
from contextlib import suppress
from pathlib import Path

_ACCEPTED = b'{"text":"Success","code":0}'
_REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(_ACCEPTED),
    _ACCEPTED,
)


async def _fall_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read what comes, and never say a word."""
    with suppress(asyncio.CancelledError):  # the end of all
        while await reader.read(1 << 16):
            pass
    writer.close()


async def _answer_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Accept every request, but take your time."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(_length(head))
            await asyncio.sleep(seconds)  # the load itself
            writer.write(_REPLY)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return int(value)
    return 0


async def _serve(path: Path, holes: int, slow: int, seconds: float) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    silent = [await asyncio.start_server(_fall_silent, "127.0.0.1", 0) for _ in range(holes)]
    late = [
        await asyncio.start_server(lambda r, w: _answer_late(r, w, seconds), "127.0.0.1", 0)
        for _ in range(slow)
    ]
    ports = {
        "holes": [server.sockets[0].getsockname()[1] for server in silent],
        "slow": [server.sockets[0].getsockname()[1] for server in late],
    }
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(ports))
    draft.replace(path)
    await stop.wait()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
