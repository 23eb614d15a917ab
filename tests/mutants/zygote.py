"""Runs pytest again and again in one copy of the checkout, each time in a fork of a process that is warm.

To start Python and load what the tests need takes several times as long as most tests of a mutant. Run as a
script, so that no module of the checkout is loaded before a fork. A line of JSON comes in for each run: what
pytest is given, the file for its output, and the seconds that it may take. Out goes a line with its exit
status, or `timeout`.
"""

import importlib
import json
import os
import signal
import sys
import time
from contextlib import suppress

#: What most tests load, and what takes longest to load.
_WARM = (
    *("pytest", "hypothesis", "hypothesis.strategies", "hypothesis.internal.conjecture.engine"),
    *("redis", "redis.client", "redis.sentinel", "msgspec", "pydantic", "pydantic_settings", "requests"),
    *("sqlalchemy", "sqlalchemy.dialects.sqlite", "sqlalchemy.dialects.postgresql.psycopg", "alembic"),
    *("cryptography.x509", "cryptography.fernet", "trustme", "pycurl", "psutil", "celery", "kombu", "click"),
)
_LOOK_AGAIN = 0.02


def main() -> None:
    """Serve until nothing more comes in."""
    # The folder of this script: its modules are those of the tests, by other names.
    sys.path.pop(0)
    for name in _WARM:
        with suppress(ImportError):
            importlib.import_module(name)
    for line in sys.stdin:
        given = json.loads(line)
        print(_run(given["arguments"], given["output"], given["seconds"]), flush=True)  # noqa: T201 - its answer


def _run(arguments: list[str], output: str, seconds: float) -> str:
    child = os.fork()
    if not child:
        _become_pytest(arguments, output)
    deadline = time.monotonic() + seconds
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "timeout"
        time.sleep(_LOOK_AGAIN)  # waits for a process, which cannot signal this one but by a signal
    return str(os.waitstatus_to_exitcode(ended[1]))


def _become_pytest(arguments: list[str], output: str) -> None:
    os.setpgid(0, 0)
    descriptor = os.open(output, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.path.insert(0, str(os.getcwd()))  # noqa: PTH109 - nothing more is loaded than must be
    status = 3
    try:
        import pytest  # noqa: PLC0415 - it is warm by now

        status = int(pytest.main(arguments))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
