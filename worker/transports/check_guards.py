"""A guard that judges as all workers do that deliver to one type of destination.

For who tests an integration in their place: what one of them refuses is refused here, and what all allow is
open, whatever the own environment allows; but for loopback, which is another machine's there.
"""

from collections.abc import Callable
from ipaddress import ip_address

from worker.model.allowed_networks import AllowedNetworks, hosts_of
from worker.transports.addresses import Address
from worker.transports.guard import Guard
from worker.transports.ranges import NO_REMEDY, IpAddress, objection

_LIST_IT = "list its network in their SIEM_ALLOWED_NETWORKS"


class FleetGuard(Guard):
    """Judges by what the workers tell, and by the own setting where none does."""

    def __init__(self, reach: AllowedNetworks) -> None:
        """Keep what they tell."""
        super().__init__(reach.own)
        self._reach = reach
        self.basis = reach.basis

    def _objection(self, address: Address) -> str | None:
        # A scope (fe80::1%eth0) says which interface, not which address.
        return fleet_objection(ip_address(address.target[0].partition("%")[0]), self._reach)


def fleet_objection(address: IpAddress, reach: AllowedNetworks) -> str | None:
    """Say why the workers may not dial the address and what would help, or None if all may."""
    telling = reach.telling
    if not telling:
        return objection(address, reach.own)
    refusing = [(one, said) for one in telling if (said := objection(address, one.networks or ()))]
    if refusing:
        name, _, hint = refusing[0][1].partition(": ")
        if hint == NO_REMEDY:
            return refusing[0][1]
        hosts = hosts_of([one for one, _ in refusing])
        return f"{name} that the workers on {hosts} do not allow: {_LIST_IT}"
    if address.is_loopback and not any(one.is_here for one in telling) and objection(address, reach.own):
        hosts = hosts_of(telling)
        return f"is a loopback address, which is another machine's for the workers on {hosts}: test it there"
    return None


def address_warning(host: str, ask: Callable[[], AllowedNetworks]) -> str | None:
    """Say what keeps workers from an integration whose url has this host, or None.

    Only of an address, for what a name leads to changes; `ask` is called for one that is not public.
    """
    address = literal(host)
    if address is None or (reason := objection(address, ())) is None:
        return None
    reach = ask()
    name, _, hint = reason.partition(": ")
    if hint == NO_REMEDY:
        return f"{host} {reason}"
    if reach.why_own:
        must = "nothing is sent there unless the workers' SIEM_ALLOWED_NETWORKS lists its network"
        return f"{host} {name}: {must}; {reach.why_own}"
    refusing = [one for one in reach.telling if objection(address, one.networks or ())]
    if not refusing:
        return None
    until = "nothing is sent there until their SIEM_ALLOWED_NETWORKS lists its network"
    return f"{host} {name} that the workers on {hosts_of(refusing)} do not allow: {until}"


def literal(host: str) -> IpAddress | None:
    """Return the address that a host is written as, if it is no name."""
    if host == "localhost":
        return ip_address("127.0.0.1")
    try:
        return ip_address(host)
    except ValueError:
        return None
