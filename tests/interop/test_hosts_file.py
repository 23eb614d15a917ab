"""The stand-in for a name server holds out against a worker's threads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.interop.hosts_file import HOST, HostsFile

pytestmark = pytest.mark.slow

#: Eight threads ask at once, whenever a line says that the name has moved; what they heard goes out.
_ASKS = f"""
import socket, sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

together = Barrier(8)

def ask(_):
    together.wait()
    return socket.getaddrinfo({HOST!r}, 80)[0][4][0]

with ThreadPoolExecutor(8) as pool:
    for _ in sys.stdin:
        print(*set(pool.map(ask, range(8))), flush=True)
"""


def test_threads_that_ask_at_once_all_hear_of_a_move(tmp_path: Path) -> None:
    """Each of them, and none hangs."""
    hosts = HostsFile(tmp_path, ["127.0.0.1"])
    ips = [f"127.0.0.{number % 200 + 2}" for number in range(300)]
    heard = []
    with subprocess.Popen(
        [sys.executable, "-c", _ASKS],
        env=os.environ | hosts.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            for ip in ips:
                hosts.lead_to([ip])
                process.stdin.write("moved\n")
                process.stdin.flush()
                heard.append(process.stdout.readline().strip())
        finally:
            process.kill()

    assert heard == ips
