"""Destinations that hold up every sender: black holes, and some that answer after seconds.

`python -m tests.benchmarks.hostile FILE HOLES SLOW SECONDS` listens on that many ports of loopback, writes
them to the file, a line each, the holes first, and goes on until SIGTERM.
"""

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from tests.fleet import wait_until
from worker.demo.server import Request, Response, listen_http, run
from worker.demo.splunk import Reply

#: How late a black hole answers, in seconds: behind the end of every benchmark.
_NEVER = 86_400.0


@contextmanager
def hostile_destinations(
    directory: Path, *, holes: int, slow: int = 0, seconds: float = 1.0
) -> Iterator[tuple[list[int], list[int]]]:
    """Start them in a process of their own; give the ports of the holes and of the slow ones."""
    file = directory / "hostile.ports"
    command = [
        sys.executable,
        "-m",
        "tests.benchmarks.hostile",
        str(file),
        str(holes),
        str(slow),
        str(seconds),
    ]
    process = subprocess.Popen(command)
    try:
        wait_until(file.exists, "the destinations listen")
        ports = [int(port) for port in file.read_text().split()]
        yield ports[:holes], ports[holes:]
    finally:
        process.terminate()
        process.wait()


@asynccontextmanager
async def _listen(delays: Sequence[float]) -> AsyncIterator[Sequence[int]]:
    """Listen on a port for each delay. Raises OSError."""
    async with AsyncExitStack() as stack:
        yield [
            port
            for delay in delays
            for port in await stack.enter_async_context(listen_http(_accepts_after(delay), 0))
        ]


def _accepts_after(delay: float) -> Callable[[Request], Response]:
    """Accept every request, and take so many seconds to say so."""
    reply = Reply(0)
    response = Response(reply.status, reply.body, delay=delay)
    return lambda _request: response


if __name__ == "__main__":
    _delays = [_NEVER] * int(sys.argv[2]) + [float(sys.argv[4])] * int(sys.argv[3])
    run(_listen(_delays), 0, Path(sys.argv[1]))
