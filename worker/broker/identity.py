"""A name for each process of the fleet that no other process has, on whatever host, in whatever container.

Host name and process id alone are not enough: containers share them. The name stands in heartbeats, and names
the consumers of streams.
"""

import hashlib
import os
import platform
import re
import uuid
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from worker.integrations import destination_types


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process, as `<host>:<pid>:<place>-<nonce>`.

    `place` is the same for all processes that see each other's ids: those of one boot of one machine, in one
    PID namespace. `nonce` is random. Releases before this one wrote `<host>:<pid>`: both are then empty.
    """

    host: str
    pid: int
    place: str = ""
    nonce: str = ""

    def __str__(self) -> str:
        """Return the whole name."""
        return f"{self.host}:{self.pid}" + (f":{self.place}-{self.nonce}" if self.nonce else "")

    @property
    def is_in_sight(self) -> bool:
        """Whether its process id means the same to this process; unknown, so no, of an earlier release."""
        return self.place == _place()

    @classmethod
    def read(cls, text: str) -> "ProcessIdentity | None":
        """Read the name of a process of this release or an earlier one; None if it is none."""
        if found := _NAME.fullmatch(text):
            host, pid, place, nonce = found.groups(default="")
            return cls(host, int(pid), place, nonce)
        return None


_NAME = re.compile(r"(.*):(\d{1,18})(?::([0-9a-f]+)-([0-9a-f]+))?", re.DOTALL)


def process_identity() -> ProcessIdentity:
    """Return the identity of this process: always the same one, and another one after a fork."""
    return _identity_of(os.getpid())


@cache
def _identity_of(pid: int) -> ProcessIdentity:
    # A host name may be anything; a colon or a space would make the name ambiguous.
    host = re.sub(r"[:\s]", "-", platform.node()) or "localhost"
    return ProcessIdentity(host, pid, _place(), uuid.uuid4().hex[:8])


@cache
def _place() -> str:
    """Return a digest of the machine's boot and the PID namespace; without Linux, of the machine."""
    known = str(uuid.getnode())
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        known = f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    return hashlib.sha256(known.encode()).hexdigest()[:6]


_ALL = "all"


def node_name(queues: Collection[str], host: str, nonce: str) -> str:
    """Return `<types>-<nonce>@<host>`, such as `webhook-3f9c2a1b@node-7`.

    `queues` are those that the worker was started for; none means all. `nonce` distinguishes it from
    workers for the same types on this host, and on others of the same host name, such as containers:
    Celery takes all workers of one name for a single one.
    """
    kinds = [kind for kind in destination_types() if kind in queues]
    is_for_all = not queues or len(kinds) == len(destination_types())
    return f"{_ALL if is_for_all else '-'.join(kinds)}-{nonce}@{host}"
