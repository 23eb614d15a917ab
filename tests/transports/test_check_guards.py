"""An address is open for a test if it is for every worker; loopback only on their own machine."""

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

import pytest

from tests.destinations.senders import GUARD
from worker.model.allowed_networks import AllowedNetworks, WorkerNetworks
from worker.model.errors import AddressRefused
from worker.transports.check_guards import FleetGuard, address_warning, fleet_objection

TEN, LOOPBACK = ip_network("10.0.0.0/8"), ip_network("127.0.0.0/8")
ALL = ip_network("0.0.0.0/0")


def _reach(*workers: WorkerNetworks, own: Sequence[object] = ()) -> AllowedNetworks:
    return AllowedNetworks("webhook", workers, [ip_network(str(one)) for one in own])


@pytest.mark.parametrize(
    ("workers", "own", "words"),
    [
        ([WorkerNetworks("a", (TEN,)), WorkerNetworks("b", (TEN, LOOPBACK))], [], None),
        ([WorkerNetworks("a", (TEN,)), WorkerNetworks("b", ())], [TEN], "that the workers on b do not allow"),
        ([WorkerNetworks("b", ()), WorkerNetworks("a", ())], [TEN], "that the workers on a, b do not allow"),
        ([WorkerNetworks("old", None), WorkerNetworks("b", (TEN,))], [], None),
        ([WorkerNetworks("old", None)], [TEN], None),
        ([WorkerNetworks("old", None)], [], "is a private address"),
        ([], [TEN], None),
        ([], [], "is a private address"),
    ],
)
def test_every_worker_must_allow_it(
    workers: list[WorkerNetworks], own: Sequence[object], words: str | None
) -> None:
    """One of an earlier release, which does not say, neither opens nor closes it."""
    said = fleet_objection(ip_address("10.1.2.3"), _reach(*workers, own=own))
    assert (said is None) if words is None else words in (said or "")


def test_metadata_services_stay_closed() -> None:
    """Whatever workers say that they allow, and no setting is suggested."""
    said = fleet_objection(ip_address("169.254.169.254"), _reach(WorkerNetworks("a", (ALL,), is_here=True)))
    assert "no setting opens it" in (said or "")


@pytest.mark.parametrize(
    ("is_here", "own", "is_open"), [(True, [], True), (False, [], False), (False, [LOOPBACK], True)]
)
def test_the_loopback_of_another_machine(*, is_here: bool, own: Sequence[object], is_open: bool) -> None:
    """Their permission says nothing of what listens on this one."""
    said = fleet_objection(ip_address("127.0.0.1"), _reach(WorkerNetworks("a", (ALL,), is_here), own=own))
    assert (said is None) is is_open
    assert is_open or "another machine's for the workers on a: test it there" in (said or "")


def test_nothing_is_dialled_that_a_worker_refuses() -> None:
    """The guard of the doctor is never looser than theirs."""
    guard = FleetGuard(_reach(WorkerNetworks("a", (), is_here=True), own=[LOOPBACK]))
    with pytest.raises(AddressRefused, match="that the workers on a do not allow"):
        guard.dial("127.0.0.1", 9, 1)
    assert GUARD.basis == "SIEM_ALLOWED_NETWORKS here"
    assert guard.basis == "SIEM_ALLOWED_NETWORKS of the workers on a"


def test_public_addresses_and_names_need_nobody_asked() -> None:
    """Redis is asked only where its answer matters."""

    def never() -> AllowedNetworks:
        raise AssertionError

    assert address_warning("8.8.8.8", never) is None
    assert address_warning("siem.example.com", never) is None


def test_the_shortest_time_that_a_worker_sends_for() -> None:
    """A test takes no longer than every delivery may."""
    made = _reach(WorkerNetworks("a", (), send_deadline=20.0), WorkerNetworks("b", (), send_deadline=45.0))
    assert made.send_deadline(30.0) == 20.0
    assert _reach().send_deadline(30.0) == 30.0
