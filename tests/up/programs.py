"""Small programs for Procfiles under test, and ways to wait for what they do.

A program is Python source; it becomes a Procfile command. What it wants to tell a test, it writes to files.
"""

import fcntl
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE = 90.0

#: Ends by itself, and not well.
ENDS_WITH_3 = "import sys; print('about to end', flush=True); sys.exit(3)"

#: Runs until it is asked to end.
SLEEPER = "import time\nwhile True: time.sleep(60)"

#: Says good-bye to Redis when it is asked to end, which takes a server that is still there.
POLITE = """\
import os, redis, signal, sys, time
client = redis.Redis.from_url(os.environ["SIEM_REDIS_URL"])
def good_bye(*_):
    client.set("good-bye", "said")
    sys.exit(0)
signal.signal(signal.SIGTERM, good_bye)
print("polite program is ready", flush=True)
while True: time.sleep(60)
"""

#: Does not end when it is asked to.
STUBBORN = """\
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("stubborn program is ready", flush=True)
while True: time.sleep(60)
"""


def command(program: str, *arguments: str | Path) -> str:
    """Make the Procfile command that runs a program."""
    source = f"exec({program!r})"
    return shlex.join([sys.executable, "-c", source, *map(str, arguments)])


def procfile(**programs: str) -> str:
    """Make a Procfile of programs by name."""
    return "".join(f"{name}: {command(program)}\n" for name, program in programs.items())


def holding(lock: Path) -> str:
    """Make a program that holds a lock for as long as it lives."""
    return f"""\
import fcntl, time
file = open({str(lock)!r}, "w")
fcntl.flock(file, fcntl.LOCK_EX)
file.write("held"); file.flush()
while True: time.sleep(60)
"""


def is_free(lock: Path) -> bool:
    """Whether no one holds the lock: unlike a process id, this never mistakes a stranger, or a zombie."""
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait until the condition holds; fails with `what` when patience is at its end."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.02)


def text_of(path: Path) -> str:
    """Read what a program has written so far; nothing if it has not."""
    return path.read_text() if path.exists() else ""
