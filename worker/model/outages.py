"""Why something that we depend on does not answer, and what a process is short of: causes in words. Pure.

The words take a name: "the database", with its address where an operator reads them (logs, command line),
without where a caller of the API or a visitor of the pages does.
"""

from enum import StrEnum
from typing import Self


class OutageCause(StrEnum):
    """What is the matter. `words` has a place for the name of what is meant.

    `is_public`: callers of the API may know it. The others say how this installation is set up.
    """

    words: str
    is_public: bool

    def __new__(cls, code: str, words: str, is_public: bool) -> Self:  # noqa: FBT001 - rows of a table
        """Take a row of the table."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.words = words
        member.is_public = is_public
        return member

    UNREACHABLE = "unreachable", "{} does not answer", True
    STARTING = "starting", "{} is starting, recovering or shutting down", True
    DISK_FULL = "disk_full", "the disk of {} is full", True
    DISK_FAILS = "disk_fails", "{} cannot write to its disk", True
    MEMORY_FULL = "memory_full", "{} is full and takes nothing new", True
    READ_ONLY = "read_only", "{} is read-only", True
    TOO_MANY_CONNECTIONS = "too_many_connections", "{} takes no more connections", True
    LOCKED = "locked", "{} is locked", True
    OUTDATED = "outdated", "{} has the tables of another release", True
    DAMAGED = "damaged", "{} is damaged", False
    LOGIN_REFUSED = "login_refused", "{} refuses the login", False
    PERMISSION_DENIED = "permission_denied", "{} denies permission", False
    UNKNOWN_DATABASE = "unknown_database", "{} does not exist", False
    TLS = "tls", "TLS to {} fails", False
    TOO_FEW_REPLICAS = "too_few_replicas", "{} has too few replicas", False
    WRONG_LEDGER = "wrong_ledger", "{} belongs to another ledger", False
    REFUSED = "refused", "{} refuses", False

    def of(self, name: str) -> str:
        """Return the words for what has this name, for operators."""
        return self.words.format(name)

    def public(self, name: str) -> str:
        """Return the words for those who must not learn how this installation is set up."""
        return self.of(name) if self.is_public else f"{name} cannot be used at present"


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
