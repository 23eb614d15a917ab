"""Sends datagrams one by one by send(2) of the system's library, without letting go of the interpreter.

Around each `socket.send` another thread of this process may take the interpreter, and it keeps it for
milliseconds while it formats a batch: of two threads that send, each would wait so for every datagram of the
other. A datagram on a socket that does not block takes a few microseconds, so others do not wait for long.

Not sendmmsg(2), which sends many by one call and is no cheaper for it: of an error amid these it says how
many went before, and forgets the error. A refusal would be lost, and what it is about count as sent.
"""

import ctypes
import os
import socket
from collections.abc import Callable
from typing import Any


def _found() -> Callable[..., int]:
    """Return send(2), called with the interpreter held. Raises OSError or AttributeError where it is not."""
    call: Any = ctypes.PyDLL(None, use_errno=True).send
    call.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)
    call.restype = ctypes.c_ssize_t
    found: Callable[..., int] = call
    return found


_SEND = _found()


def sending(sock: socket.socket) -> Callable[[bytes], object]:
    """Return what sends a datagram, or raises OSError: BlockingIOError where the system has no room.

    The socket must not block, and stay open as long as what is returned is called.
    """
    number = sock.fileno()

    def send(message: bytes) -> None:
        if _SEND(number, message, len(message), 0) < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))

    return send
