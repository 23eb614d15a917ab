"""Which processes of the fleet can open what the first of SIEM_SECRET_KEYS seals.

A process that opens secrets (a worker, the API) reports the fingerprints of its keys with its heartbeats
(`facts`). Release 0.1.0 reports nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.broker.conflicts import orphan_document
from worker.broker.connection import Client
from worker.broker.fleet import LivingProcess, living_processes
from worker.broker.heartbeat import API
from worker.integrations import destination_types
from worker.model.fleet_health import worker_role
from worker.vault.sealed_secrets import secrets_in_document
from worker.vault.vault import Vault

#: The fact in which a process reports the fingerprints of its keys, in their order.
KEYS = "secret_keys"
#: The fact in which a process reports that it can show a url that is sealed; release 0.1.0 cannot.
SEALED_URLS = "sealed_urls"
_OPENERS = frozenset({API, *map(worker_role, destination_types())})


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """A living process that opens secrets; `keys` are fingerprints, None where it does not report them."""

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
    """Return the facts that a process that opens secrets reports."""
    return {KEYS: list(vault.fingerprints), SEALED_URLS: True}


def apis_show_sealed_urls(client: Client) -> bool:
    """Whether every living API can show a url that is sealed. Raises BrokerUnavailable."""
    apis = [one for one in living_processes(client) if one.role == API]
    return all(one.report is not None and one.report.facts.get(SEALED_URLS) is True for one in apis)


def key_holders(client: Client) -> list[KeyHolder]:
    """Return every living process that opens secrets, by name. Raises BrokerUnavailable."""
    roles: dict[str, list[LivingProcess]] = {}
    for one in living_processes(client):
        if one.role in _OPENERS:
            roles.setdefault(one.name, []).append(one)
    return [
        KeyHolder(tuple(one.role for one in found), name, _keys_of(found[0]))
        for name, found in sorted(roles.items())
    ]


def lacking_key(client: Client, fingerprint: str) -> list[KeyHolder]:
    """Return the living processes that cannot open what this key seals. Raises BrokerUnavailable."""
    return [one for one in key_holders(client) if one.lacks(fingerprint)]


@dataclass(frozen=True, slots=True)
class UnopenedSecrets:
    """Secrets of an integration, by their paths, and the living workers that cannot open one of them."""

    paths: tuple[str, ...]
    workers: tuple[KeyHolder, ...]

    def words(self, *, with_names: bool) -> str:
        """Return who lacks the key; without names, where hosts of the installation must not be shown."""
        count = len(self.workers)
        who = "a running worker" if count == 1 else f"{count} running workers"
        return words_of_lack(self.workers, self.paths, None if with_names else who)


def unopened_secrets(client: Client, vault: Vault, integration_id: str, kind: str) -> UnopenedSecrets | None:
    """Return what workers of this type cannot open of the copy that they read from Redis; None if nothing.

    Of a secret that no key of this vault opens, it is not known which key it takes. Raises
    BrokerUnavailable.
    """
    found = orphan_document(client, integration_id)
    sealed = secrets_in_document(found, vault) if found else []
    keys = {one.path: vault.fingerprints[one.key] for one in sealed if one.key is not None}
    workers = [one for one in key_holders(client) if worker_role(kind) in one.roles] if keys else []
    lacking = tuple(one for one in workers if any(map(one.lacks, keys.values())))
    paths = tuple(path for path, key in keys.items() if any(one.lacks(key) for one in lacking))
    return UnopenedSecrets(paths, lacking) if lacking else None


def words_of_lack(holders: Sequence[KeyHolder], paths: Sequence[str], who: str | None = None) -> str:
    """Return "… lacks the key that sealed …", with the names of the processes unless `who` names them."""
    named = who or "; ".join(one.words() for one in holders)
    return f"{named} {'lacks' if len(holders) == 1 else 'lack'} the key that sealed {', '.join(paths)}"


def _keys_of(process: LivingProcess) -> tuple[str, ...] | None:
    report = process.report.facts.get(KEYS) if process.report else None
    return tuple(map(str, report)) if isinstance(report, list) else None
