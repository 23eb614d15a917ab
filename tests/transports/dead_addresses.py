"""Addresses of loopback where nothing answers, as at a dead host: their queue of connections is full."""

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def full_queue(ip: str, port: int = 0) -> Iterator[int]:
    """Listen without accepting until the system drops further attempts to connect; give the port."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((ip, port), backlog=0))
        for _ in range(4):
            caller = stack.enter_context(socket.socket())
            caller.setblocking(False)  # noqa: FBT003 - the standard library's signature
            caller.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
