"""Lets one thread of a process look up at a time; Python imports this by its name, from PYTHONPATH.

nss_wrapper hangs for good when several threads ask it while its file has changed, which glibc does not.
"""
# ruff: noqa: INP001 - no package: the folder is to have nothing but this, for PYTHONPATH

import socket
import threading
from typing import Any

_ask, _lock = socket.getaddrinfo, threading.Lock()


def _ask_alone(*arguments: Any, **options: Any) -> Any:
    with _lock:
        return _ask(*arguments, **options)


socket.getaddrinfo = _ask_alone
