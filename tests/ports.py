"""Ports for servers of the tests: none is given twice, by whichever process of a run.

A fleet that several tests share goes on asking the address of a receiver that is gone; whoever listens
there next must not belong to another test.
"""

import itertools
import os
import random
import socket
from contextlib import suppress

#: Below the ports that systems hand out by themselves: there, a client of a killed server may meet itself.
_FIRST, _LAST = 10_000, 32_000


def own_ports() -> list[int]:
    """Return the ports of this process of the run, from a random one on: other runs may be under way."""
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    share = (_LAST - _FIRST) // max(4, processes)
    begin = random.randrange(share)
    return [_FIRST + number * share + (begin + step) % share for step in range(share)]


_ports = itertools.cycle(own_ports())


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free for TCP and UDP, and was not given for a long time."""
    return next(port for port in _ports if _is_free(port))


def _is_free(port: int) -> bool:
    with suppress(OSError), socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stream.bind(("127.0.0.1", port))
        stream.listen(1)
        datagrams.bind(("127.0.0.1", port))
        return True
    return False
