"""Answers `GET /livez` and `GET /readyz` from a thread of its own, and tells the service manager the same.

The thread sleeps until someone asks. What it may spend on clients is bounded: a few connections, a short
head, two seconds each. Who holds one and asks nothing makes room for the next: else a few silent clients,
which need no right, would have every process of the fleet restarted.
"""

import asyncio
import json
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from worker.model.listening import listening_refused
from worker.model.log_events import PROBES_LISTENING
from worker.probes.process import ProcessProbe

log = logging.getLogger(__name__)

#: Connections at once, bytes of a request's head, and seconds for a request.
MOST, LONGEST_HEAD, PATIENCE = 64, 4096, 2.0
#: Connections that are taken at once; so few that each is read before those that come then take its place.
_TAKEN = 16
_PHRASES = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


def listen(host: str, port: int) -> socket.socket:
    """Listen there. Raises InvalidSetting when that cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_TAKEN)
    except OSError as error:
        hint = "give each process of a machine its own, or none"
        raise listening_refused("SIEM_PROBE", host, port, error, hint) from None


class ProbeServer:
    """The thread; one for each process."""

    def __init__(self, probe: ProcessProbe, listener: socket.socket | None) -> None:
        """Answer for this process, at a socket that listens already; without one, tell the manager alone."""
        self._probe = probe
        self._listener = listener
        #: The oldest first.
        self._open: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="probes", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._answer_until_stopped())

    async def _answer_until_stopped(self) -> None:
        if self._probe.manager.is_there:
            self._tell()
        if self._listener is None:
            await self._stopping.wait()
            return
        # Not in `async with`, which would wait for the connections that are open.
        server = await asyncio.start_server(
            self._serve, sock=self._listener, limit=LONGEST_HEAD, backlog=_TAKEN
        )
        await self._stopping.wait()
        server.close()
        tasks = list(filter(None, self._open))
        for writer in self._open.values():
            writer.transport.abort()
        await asyncio.gather(*tasks)

    def _tell(self) -> None:
        self._probe.manager.tell_state(self._probe.not_live(), self._probe.not_ready())
        self._loop.call_later(self._probe.manager.interval, self._tell)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request; drop a connection that takes too long, and the oldest of too many."""
        if len(self._open) >= MOST:
            self._open.pop(next(iter(self._open))).transport.abort()
        mine = asyncio.current_task()
        self._open[mine] = writer
        try:
            async with asyncio.timeout(PATIENCE):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._response(head))
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            writer.transport.abort()
        finally:
            self._open.pop(mine, None)

    def _response(self, head: bytes) -> bytes:
        method, path, *_ = [*head.split(b"\r\n", 1)[0].split(b" "), b"", b""]
        status, document = self._answer(method, path.partition(b"?")[0])
        body = json.dumps(document).encode() + b"\n"
        lines = (
            f"HTTP/1.1 {status} {_PHRASES[status]}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Cache-Control: no-store",
            *(["Allow: GET, HEAD"] if status == 405 else []),  # noqa: PLR2004 - the status of the table
            "Connection: close",
            "\r\n",
        )
        return "\r\n".join(lines).encode() + (b"" if method == b"HEAD" else body)

    def _answer(self, method: bytes, path: bytes) -> tuple[int, dict[str, object]]:
        looks = {b"/livez": ("live", self._probe.not_live), b"/readyz": ("ready", self._probe.not_ready)}
        if path not in looks:
            return 404, {"reason": "there are /livez and /readyz"}
        if method not in {b"GET", b"HEAD"}:
            return 405, {"reason": "use GET"}
        word, look = looks[path]
        reason = look()
        return (503 if reason else 200), {word: reason is None, **({"reason": reason} if reason else {})}


def start_probes(probe: ProcessProbe, host: str, port: int) -> ProbeServer | None:
    """Start what was asked for: answers at a port (0 is none), messages to the service manager, or neither.

    Raises InvalidSetting if the port cannot be had.
    """
    listener = listen(host, port) if port else None
    if listener is None and not probe.manager.is_there:
        return None
    if listener is not None:
        PROBES_LISTENING.log(log, host=host, port=port)
    server = ProbeServer(probe, listener)
    probe.started()
    server.start()
    return server


@contextmanager
def probes(probe: ProcessProbe, host: str, port: int) -> Iterator[ProcessProbe]:
    """Do as `start_probes`, until the end of a `with`."""
    server = start_probes(probe, host, port)
    try:
        yield probe
    finally:
        probe.ends()
        if server is not None:
            server.stop()
