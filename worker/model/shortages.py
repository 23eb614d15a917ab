"""What a process or its machine can run short of, by the name that logs, health and metrics show."""

from enum import StrEnum
from typing import Self


class Resource(StrEnum):
    """A resource; `words` names it in a sentence, `hint` says which limit to raise."""

    words: str
    hint: str

    def __new__(cls, name: str, words: str, hint: str) -> Self:
        """Make a member of its name, its words and its hint."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.words, member.hint = words, hint
        return member

    OPEN_FILES = (
        "open_files",
        "open files (descriptors)",
        "raise the limit on open files of the workers (ulimit -n, LimitNOFILE=), or start fewer threads",
    )
    MACHINE_FILES = (
        "machine_files",
        "open files of the whole machine",
        "raise fs.file-max of this machine, or end what keeps so many files open",
    )
    THREADS = (
        "threads",
        "threads",
        "raise the limit on threads of the workers (ulimit -u, TasksMax=, the container's pids limit)",
    )
    MEMORY = "memory", "memory", "give this machine more memory, or start fewer workers"
    PORTS = (
        "ports",
        "local ports",
        "widen net.ipv4.ip_local_port_range: this machine has no free local port or address for it",
    )
    #: A library failed at something of its own, and named no reason.
    UNNAMED = "unnamed", "something that a library did not name", "look into the worker's log, which has more"
