"""What was sent and has not come to the other system: how much that is, and how it is kept from coming."""

import contextlib
import fcntl
import struct
import sys
import termios
from socket import SO_LINGER, SOL_SOCKET, socket


def unacknowledged(sock: socket | int) -> int:
    """Return how many bytes, an end of our side included, the other system has not acknowledged.

    That is what SIOCOUTQ counts on Linux; elsewhere nothing does, and none are assumed.
    """
    if sys.platform != "linux":
        return 0
    with contextlib.suppress(OSError):  # some other kind of socket, or some other kernel
        (count,) = struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))
        return int(count)
    return 0


def drop_unsent(descriptor: int) -> None:
    """Have what a peer has not taken dropped when the connection is closed."""
    with contextlib.suppress(OSError):
        borrowed = socket(fileno=descriptor)
        try:
            drop_unsent_of(borrowed)
        finally:
            borrowed.detach()


def drop_unsent_of(sock: socket) -> None:
    """Have what the peer of this socket has not taken dropped when it is closed."""
    if unacknowledged(sock):
        # To close without lingering drops what is queued, and resets the connection.
        sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
