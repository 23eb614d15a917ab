"""Addresses that may be dialled, and the order to dial them in (RFC 8305, sections 4 and 8)."""

import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from time import monotonic
from typing import Any

#: For so many seconds an address that stayed silent while another one answered is dialled last.
_SILENT_FOR = 60.0


@dataclass(frozen=True, slots=True)
class Address:
    """A place that may be dialled: what `socket.socket` and its `connect` want. Prints as "ip:port"."""

    family: socket.AddressFamily
    kind: socket.SocketKind
    protocol: int
    target: tuple[Any, ...]

    @property
    def ip(self) -> str:
        """The address without its port."""
        return str(self.target[0])

    def __str__(self) -> str:
        host, port = self.target[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class UnresponsiveAddresses:
    """Addresses that were dialled in vain of late. Shared by threads.

    Not the one that answered is remembered but those that did not: so the resolver's order, by which
    a name spreads its load, stays in force among the others.
    """

    def __init__(self) -> None:
        """Begin without any."""
        self._lock = threading.Lock()
        self._until: dict[tuple[str, int], float] = {}

    def note(self, ip: str, port: int) -> None:
        """Dial this address last for a minute."""
        now = monotonic()
        with self._lock:
            self._until = {one: until for one, until in self._until.items() if until > now}
            self._until[ip, port] = now + _SILENT_FOR

    def last(self, found: Sequence[Address]) -> list[Address]:
        """Return the addresses in the order to dial them: families by turns, those that were silent last."""
        if not self._until:
            return by_turns(found)
        now = monotonic()
        silent = [one for one in found if self._until.get((one.ip, one.target[1]), now) > now]
        return by_turns([one for one in found if one not in silent]) + by_turns(silent)


def by_turns(found: Sequence[Address]) -> list[Address]:
    """Interleave the families, beginning with that of the first (RFC 8305, section 4)."""
    first = [one for one in found if one.family is found[0].family]
    others = [one for one in found if one.family is not found[0].family]
    return [one for one in chain.from_iterable(zip_longest(first, others)) if one is not None]
