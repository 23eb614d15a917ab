"""What the workers let integrations reach: reported by each with its heartbeats, and read of all that live.

It is sealed with the fleet's own keys, and bound to the process that reports it: who can only write to Redis
opens no network, not even with a secret of an integration of theirs that reads alike. What a worker of an
earlier release reports is bound to nothing, and counts for nothing.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from ipaddress import ip_network
from typing import Any

import msgspec

from worker.broker.connection import Client
from worker.broker.fleet import LivingProcess, living_processes
from worker.broker.heartbeat import connections_to
from worker.broker.identity import process_identity
from worker.broker.redis_stats import RedisStats
from worker.integrations.integration import Integration
from worker.model.allowed_networks import AllowedNetworks, WorkerNetworks
from worker.model.errors import BrokerUnavailable, SecretUnreadable
from worker.model.fleet_health import worker_role
from worker.model.untrusted_json import DAMAGED
from worker.settings import Network, Settings
from worker.vault.vault import Vault

#: The name of the fact that a worker reports (`worker.broker.fleet.ProcessReport`).
_FACT = "reach"


class _SealedNetworks(msgspec.Struct, frozen=True):
    """What is sealed; fields that a later release adds are skipped."""

    process: str
    networks: list[str]
    send_deadline: float


def reach_fact(vault: Vault, config: Settings) -> Mapping[str, Any]:
    """Return what a worker reports with its heartbeats."""
    networks = [str(network) for network in config.allowed_networks]
    name = str(process_identity())
    report = _SealedNetworks(name, networks, config.send_deadline)
    return {_FACT: vault.seal(msgspec.json.encode(report).decode(), _place(name))}


def reach_of(client: Client, vault: Vault, config: Settings, kind: str) -> AllowedNetworks:
    """Return what the living workers that deliver to this type of destination allow.

    Without Redis, nothing is known of them, and the own setting counts.
    """
    try:
        living = [one for one in living_processes(client) if one.role == worker_role(kind)]
    except BrokerUnavailable:
        words = "Redis does not answer, so the networks of the workers are unknown"
        return AllowedNetworks(kind, (), config.allowed_networks, words)
    return AllowedNetworks(kind, tuple(_reported_networks(living, vault)), config.allowed_networks)


def _reported_networks(living: list[LivingProcess], vault: Vault) -> Iterator[WorkerNetworks]:
    for one in living:
        host, identity = one.host, one.identity
        is_here = identity is not None and identity.is_in_sight
        report = _opened(one, vault)
        if report is None:
            yield WorkerNetworks(host, None, is_here)
        else:
            yield WorkerNetworks(host, report[0], is_here, report[1])


def _opened(process: LivingProcess, vault: Vault) -> tuple[tuple[Network, ...], float] | None:
    sealed = process.report.facts.get(_FACT) if process.report else None
    if not isinstance(sealed, str):
        return None
    try:
        report = msgspec.json.decode(vault.open_bound(sealed, _place(process.name)), type=_SealedNetworks)
        found = tuple(map(ip_network, report.networks))
    except (SecretUnreadable, *DAMAGED):
        return None
    return (found, report.send_deadline) if report.process == process.name else None


def _place(process: str) -> str:
    return msgspec.json.encode([_FACT, process]).decode()


def held_connections(client: Client, integration: Integration) -> Callable[[Collection[str]], int]:
    """Return what counts the connections of the living workers of its type to any of these "ip:port".

    Those of an integration whose circuit breaker is open count for nothing: they deliver nothing.
    """

    def held(peers: Collection[str]) -> int:
        try:
            if RedisStats(client).of([integration.id])[integration.id].breaker is not None:
                return 0
            return connections_to(living_processes(client), worker_role(integration.type), peers)
        except BrokerUnavailable:
            return 0

    return held
