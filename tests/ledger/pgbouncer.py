"""A real pgbouncer before the tests' PostgreSQL, in transaction mode, as `.ci/peers` unpacks it.

It listens on a Unix socket alone, lends a few server connections to many clients, and is gone at the end.
"""

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import make_url

from tests.interop.programs import Program, unpacked

#: pgbouncer refuses to run as root; every machine has a user of this number, which owns nothing.
_NOBODY = 65534
#: It names the socket; nothing listens on that port.
_PORT = 6432

_CONFIGURATION = """
[databases]
* = host={server} user={user}
[pgbouncer]
listen_port = {port}
unix_socket_dir = {folder}
auth_type = any
pool_mode = transaction
default_pool_size = {connections}
max_client_conn = 200
"""


@contextmanager
def pgbouncer(url: str, connections: int = 3) -> Iterator[str]:
    """Give the URL of the same database through a pool of so many server connections."""
    program = unpacked("pgbouncer")
    parsed = make_url(url)
    folder = Path(tempfile.mkdtemp(prefix="siem-pgbouncer-"))
    try:
        configuration = folder / "pgbouncer.ini"
        configuration.write_text(
            _CONFIGURATION.format(
                server=parsed.query["host"],
                user=parsed.username,
                port=_PORT,
                folder=folder,
                connections=connections,
            )
        )
        command: list[str | Path] = [program, configuration]
        if os.geteuid() == 0:
            os.chown(folder, _NOBODY, _NOBODY)
            command += ["--user", pwd.getpwuid(_NOBODY).pw_name]
        with Program(command, folder, unix=[folder / f".s.PGSQL.{_PORT}"]):
            yield f"postgresql+psycopg://siem@/{parsed.database}?host={folder}&port={_PORT}"
    finally:
        shutil.rmtree(folder)
