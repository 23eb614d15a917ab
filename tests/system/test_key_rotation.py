"""Keys that seal secrets are rotated to the end under traffic: nothing waits, nothing is lost."""

from pathlib import Path

import pytest

from tests.fleet import PATIENCE, Fleet, wait_until
from tests.receivers import scripts
from tests.receivers.hec import HecReceiver
from tests.system.conftest import denial
from worker.vault.vault import new_key

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def _restart_with(fleet: Fleet, *keys: str) -> None:
    """Restart every process with these keys, one after the other, as a rolling deployment does."""
    fleet.environment["SIEM_SECRET_KEYS"] = ",".join(keys)
    for role in tuple(fleet.processes):
        fleet.terminate(role)
        fleet.start(role)


def test_deliveries_go_on_while_keys_are_rotated(tmp_path: Path) -> None:
    """Old; old and new; new and old; resealed; new alone: after each step what is published arrives."""
    old, new = new_key(), new_key()
    with (
        HecReceiver(scripts.demand_token("secret-token")) as splunk,
        Fleet(tmp_path, SIEM_SECRET_KEYS=old) as fleet,
    ):
        fleet.start()
        fleet.integrate(splunk.url)
        published: list[str] = []

        def deliver() -> None:
            published.extend(fleet.publish(denial(f"evt-{len(published) + n}") for n in range(50)))
            splunk.wait_for_events(len(published))

        deliver()
        for keys in ((old, new), (new, old)):
            _restart_with(fleet, *keys)
            deliver()
        assert fleet.siem("secrets", "status").returncode == 1
        assert fleet.siem("secrets", "reseal").returncode == 0
        deliver()
        assert fleet.siem("secrets", "status").returncode == 0
        _restart_with(fleet, new)
        deliver()
        rows = fleet.settled(len(published))
        assert {row.event_id for row in rows if row.attempts == 1} == set(published)
        assert fleet.dead() == []


def test_what_waits_for_a_lost_key_goes_out_once_the_secret_is_set_anew(tmp_path: Path) -> None:
    """A key dropped too early makes events wait, and none of them die."""
    with (
        HecReceiver(scripts.demand_token("set-anew")) as splunk,
        Fleet(tmp_path, SIEM_SECRET_KEYS=new_key()) as fleet,
    ):
        fleet.integrate(splunk.url)
        fleet.environment["SIEM_SECRET_KEYS"] = new_key()
        fleet.start()
        published = fleet.publish(denial(f"evt-{n}") for n in range(20))
        wait_until(lambda: fleet.client.hget("siem:state:int_splunk", "breaker") == b"open", "it is held")
        assert b"lacks the key that sealed token" in fleet.siem("integrations", "list").stderr
        updated = fleet.siem("integrations", "update", "splunk", "--token", "set-anew")

        assert updated.returncode == 0, updated.stderr
        splunk.wait_for_events(len(published))
        assert fleet.dead() == []


def test_a_worker_with_a_malformed_key_says_so_and_ends(tmp_path: Path) -> None:
    """It could open no secret; before, it waited for the first batch to fail."""
    with Fleet(tmp_path) as fleet:
        fleet.environment["SIEM_SECRET_KEYS"] = "malformed"
        fleet.spawn("worker")
        ended = fleet.processes.pop("worker").wait(PATIENCE)

        assert ended == 2
        assert "SIEM_SECRET_KEYS: its key number 1 is not a Fernet key" in fleet.log("worker")
        assert "malformed" not in fleet.log("worker")
