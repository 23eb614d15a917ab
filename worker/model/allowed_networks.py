"""Which private networks the workers let integrations reach, as they report it themselves. Pure.

What judges an address for them (the doctor, `create`, `update`, the API) goes by this, not by the setting
of the own environment: that only counts where no worker reports any.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class WorkerNetworks:
    """What one worker allows, and for how many seconds it sends a batch at most.

    `networks` is None if it reports none. `is_here` is whether it runs on this very machine.
    """

    host: str
    networks: tuple[Network, ...] | None
    is_here: bool = False
    send_deadline: float | None = None


@dataclass(frozen=True, slots=True)
class AllowedNetworks:
    """What the living workers of one type of destination allow; `own` is the setting of this environment.

    `unknown` says why nothing is known of workers, if that is so.
    """

    kind: str
    workers: Sequence[WorkerNetworks]
    own: Sequence[Network]
    unknown: str = ""

    @property
    def telling(self) -> list[WorkerNetworks]:
        """The workers that report what they allow."""
        return [one for one in self.workers if one.networks is not None]

    @property
    def why_own(self) -> str:
        """Why the own setting counts, in words; empty where the workers' does."""
        if self.telling:
            return ""
        if self.workers:
            return (
                f"the workers on {hosts_of(self.workers)} do not report theirs (an earlier release, or other "
                "SIEM_SECRET_KEYS)"
            )
        return self.unknown or f"no worker that delivers to {self.kind} runs"

    @property
    def basis(self) -> str:
        """Whose setting counts, in words."""
        if self.why_own:
            return f"SIEM_ALLOWED_NETWORKS here, for {self.why_own}"
        return f"SIEM_ALLOWED_NETWORKS of the workers on {hosts_of(self.telling)}"

    def without_hosts(self) -> "AllowedNetworks":
        """Return the same with numbers in place of the names of hosts, for callers of the API."""
        numbers = {host: place for place, host in enumerate(sorted({one.host for one in self.workers}), 1)}
        numbered = tuple(replace(one, host=f"host {numbers[one.host]}") for one in self.workers)
        return replace(self, workers=numbered)

    def send_deadline(self, own: float) -> float:
        """Return for how many seconds every worker sends; `own` where none reports it."""
        return min((one.send_deadline for one in self.telling if one.send_deadline), default=own)


def hosts_of(workers: Sequence[WorkerNetworks]) -> str:
    """Name the hosts of workers, each once."""
    return ", ".join(sorted({one.host for one in workers}))
