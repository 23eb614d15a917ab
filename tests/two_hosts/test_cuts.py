"""A fleet on two hosts goes on while cables are cut, and every event is accounted for afterwards.

What the other host can do goes on without a pause for longer than a lease. What only waited goes on once the
cut is over. Packets vanish silently: no process is informed that its connections lead nowhere.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fleet import wait_until
from tests.two_hosts.network import Network, can_make
from tests.two_hosts.spread_fleet import (
    CONTROL_PLANE,
    DATABASE,
    DESTINATIONS,
    HOSTS,
    LONG,
    REDIS,
    SpreadFleet,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

LEFT, RIGHT = HOSTS
#: So many events further, something goes on; it takes ten seconds to publish them.
_FURTHER = 500


@pytest.fixture(scope="module")
def spread(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SpreadFleet]:
    """Give a fleet on two hosts under traffic; this thread is the control plane."""
    if not can_make():
        pytest.skip("network namespaces cannot be made here")
    folder: Path = tmp_path_factory.mktemp("spread")
    with (
        Network(*HOSTS, REDIS, DATABASE, DESTINATIONS, CONTROL_PLANE) as network,
        network.on(CONTROL_PLANE),
        SpreadFleet(network, folder) as made,
    ):
        yield made


def _goes_on(what: str, count: Callable[[], int]) -> None:
    """Wait until the count has grown by what takes longer to publish than a lease lasts."""
    before = count()
    wait_until(lambda: count() >= before + _FURTHER, f"{what} goes on", LONG)


def _has_recovered(spread: SpreadFleet) -> None:
    """Wait until both hosts work again, and what was published by then has arrived."""
    published = spread.published()
    wait_until(lambda: spread.received() >= published, "what waited has arrived", LONG)
    wait_until(spread.is_ready_everywhere, "both hosts say that the fleet is ready", LONG)


def test_a_host_without_redis_leaves_the_work_to_the_other(spread: SpreadFleet) -> None:
    """Its orders, batches and entries are taken over; the other host's API stays ready."""
    with spread.cut((LEFT, REDIS)):
        wait_until(lambda: spread.hosts_alive() == {RIGHT}, "the host is missed", LONG)
        _goes_on("delivery", spread.received)
        _goes_on("recording", spread.recorded)
        ready = spread.is_ready(RIGHT), spread.is_ready(LEFT)
    _has_recovered(spread)

    assert ready == (True, False)


def test_a_host_that_hears_no_answer_leaves_the_work_to_the_other(spread: SpreadFleet) -> None:
    """Its commands reach Redis and are executed; no answer comes back."""
    with spread.cut((REDIS, LEFT), one_way=True):
        wait_until(lambda: spread.hosts_alive() == {RIGHT}, "the host is missed", LONG)
        _goes_on("delivery", spread.received)
        _goes_on("recording", spread.recorded)
    _has_recovered(spread)


def test_a_host_without_the_database_leaves_recording_to_the_other(spread: SpreadFleet) -> None:
    """It goes on routing and delivering."""
    with spread.cut((LEFT, DATABASE)):
        _goes_on("delivery", spread.received)
        _goes_on("recording", spread.recorded)
        alive = spread.hosts_alive()
    _has_recovered(spread)

    assert alive == {LEFT, RIGHT}


def test_hosts_need_not_reach_each_other(spread: SpreadFleet) -> None:
    """They meet in Redis and in the database alone."""
    with spread.cut((LEFT, RIGHT)):
        _goes_on("delivery", spread.received)
        _goes_on("recording", spread.recorded)
        ready = spread.is_ready(LEFT), spread.is_ready(RIGHT)
    _has_recovered(spread)

    assert ready == (True, True)


def test_a_host_without_any_network_is_replaced(spread: SpreadFleet) -> None:
    """As behind a switch that has lost its power."""
    with spread.cut(*((LEFT, other) for other in (RIGHT, REDIS, DATABASE, DESTINATIONS, CONTROL_PLANE))):
        wait_until(lambda: spread.hosts_alive() == {RIGHT}, "the host is missed", LONG)
        _goes_on("delivery", spread.received)
        _goes_on("recording", spread.recorded)
    _has_recovered(spread)


def test_a_host_without_the_destinations_delays_but_loses_nothing(spread: SpreadFleet) -> None:
    """What it fails to send is sent again, by the other one too."""
    retried = spread.retried()
    with spread.cut((LEFT, DESTINATIONS)):
        wait_until(lambda: spread.retried() > retried, "it has failed to send", LONG)
        _goes_on("delivery", spread.received)
    _has_recovered(spread)


def test_without_the_database_delivery_goes_on(spread: SpreadFleet) -> None:
    """Outcomes wait in Redis, and are recorded afterwards."""
    with spread.cut((LEFT, DATABASE), (RIGHT, DATABASE)):
        _goes_on("delivery", spread.received)
    _has_recovered(spread)
    received = spread.received()
    wait_until(lambda: spread.recorded() >= received, "what was delivered is recorded", LONG)


def test_without_redis_events_wait_there(spread: SpreadFleet) -> None:
    """The control plane goes on publishing; no host can take what it publishes."""
    with spread.cut((LEFT, REDIS), (RIGHT, REDIS)):
        wait_until(lambda: not spread.hosts_alive(), "both hosts are missed", LONG)
        _goes_on("publishing", spread.published)
    _has_recovered(spread)


def test_a_control_plane_without_redis_keeps_its_events(spread: SpreadFleet) -> None:
    """What was not acknowledged is published once Redis can be reached, and only that."""
    with spread.cut((CONTROL_PLANE, REDIS)):
        published = spread.published()
        wait_until(lambda: spread.received() >= published, "what was published has arrived", LONG)
    _goes_on("publishing", spread.published)
    _has_recovered(spread)


def test_every_event_is_accounted_for(spread: SpreadFleet) -> None:
    """Whatever was cut before: delivered and recorded, or a dead letter with a true reason."""
    spread.settle()

    assert spread.published() > 0
    assert spread.faults() == {}
