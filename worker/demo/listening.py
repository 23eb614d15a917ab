"""What the demo's receivers have in common: they listen on loopback, say where, and end on SIGTERM.

In go protocols and the port that is wanted; what goes out is a file with the ports that were had, a line
each, written when all of them listen.
"""

import asyncio
import errno
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import click

from worker.demo.server import HttpConnection, Request, Response

HOST = "127.0.0.1"

#: The connections of a listener that are open.
Connections = set[asyncio.Transport]


@asynccontextmanager
async def listening_server(
    protocol: Callable[[Connections], asyncio.BaseProtocol], port: int
) -> AsyncIterator[Sequence[int]]:
    """Listen on TCP, on any free port if that is 0; hang up in the end. Raises OSError.

    A protocol keeps itself in the set that it is given as long as it is open.
    """
    connections: Connections = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: protocol(connections), HOST, port)
    yield [server.sockets[0].getsockname()[1]]
    server.close()
    for connection in list(connections):
        connection.close()


def listen_http(
    answer: Callable[[Request], Response], port: int
) -> AbstractAsyncContextManager[Sequence[int]]:
    """Listen for HTTP; see `listen`. `answer` must not block."""
    return listening_server(lambda connections: HttpConnection(answer, connections), port)


def run(receiver: AbstractAsyncContextManager[Sequence[int]], port: int, port_file: Path) -> None:
    """Let a receiver listen, write its ports to the file, and end it on SIGTERM or SIGINT.

    Raises ClickException when `port` is taken or the file cannot be written.
    """
    try:
        port_file.unlink(missing_ok=True)  # an old port must not be taken for the new one
        asyncio.run(_run(receiver, port_file))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise click.ClickException(
                f"cannot listen on {HOST}:{port} or write {port_file}: {error}"
            ) from None
        hint = "choose another --port, or leave it out to get a free one"
        raise click.ClickException(f"--port: {port} is taken by another program; {hint}") from None


async def _run(receiver: AbstractAsyncContextManager[Sequence[int]], port_file: Path) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with receiver as ports:
        _write_at_once(port_file, "".join(f"{port}\n" for port in ports))
        await stop.wait()


def _write_at_once(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)
