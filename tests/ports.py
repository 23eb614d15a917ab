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
_FIRST, _LAST = 20_000, 32_000
#: tests/run shares the ports among that many processes.
_SHARES = 4
_SHARE = (_LAST - _FIRST) // _SHARES


def _mine() -> list[int]:
    """Return the ports of this process, from a random one on, because other runs may be under way."""
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _SHARES
    begin = random.randrange(_SHARE)
    return [_FIRST + number * _SHARE + (begin + step) % _SHARE for step in range(_SHARE)]


_ports = itertools.cycle(_mine())


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
