"""A witness writes down all that its system has taken: what it loses itself would be blamed on the fleet."""

import asyncio
import fcntl
import socket
import struct
import termios
from pathlib import Path

from tests.chaos.witnesses import Witness
from tests.fleet import wait_until


def test_what_was_taken_before_a_reset_is_in_the_book(tmp_path: Path) -> None:
    """A slow reader has not read it all when the connection is reset: TCP has said that it has come."""
    lines = [b"<134>CEF:0 devicePayloadId=e%d " % number + 500 * b"x" for number in range(8)]
    witness = Witness("slow", "syslog_cef", "slow_reader", tmp_path, 1)
    asyncio.run(_send_and_reset(witness, lines))
    witness.close()

    book = (tmp_path / "slow.received").read_text().split()
    assert book[1::2] == [f"e{number}" for number in range(8)]


async def _send_and_reset(witness: Witness, lines: list[bytes]) -> None:
    served = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await witness.serve(reader, writer)
        served.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        await asyncio.to_thread(_reset_behind, server.sockets[0].getsockname()[1], lines)
        await served.wait()


def _reset_behind(port: int, lines: list[bytes]) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"\n".join(lines) + b"\n")
        wait_until(lambda: not _unacknowledged(connection), "the other system has it")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _unacknowledged(connection: socket.socket) -> int:
    return int(struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))[0])
