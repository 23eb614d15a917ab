"""Redis started with the files of deploy/redis: what an operator has to replace in them is replaced, no more.

In comes a binary and a directory of the test; out comes a server, a client for each of its users, and what
its ACL has refused so far.
"""

import hashlib
import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from tests.embedded_servers import ServerDied
from tests.interop.programs import library_path, unpacked
from tests.ports import free_port

FILES = Path(__file__).parents[2] / "deploy" / "redis"
CONFIGURATION = FILES / "redis.conf"
SENTINEL = FILES / "sentinel.conf"
USERS = FILES / "users.acl"

_HASH = re.compile(r"#SHA256-OF-THE-PASSWORD-OF-([A-Z]+)")
_WORD = re.compile(r"\bPASSWORD-OF-([A-Z]+)\b")
_UNCOMMENTED = re.compile(r"^#(?=[a-z])", re.MULTILINE)
_START_SECONDS = 30.0


def password(user: str) -> str:
    """Return the password that the tests give this user."""
    return f"password-of-{user.lower()}"


def digest(text: str) -> str:
    """Return what stands in an ACL for this password."""
    return "#" + hashlib.sha256(text.encode()).hexdigest()


def filled(path: Path) -> str:
    """Return the text of a file, with passwords in place of their placeholders."""
    text = _HASH.sub(lambda found: digest(password(found[1])), path.read_text())
    return _WORD.sub(lambda found: password(found[1]), text)


def users() -> dict[str, list[str]]:
    """Return the rules of each user of users.acl, as an operator would fill them in."""
    lines = (line.split() for line in filled(USERS).splitlines())
    return {name: rules for _, name, *rules in lines}


def uncommented(text: str, section: str) -> str:
    """Return the text with the settings of a section uncommented: those behind # that begin with a letter."""
    begin, heading, rest = text.partition(f"# --- {section}")
    assert heading, f"there is no section {section}"
    body, mark, end = rest.partition("\n# ---")
    return begin + heading + _UNCOMMENTED.sub("", body) + mark + end


def debian_redis(directory: Path) -> Path:
    """Return a program that runs Debian's Redis, which has TLS; the test is skipped where it is not here."""
    program = directory / "redis-server"
    program.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={library_path()} exec {unpacked("redis-server")} "$@"\n')
    program.chmod(0o755)
    return program


class ProductionRedis:
    """A server with deploy/redis; it ends with the `with` block."""

    def __init__(
        self,
        binary: Path,
        directory: Path,
        *,
        sections: tuple[str, ...] = (),
        replaced: Mapping[str, str] | None = None,
        options: tuple[str, ...] = (),
        without: tuple[str, ...] = (),
    ) -> None:
        """Write its files, with these `sections` uncommented and these words `replaced`, and start it.

        What stands in `without` is left out of users.acl: a rule that this server does not know.
        """
        directory.mkdir(parents=True)
        self.directory = directory
        self.port = free_port()
        self.users = directory / "users.acl"
        acl = filled(USERS)
        for rule in without:
            acl = acl.replace(f" {rule}", "")
        self.users.write_text(acl)
        text = filled(CONFIGURATION)
        for section in sections:
            text = uncommented(text, section)
        places = {"/var/lib/redis": str(directory), "/etc/redis/users.acl": str(self.users)}
        for word, other in (places | dict(replaced or {})).items():
            assert word in text, f"redis.conf does not name {word}"
            text = text.replace(word, other)
        self._configuration = directory / "redis.conf"
        self._configuration.write_text(text)
        self._command = [str(binary), str(self._configuration), "--port", str(self.port), *options]
        self._process = self._start()

    def url(self, user: str) -> str:
        """Return the address for this user."""
        return f"redis://{user}:{password(user)}@127.0.0.1:{self.port}/0"

    def client(self, user: str) -> "redis.Redis":
        """Return a client of its own for the caller, who closes it."""
        return redis.Redis.from_url(self.url(user), decode_responses=True)

    def refused(self) -> set[tuple[str, str, str]]:
        """Return user, reason and object of all that the ACL has refused.

        Without `CLIENT` on a Redis before 7: redis-py tries CLIENT MAINT_NOTIFICATIONS, which such a server
        does not know, and notes as forbidden.
        """
        with self.client("admin") as admin:
            entries: list[dict[str, Any]] = admin.acl_log()
        found = {(one["username"], one["reason"], one["object"]) for one in entries}
        return {one for one in found if one[1:] != ("command", "client")} if self.is_old else found

    @property
    def is_old(self) -> bool:
        """Whether it is a Redis before 7."""
        with self.client("admin") as admin:
            version: str = admin.info("server")["redis_version"]
        return int(version.partition(".")[0]) < 7

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._process.wait()

    def restart(self, *options: str) -> None:
        """Start it again, on its files, with further options."""
        self.kill()
        self._process = self._start(*options)

    def _start(self, *options: str) -> "subprocess.Popen[bytes]":
        with (self.directory / "server.log").open("ab") as log:
            process = subprocess.Popen(
                [*self._command, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers(process.pid):
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                process.wait()
                raise ServerDied((self.directory / "server.log").read_text()[-2000:])
            time.sleep(0.01)  # polls another process, which cannot signal this one
        return process

    def _answers(self, pid: int) -> bool:
        with self.client("admin") as admin:
            try:
                return bool(admin.info("server")["process_id"] == pid)
            except redis.RedisError:
                return False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
