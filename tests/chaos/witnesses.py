"""Destinations that write down what they accepted: healthy ones, and some that no one would wish for.

They run in a process of their own, which chaos spares: `python -m tests.chaos.witnesses FOLDER SEED
NAME=KIND:MOOD …` listens on a port for each name, leaves the ports in `FOLDER/ports.json`, and appends a line
to `FOLDER/NAME.received` for each event that it accepts: the SHA-256 of its payload (of CEF, of the whole
message), and its id. WITNESS_ADDRESS in the environment is another address than that of loopback. Once
`FOLDER/healed` exists, all are healthy.
"""

import asyncio
import hashlib
import json
import os
import random
import re
import signal
import socket
import sys
import time
from collections.abc import Awaitable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import BinaryIO

import msgspec

from tests.chaos.going_away import going_away
from tests.chaos.hanging_up import start_hanging_up

_HEC_OK, _HEC_BUSY = b'{"text":"Success","code":0}', b'{"text":"Server is busy","code":9}'
_ENVELOPES = re.compile(rb'\}(?=\{"time":)')
_FLAP_SECONDS, _LATE_SECONDS, _FOR_EVER = 4.0, 1.5, 1e6
#: A slow reader takes so many bytes at a time, about 80 kB a second; its system buffers no more than that.
_SIP_BYTES, _SIP_SECONDS, _SMALL_BUFFER = 4_096, 0.05, 8_192
#: The identifier of an event in CEF, which sample events never have to be escaped in.
_CEF_ID = re.compile(rb" devicePayloadId=([^ ]+)")


class Witness:
    """One destination: its mood decides what becomes of a request, its book holds what it accepted."""

    def __init__(self, name: str, kind: str, mood: str, folder: Path, seed: int) -> None:
        """Open the book."""
        self.kind = kind
        self._mood = mood
        self._folder = folder
        self._dice = random.Random(f"{seed}{name}")
        self._book: BinaryIO = (folder / f"{name}.received").open("ab", buffering=0)

    @property
    def mood(self) -> str:
        """How it behaves now."""
        return "healthy" if (self._folder / "healed").exists() else self._mood

    def is_healed(self) -> bool:
        """Whether it has become a healthy one."""
        return self.mood == "healthy"

    def take_line(self, line: bytes) -> None:
        """Write down a message of CEF."""
        found = _CEF_ID.search(line)
        digest = hashlib.sha256(line.rstrip(b"\n")).hexdigest().encode()
        self._write([(digest, found[1] if found else b"?")])

    def close(self) -> None:
        """Close the book."""
        self._book.close()

    def take(self, body: bytes) -> None:
        """Write down the body of a webhook's request."""
        self._write([_digest(body)])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends."""
        try:
            if self.kind == "syslog_cef":
                await self._take_lines(reader)
            else:
                await self._take_requests(reader, writer)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _take_lines(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await self._sip(reader.readline()):
                self.take_line(line)
        except ConnectionError:
            # The system of a sender may reset what it has closed long ago. All that came is acknowledged, and
            # the reader, which tells the error first, would throw it away.
            held = bytes(reader._buffer)  # type: ignore[attr-defined]  # noqa: SLF001 - it has no other way
            for line in held.splitlines(keepends=True):
                if line.endswith(b"\n"):
                    self.take_line(line)

    async def _sip(self, taking: Awaitable[bytes]) -> bytes:
        """Take a message; a slow reader rests in proportion to its length."""
        taken = await taking
        if self.mood == "slow_reader":
            await asyncio.sleep(_SIP_SECONDS * len(taken) / _SIP_BYTES)
        return taken

    async def _take_body(self, reader: asyncio.StreamReader, length: int) -> bytes:
        parts = []
        while length:
            parts.append(await self._sip(reader.readexactly(min(length, _SIP_BYTES))))
            length -= len(parts[-1])
        return b"".join(parts)

    async def _take_requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            body = await self._take_body(reader, _length(head))
            status = await self._judge()
            if status == 200:
                self._write(_payloads(self.kind, body))
            elif not status:
                return
            answer = _HEC_OK if status == 200 else _HEC_BUSY
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(answer), answer))
            await writer.drain()

    async def _judge(self) -> int:
        """Return the status to answer with; 0 is to hang up without a word."""
        mood = self.mood
        if mood == "slow":
            await asyncio.sleep(_LATE_SECONDS)
        elif mood == "flapping":
            return 200 if int(time.time() / _FLAP_SECONDS) % 2 else 503
        elif mood == "flaky":
            return 503 if self._dice.random() < 0.05 else 200
        elif mood == "resets":
            return 0 if self._dice.random() < 0.5 else 200
        elif mood == "black_hole":
            await asyncio.sleep(_FOR_EVER)
            return 0
        return 200

    def _write(self, received: list[tuple[bytes, bytes]]) -> None:
        # One write to a file opened for appending: what was accepted is in the book before the answer is out.
        self._book.write(b"".join(b"%b %b\n" % line for line in received))


def _payloads(kind: str, body: bytes) -> list[tuple[bytes, bytes]]:
    if kind == "webhook":
        return [_digest(body)]
    envelopes = _ENVELOPES.split(body)
    whole = [envelope + b"}" for envelope in envelopes[:-1]] + envelopes[-1:]
    return [_digest(envelope[envelope.index(b'"event":') + 8 : -1]) for envelope in whole]


class _Identity(msgspec.Struct):
    id: str


_decoder = msgspec.json.Decoder(_Identity)


def _digest(payload: bytes) -> tuple[bytes, bytes]:
    return hashlib.sha256(payload).hexdigest().encode(), _decoder.decode(payload).id.encode()


def _length(head: bytes) -> int:
    found = re.search(rb"(?i)content-length: *(\d+)", head)
    return int(found[1]) if found else 0


def _going_away(witness: Witness, ca: Path) -> AbstractContextManager[int]:
    return going_away(witness.take, witness.is_healed, ca)


def _listener(receive_buffer: int | None) -> socket.socket:
    listener = socket.socket()
    if receive_buffer is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    listener.bind((os.environ.get("WITNESS_ADDRESS", "127.0.0.1"), 0))
    return listener


async def _main(folder: Path, seed: int, wanted: list[str]) -> None:
    with ExitStack() as threads:
        await _serve(folder, seed, wanted, threads)


async def _serve(folder: Path, seed: int, wanted: list[str], threads: ExitStack) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    ports, servers = {}, []
    for word in wanted:
        name, _, rest = word.partition("=")
        kind, _, mood = rest.partition(":")
        witness = Witness(name, kind, mood, folder, seed)
        if mood == "goes_away":
            ports[name] = threads.enter_context(_going_away(witness, folder / f"{name}.pem"))
            continue
        if mood == "hangs_up":
            ports[name] = start_hanging_up(witness.take_line, witness.is_healed)
            continue
        # What a system buffers, the sender takes for read: a slow reader must not hide behind it.
        limit = _SMALL_BUFFER if mood == "slow_reader" else 1 << 24
        listener = _listener(_SMALL_BUFFER if mood == "slow_reader" else None)
        server = await asyncio.start_server(witness.serve, sock=listener, limit=limit, backlog=500)
        ports[name] = server.sockets[0].getsockname()[1]
        servers.append(server)
    draft = folder / "ports.draft"
    draft.write_text(json.dumps(ports))
    draft.replace(folder / "ports.json")
    await stop.wait()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
