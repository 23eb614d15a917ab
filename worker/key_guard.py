"""Which processes of the fleet can open what the first of SIEM_SECRET_KEYS seals.

A process that opens secrets (a worker, the API) tells the fingerprints of its keys with its heartbeats
(`facts`). Release 0.1.0 told nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.broker.alive import API, worker_role
from worker.broker.fleet import LivingProcess, living_processes
from worker.ledger.vault import Vault
from worker.model.destinations import DESTINATION_TYPES

#: The fact in which a process tells the fingerprints of its keys, in their order.
KEYS = "secret_keys"
_OPENERS = frozenset({API, *map(worker_role, DESTINATION_TYPES)})


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """A living process that opens secrets; `keys` are fingerprints, None where it does not tell them."""

    roles: tuple[str, ...]
    name: str
    keys: tuple[str, ...] | None

    def lacks(self, fingerprint: str) -> bool:
        """Whether it is certain not to have that key."""
        return self.keys is not None and fingerprint not in self.keys

    def seals_otherwise(self, fingerprint: str) -> bool:
        """Whether it is certain to seal what it saves with another key: an API, whose first key differs."""
        return API in self.roles and bool(self.keys) and (self.keys or ())[0] != fingerprint

    def words(self) -> str:
        """Name it, for people."""
        return f"{', '.join(self.roles)} {self.name}"


def key_facts(vault: Vault) -> Mapping[str, Any]:
    """Return what a process that opens secrets tells of itself."""
    return {KEYS: list(vault.fingerprints)}


def key_holders(client: Any) -> list[KeyHolder]:
    """Return every living process that opens secrets, by name. Raises BrokerUnavailable."""
    roles: dict[str, list[LivingProcess]] = {}
    for one in living_processes(client):
        if one.role in _OPENERS:
            roles.setdefault(one.name, []).append(one)
    return [
        KeyHolder(tuple(one.role for one in found), name, _keys_of(found[0]))
        for name, found in sorted(roles.items())
    ]


def lacking_key(client: Any, fingerprint: str) -> list[KeyHolder]:
    """Return the living processes that cannot open what this key seals. Raises BrokerUnavailable."""
    return [one for one in key_holders(client) if one.lacks(fingerprint)]


def _keys_of(process: LivingProcess) -> tuple[str, ...] | None:
    told = process.told.facts.get(KEYS) if process.told else None
    return tuple(map(str, told)) if isinstance(told, list) else None
