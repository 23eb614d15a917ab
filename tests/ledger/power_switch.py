"""Stops and starts the PostgreSQL of a test, as an administrator does; its data and its address stay."""

import os
import shlex
import subprocess
from pathlib import Path

from sqlalchemy import make_url


class PowerSwitch:
    """Turns a server of `tests.ledger.postgres` off and on."""

    def __init__(self, url: str) -> None:
        """Take the URL of one of its databases; it names the folder of the socket, where the data lie too."""
        self._data = Path(str(make_url(url).query["host"])) / "data"
        program = shlex.split((self._data / "postmaster.opts").read_text())[0]
        self._control = Path(program).with_name("pg_ctl")
        self._owner = self._data.stat()

    def off(self) -> None:
        """Stop it: every connection is cut, and none can be made."""
        self._run("stop", "-m", "fast")

    def on(self) -> None:
        """Start it; does nothing when it runs."""
        # Unlike `start`, `restart` remembers the options of the last start.
        if not (self._data / "postmaster.pid").exists():
            self._run("restart")

    def _run(self, *words: str) -> None:
        """Run as the owner of the data: PostgreSQL does not let root do this."""
        as_another = self._owner.st_uid != os.geteuid()
        subprocess.run(
            [self._control, "-D", self._data, "-w", "-l", self._data.parent / "log", *words],
            check=True,
            user=self._owner.st_uid if as_another else None,
            group=self._owner.st_gid if as_another else None,
            extra_groups=[] if as_another else None,
            # Not pipes: the server would keep them open for ever.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
        )
