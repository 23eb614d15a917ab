"""Hosts in namespaces of their own, joined by a router that can cut any two of them off.

A cut is silent, as that of a broken switch or a firewall: packets vanish, no one is informed, connections
stay open. All addresses lie in 10.77.0.0/16 and exist only within these namespaces, which are gone as soon as
the process that made them and what it started there have ended.
"""

import ctypes
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

#: The addresses of all hosts.
ADDRESSES = "10.77.0.0/16"

#: What a host has of its own, by its name in /proc: network and host name.
_OWN = {"net": 0x40000000, "uts": 0x04000000}
_IP = shutil.which("ip") or "/usr/sbin/ip"
_LIBC = ctypes.CDLL(None, use_errno=True)


class Host:
    """A network namespace with a host name: it lives while this object holds it, or a process is on it."""

    def __init__(self, name: str) -> None:
        """Make it, with its loopback. Raises OSError, CalledProcessError where that is not allowed."""
        with _back_again():
            _check(_LIBC.unshare(sum(_OWN.values())))
            self._descriptors = _open_own()
            socket.sethostname(name)
            _ip("link", "set", "lo", "up")

    @property
    def network(self) -> str:
        """The file that stands for its network."""
        return f"/proc/{os.getpid()}/fd/{self._descriptors['net']}"

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Put this thread on it; threads and processes that it starts meanwhile stay there."""
        with _back_again():
            _enter(self._descriptors)
            yield

    def close(self) -> None:
        """Hold it no longer."""
        _close(self._descriptors)


class Network:
    """Hosts by name, each with one address, joined by one router."""

    def __init__(self, *names: str) -> None:
        """Make the hosts. Raises OSError, CalledProcessError where that is not allowed."""
        with ExitStack() as made:
            self._router = self._add(made, "between")
            self._hosts = {name: self._add(made, name) for name in names}
            self.addresses = {name: f"10.77.{number}.2" for number, name in enumerate(names, 1)}
            with self._router.entered():
                Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
            for number, host in enumerate(self._hosts.values(), 1):
                self._join(number, host)
            self._ends = made.pop_all()

    @staticmethod
    def _add(made: ExitStack, name: str) -> Host:
        host = Host(name)
        made.callback(host.close)
        return host

    def _join(self, number: int, host: Host) -> None:
        here, there = f"to{number}", "uplink"
        with self._router.entered():
            _ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", host.network)
            _ip("addr", "add", f"10.77.{number}.1/30", "dev", here)
            _ip("link", "set", here, "up")
        with host.entered():
            _ip("addr", "add", f"10.77.{number}.2/30", "dev", there)
            _ip("link", "set", there, "up")
            _ip("route", "add", "default", "via", f"10.77.{number}.1")

    def on(self, name: str) -> AbstractContextManager[None]:
        """Put this thread on a host, and for good what it starts meanwhile."""
        return self._hosts[name].entered()

    def cut(self, *pairs: tuple[str, str]) -> AbstractContextManager[None]:
        """Drop all packets between the two hosts of each pair, until the block ends."""
        return self.cut_one_way(*pairs, *((there, here) for here, there in pairs))

    @contextmanager
    def cut_one_way(self, *pairs: tuple[str, str]) -> Iterator[None]:
        """Drop what the first host of each pair sends to the second one, until the block ends."""
        with ExitStack() as healing:
            for here, there in pairs:
                between = ("from", self.addresses[here], "to", self.addresses[there], "blackhole")
                self._rule("add", *between)
                healing.callback(self._rule, "del", *between)
            yield

    def _rule(self, *words: str) -> None:
        with self._router.entered():
            _ip("rule", *words, "pref", "100")

    def __enter__(self) -> Self:
        """Remove the hosts at the end of a `with`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove them, except those that a process is still in."""
        self._ends.close()


@cache
def can_make() -> bool:
    """Whether this machine lets us make a network."""
    with suppress(OSError, subprocess.CalledProcessError), Network("one"):
        return True
    return False


@contextmanager
def _back_again() -> Iterator[None]:
    """Put this thread back to where it is now, at the end."""
    before = _open_own()
    try:
        yield
    finally:
        _enter(before)
        _close(before)


def _open_own() -> dict[str, int]:
    """Open what this thread has now."""
    return {kind: os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY) for kind in _OWN}


def _enter(descriptors: Mapping[str, int]) -> None:
    for kind, descriptor in descriptors.items():
        _check(_LIBC.setns(descriptor, _OWN[kind]))


def _close(descriptors: Mapping[str, int]) -> None:
    for descriptor in descriptors.values():
        os.close(descriptor)


def _check(status: int) -> None:
    if status:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _ip(*words: str) -> None:
    subprocess.run([_IP, *words], capture_output=True, check=True)
